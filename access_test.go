package main

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"notepay/internal/config"
	"notepay/internal/sandbox"
)

// locker makes the washer a locker.
func (f *front) locker(duration string) {
	f.stripe.SetPrice(warm, func(p *sandbox.Price) {
		p.Name, p.Metadata = "Locker", map[string]string{"access_code": "true", "duration": duration}
	})
}

var codeOnPage = regexp.MustCompile(`<p class="code">([0-9]{6})</p><svg`)

func TestACustomerOpensALocker(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*config.Settings){"through a link": nil, "through a session": perPurchase} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inFront(t, change, func(f *front) {
				f.locker("30m")
				f.run()
				var session sandbox.Session
				if change == nil {
					session = f.buy(sandbox.PayOptions{})
				} else {
					p := f.phone()
					session = f.complete(p.presses(p.scans()), sandbox.PayOptions{})
				}
				f.pass(time.Second)
				page := f.get("/payment/success?session_id=" + session.ID).Header().Get("Location")
				if !strings.HasPrefix(page, "/access/") {
					f.Fatalf("the success page leads to %q; want the page with the code", page)
				}
				w := f.get(page, "Accept", browser)
				found := codeOnPage.FindStringSubmatch(w.Body.String())
				if w.Code != http.StatusOK || found == nil || w.Header().Get("Cache-Control") != "no-store" {
					f.Fatalf("the page: %d %s; want a code, drawn too, that nobody stores", w.Code, w.Body)
				}
				code := found[1]
				notes := f.notehub.Fetch(washer, "payment.qi")
				if len(notes) != 1 || notes[0].Body["code"] != code {
					f.Fatalf("the notes are %v; want the code %s in one", notes, code)
				}
				f.answers("for programs", f.get(page), http.StatusOK, "Code: "+code+"\n")
				f.answers("events of the page", f.get(page, "Accept", browser), http.StatusOK, `data-events="`+page+`/events"`)
				live := strings.Replace(page, "/access/", "/session/", 1)
				lives := f.get(live, "Accept", browser).Body.String()
				if !strings.Contains(lives, `href="`+page+`"`) || strings.Contains(lives, code) {
					f.Errorf("the live page: %s; want a link to the code and not the code", lives)
				}
				for _, path := range []string{"/api/payments/" + session.ID, "/api/stripe-events", "/operator/payments"} {
					if strings.Contains(f.asOperator(path).Body.String(), code) {
						f.Errorf("%s tells the code", path)
					}
				}
				f.answers("somebody else's", f.get("/access/"+strings.Repeat("0", 32)), http.StatusNotFound, "Payment not found")

				f.pass(31 * time.Minute)
				for _, path := range []string{page, live, "/payment/success?session_id=" + session.ID} {
					w := f.get(path, "Accept", browser)
					if strings.Contains(w.Body.String(), code) || strings.Contains(w.Body.String(), `href="/access/`) || w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "Reference") {
						f.Errorf("afterwards %s: %d %s; want a receipt without the code", path, w.Code, w.Body)
					}
				}
				p, err := f.ledger.Payment(f.Context(), session.ID)
				if err != nil || p.AccessCode != "" || !p.NeedsAccessCode {
					f.Errorf("the ledger holds the code %q, %v; want it gone", p.AccessCode, err)
				}
				if strings.Contains(f.logs.String(), code) {
					f.Error("the log tells the code")
				}
			})
		})
	}
}

func TestALateLookAtASuccessPageTellsNoCode(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		f.locker("")
		f.run()
		session := f.buy(sandbox.PayOptions{})
		f.pass(time.Second)
		f.notehub.Fetch(washer, "payment.qi")
		f.pass(29 * time.Minute)
		if to := f.get("/payment/success?session_id=" + session.ID).Header().Get("Location"); !strings.HasPrefix(to, "/access/") {
			f.Errorf("after 29 minutes it leads to %q; want the code", to)
		}
		f.pass(2 * time.Minute)
		w := f.get("/payment/success?session_id="+session.ID, "Accept", browser)
		if body := w.Body.String(); w.Code != http.StatusOK || codeOnPage.MatchString(body) || strings.Contains(body, "/access/") {
			f.Errorf("after 31: %d %s; want a receipt", w.Code, body)
		}
	})
}

func TestACodeThatWasRefusedIsNowhere(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		f.locker("30m")
		f.run()
		f.notehub.Always(postNote, sandbox.Outcome{Status: 429})
		session := f.buy(sandbox.PayOptions{})
		f.pass(time.Second)
		p, err := f.ledger.Payment(f.Context(), session.ID)
		if err != nil || p.AccessCode == "" {
			f.Fatalf("the code is %q, %v; want one", p.AccessCode, err)
		}
		f.notehub.Clear(postNote)
		f.notehub.Always(postNote, sandbox.Outcome{Status: 404, Body: `{"err":"device not found {device-noexist}: {\"code\":\"` + p.AccessCode + `\"}","code":404}`})
		f.pass(5 * time.Minute)
		f.answers("the payment", f.asOperator("/api/payments/"+session.ID), http.StatusOK, `"reason":"refused"`)
		f.answers("the page", f.get("/access/"+p.Token), http.StatusOK, "The machine did not start")
		if got := f.asOperator("/api/payments/" + session.ID).Body.String(); strings.Contains(got, p.AccessCode) {
			f.Errorf("the attempts tell the code: %s", got)
		}
		if strings.Contains(f.logs.String(), p.AccessCode) {
			f.Error("the log tells the code")
		}
	})
}
