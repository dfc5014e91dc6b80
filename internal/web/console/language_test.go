package console_test

import (
	"html"
	"net/http"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

func TestConsoleSpeaksTheBrowsersLanguage(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		for _, c := range []struct{ header, cookie, want string }{
			{"", "", `lang="en"`},
			{"de-AT,de;q=0.9,en;q=0.5", "", `lang="de"`},
			{"fr,de;q=0.5", "", `lang="de"`},
			{"fr", "", `lang="en"`},
			{"en-GB,de;q=0.9", "", `lang="en"`},
			{strings.Repeat("fr,", 100) + "de", "", `lang="en"`},
			{"en", "de", `lang="de"`},
			{"de", "en", `lang="en"`},
			{"de", "xx", `lang="de"`},
		} {
			page := f.Get("/operator", "Accept-Language", c.header, "Cookie", "notepay_console_language="+c.cookie)
			title := "<h1>Sign in</h1>"
			if c.want == `lang="de"` {
				title = "<h1>Anmelden</h1>"
			}
			if body := page.Body.String(); !strings.Contains(body, "<html "+c.want) || !strings.Contains(body, title) {
				t.Errorf("%+v: want %s and %s in %s", c, c.want, title, body)
			}
		}
	})
}

func TestLanguageIsChosen(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		w := f.Get("/operator/language/de?back=%2Foperator%2Fpayments%3Fq%3D4242")
		cookie := w.Header().Get("Set-Cookie")
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/operator/payments?q=4242" ||
			!strings.HasPrefix(cookie, "notepay_console_language=de; Path=/operator;") {
			t.Errorf("%d to %q with %q; want the page again, and a cookie", w.Code, w.Header().Get("Location"), cookie)
		}
		w = f.Get("/operator/language/de?back=https%3A%2F%2Fevil.example")
		if to := w.Header().Get("Location"); to != "/operator" {
			t.Errorf("leads to %q; want no other site", to)
		}
		if w = f.Get("/operator/language/xx"); w.Code != http.StatusNotFound || w.Header().Get("Set-Cookie") != "" {
			t.Errorf("%d for an unknown language; want 404 and no cookie", w.Code)
		}
	})
}

func TestConsoleInGerman(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		p := f.Paid(session.ID)
		b := f.Browser()
		washer := strings.ReplaceAll(fixture.Washer, ":", "%3A")
		for path, words := range map[string][]string{
			"/operator":                  {"Zu klären", "Es gibt nichts zu klären.", "3,50 EUR", "1 Maschine"},
			"/operator/payments":         {"Zahlungen", "Programm", "3,50 EUR", "bezahlt"},
			"/operator/payments?q=4242":  {"Gesucht:", "Karte endet auf 4242"},
			"/operator/payments/" + p.ID: {"Zahlung " + p.ID, "Ist die Maschine gestartet?", "Bei Stripe bezahlt"},
			"/operator/devices":          {"Maschinen", "bereit"},
			"/operator/devices/" + fixture.Washer: {"Maschine pausieren", "Wartung planen", "Öffnungszeiten",
				"Letzte 7 Tage",
				"/operator/payments?q=" + washer + `"`, "/operator/audit?subject=" + washer + `"`},
			"/operator/revenue": {"Umsatz", "Gebühren und Auszahlungen", "CSV exportieren"},
			"/operator/people":  {"Personen", "Person einladen", "Inhaber: darf alles"},
			"/operator/me": {"Ihre Anmeldung", "mit OPERATOR_TOKEN", "Zuletzt benutzt",
				"/operator/language/en?back=%2Foperator%2Fme"},
			"/operator/setup":   {"Einrichtung", "Prüfungen starten"},
			"/operator/audit":   {"Protokoll", "Keine Änderungen"},
			"/operator/nowhere": {"Das hat nicht geklappt", "Seite nicht gefunden."},
		} {
			body := b.Send("GET", path, "", "Accept-Language", "de").Body.String()
			for _, word := range words {
				if !strings.Contains(body, word) {
					t.Errorf("%s lacks %q: %s", path, word, body)
				}
			}
		}
	})
}

// What other parts of the service say is in German, too: its problems, those of machines, why notepay paused
// one, and the results of the checks.
func TestServiceSpeaksGerman(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		shows := func(method, path, form string, words ...string) {
			f.Helper()
			body := html.UnescapeString(b.Send(method, path, form, "Accept-Language", "de").Body.String())
			for _, word := range words {
				if !strings.Contains(body, word) {
					t.Errorf("%s %s lacks %q: %s", method, path, word, body)
				}
			}
		}
		shows("POST", "/operator/setup", "once=AAAA", "Verbindung zu Stripe", "Test-Schlüssel: Es fließt kein Geld",
			"Geräte in Notehub", "Projekt: 1 Geräte, davon 0 deaktiviert",
			"CONFIRM_WITHIN setzen, etwa auf 2m, wenn Ihre Firmware den Start bestätigt", "Prüfungen")
		for range 2 {
			f.Buy(sandbox.PayOptions{})
			f.Pass(11 * time.Minute)
		}
		shows("GET", "/operator", "", "2 Zahlungen nacheinander haben die Maschine nicht erreicht")
		shows("GET", "/operator/devices", "", "2 Zahlungen nacheinander haben die Maschine nicht erreicht.",
			"Starts nach Tag: ", " 0 und 2 fehlgeschlagen")
		f.Stripe.SetPrice(fixture.Warm, func(p *sandbox.Price) { p.Active = false })
		b.Does(b.Press("/operator/devices", "/operator/refresh"), "refresh")
		f.Pass(2 * time.Minute)
		shows("GET", "/operator", "", "Keine Maschine kann bezahlt werden: 1 pausiert.",
			"der Preis "+fixture.Warm+" wird nicht angeboten: ")
		b.Shows("/operator", "No machine can be paid for: 1 paused.", "2 payments in a row did not reach the machine")
	})
}
