package customer_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

var codeOnPage = regexp.MustCompile(
	`<p class="code"><span aria-hidden="true">([0-9]{6})</span>.*</p><div aria-hidden="true"><svg`)

func TestAccessPageOpensALocker(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*config.Settings){
		"through a link": nil, "through a session": apptest.PerPurchase,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, change, func(f *apptest.Front) {
				f.Locker("30m")
				f.Run()
				var session sandbox.Session
				if change == nil {
					session = f.Buy(sandbox.PayOptions{})
				} else {
					p := f.Phone()
					session = f.Complete(p.Presses(p.Scans()), sandbox.PayOptions{})
				}
				f.Pass(time.Second)
				page := f.Get("/payment/success?session_id=" + session.ID).Header().Get("Location")
				if !strings.HasPrefix(page, "/access/") {
					f.Fatalf("the success page leads to %q; want the page with the code", page)
				}
				w := f.Get(page, "Accept", apptest.Browser)
				found := codeOnPage.FindStringSubmatch(w.Body.String())
				if w.Code != http.StatusOK || found == nil || w.Header().Get("Cache-Control") != "no-store" {
					f.Fatalf("the page: %d %s; want a code, drawn too, that nobody stores", w.Code, w.Body)
				}
				code := found[1]
				notes := f.Notehub.Fetch(fixture.Washer, "payment.qi")
				if len(notes) != 1 || notes[0].Body["code"] != code {
					f.Fatalf("the notes are %v; want the code %s in one", notes, code)
				}
				f.Answers("for programs", f.Get(page), http.StatusOK, "Code: "+code+"\n")
				f.Answers("events of the page", f.Get(page, "Accept", apptest.Browser), http.StatusOK,
					`data-events="`+page+`/events"`)
				live := strings.Replace(page, "/access/", "/session/", 1)
				lives := f.Get(live, "Accept", apptest.Browser).Body.String()
				if !strings.Contains(lives, `href="`+page+`"`) || strings.Contains(lives, code) {
					f.Errorf("the live page: %s; want a link to the code and not the code", lives)
				}
				for _, path := range []string{
					"/api/payments/" + session.ID, "/api/stripe-events", "/operator/payments",
				} {
					if strings.Contains(f.AsOperator(path).Body.String(), code) {
						f.Errorf("%s tells the code", path)
					}
				}
				f.Answers("somebody else's", f.Get("/access/"+strings.Repeat("0", 32)), http.StatusNotFound,
					"Payment not found")

				f.Pass(31 * time.Minute)
				for _, path := range []string{page, live, "/payment/success?session_id=" + session.ID} {
					w := f.Get(path, "Accept", apptest.Browser)
					if strings.Contains(w.Body.String(), code) || strings.Contains(w.Body.String(), `href="/access/`) ||
						w.Code != http.StatusOK ||
						!strings.Contains(w.Body.String(), "Reference") {
						f.Errorf("afterwards %s: %d %s; want a receipt without the code", path, w.Code, w.Body)
					}
				}
				p, err := f.Ledger.Payment(f.Context(), session.ID)
				if err != nil || p.AccessCode != "" || !p.NeedsAccessCode {
					f.Errorf("the ledger holds the code %q, %v; want it gone", p.AccessCode, err)
				}
				if strings.Contains(f.Logs.String(), code) {
					f.Error("the log tells the code")
				}
			})
		})
	}
}

func TestSuccessHidesTheCodeLater(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Locker("")
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(time.Second)
		f.Notehub.Fetch(fixture.Washer, "payment.qi")
		f.Pass(29 * time.Minute)
		to := f.Get("/payment/success?session_id=" + session.ID).Header().Get("Location")
		if !strings.HasPrefix(to, "/access/") {
			f.Errorf("after 29 minutes it leads to %q; want the code", to)
		}
		f.Pass(2 * time.Minute)
		w := f.Get("/payment/success?session_id="+session.ID, "Accept", apptest.Browser)
		if body := w.Body.String(); w.Code != http.StatusOK || codeOnPage.MatchString(body) ||
			strings.Contains(body, "/access/") {
			f.Errorf("after 31: %d %s; want a receipt", w.Code, body)
		}
	})
}

func TestAccessCodeIsNowhereAfterARefusal(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Locker("30m")
		f.Run()
		f.Notehub.Always(fixture.PostNote, sandbox.Outcome{Status: 429})
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(time.Second)
		p, err := f.Ledger.Payment(f.Context(), session.ID)
		if err != nil || p.AccessCode == "" {
			f.Fatalf("the code is %q, %v; want one", p.AccessCode, err)
		}
		f.Notehub.Clear(fixture.PostNote)
		f.Notehub.Always(fixture.PostNote, sandbox.Outcome{
			Status: 404,
			Body:   `{"err":"device not found {device-noexist}: {\"code\":\"` + p.AccessCode + `\"}","code":404}`,
		})
		f.Pass(5 * time.Minute)
		f.Answers("the payment", f.AsOperator("/api/payments/"+session.ID), http.StatusOK, `"reason":"refused"`)
		f.Answers("the page", f.Get("/access/"+p.Token), http.StatusOK, "The machine did not start")
		if got := f.AsOperator("/api/payments/" + session.ID).Body.String(); strings.Contains(got, p.AccessCode) {
			f.Errorf("the attempts tell the code: %s", got)
		}
		if strings.Contains(f.Logs.String(), p.AccessCode) {
			f.Error("the log tells the code")
		}
	})
}
