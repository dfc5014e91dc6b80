package console_test

import (
	"net/http"
	"strings"
	"testing"

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
