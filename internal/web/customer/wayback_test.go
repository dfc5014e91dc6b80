package customer_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

const payersCookie = "notepay_payments"

// leadsTo checks that a phone is redirected with a status.
func leadsTo(p *apptest.Phone, method, path string, status int, to string) {
	p.F.Helper()
	w := p.Do(method, path, "price_id="+fixture.Warm)
	got, cached := w.Header().Get("Location"), w.Header().Get("Cache-Control")
	if w.Code != status || got != to || cached != "no-store" {
		p.F.Errorf("%s %s: %d to %q, Cache-Control %q; want %d to %q, no-store",
			method, path, w.Code, got, cached, status, to)
	}
}

func confirmingMachines(s *config.Settings) { s.ConfirmWithin = 2 * time.Minute }

func TestPayerIsLedBackToThePayment(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*config.Settings){
		"through a link":    confirmingMachines,
		"through a session": func(s *config.Settings) { confirmingMachines(s); apptest.PerPurchase(s) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, change, func(f *apptest.Front) {
				f.Timed("30m")
				m := f.Machine(sandbox.MachineConfig{Device: fixture.Washer, Confirms: true})
				f.Run()
				f.Pass(time.Second)
				var session sandbox.Session
				phone := f.Phone()
				if name == "through a link" {
					session = f.Buy(sandbox.PayOptions{})
				} else {
					session = f.Complete(phone.Presses(phone.Scans()), sandbox.PayOptions{})
				}
				live := f.LivePage(session)
				w := phone.Do("GET", live, "")
				set := w.Header().Values("Set-Cookie")
				if len(set) != 1 || !strings.HasPrefix(set[0], payersCookie+"="+live[len("/session/"):]+";") ||
					!strings.Contains(set[0], "HttpOnly") || !strings.Contains(set[0], "SameSite=Lax") ||
					!strings.Contains(set[0], "Secure") || !strings.Contains(set[0], "Max-Age=2592000") {
					f.Fatalf("the live page sets %q; want one bounded cookie with its token", set)
				}
				f.Pass(10 * time.Second)
				f.Started(m, 1)
				for _, path := range []string{
					"/pay?device=" + fixture.Washer, "/pay/" + fixture.Washer, "/use/" + fixture.Washer,
					"/PAY/" + strings.ToUpper(fixture.Washer),
					"/payment/cancel?device=" + fixture.Washer, "/payment/cancel",
				} {
					leadsTo(phone, "GET", path, http.StatusSeeOther, live)
				}
				if name == "through a session" {
					leadsTo(phone, "POST", "/use/"+fixture.Washer, http.StatusSeeOther, live)
				}
				busy := phone.Do("GET", "/pay/"+fixture.Washer+"?again=1", "").Body.String()
				if !strings.Contains(busy, "This machine is in use") || !strings.Contains(busy, `href="`+live+`"`) ||
					strings.Contains(busy, "Nothing was charged") {
					f.Errorf("the payer who wants another reads %s; want a way to the payment", busy)
				}
				if home := phone.Do("GET", "/", "").Body.String(); !strings.Contains(home, `href="`+live+`"`) {
					f.Errorf("the home page does not lead to the payment: %s", home)
				}
				if w := f.Get("/pay?device="+fixture.Washer, "Accept", apptest.Browser); w.Code !=
					http.StatusServiceUnavailable || strings.Contains(w.Body.String(), live) ||
					!strings.Contains(w.Body.String(), `href="/payment/find?device=`+url.QueryEscape(fixture.Washer)) {
					f.Errorf("another customer gets %d %s; want the machine in use", w.Code, w.Body)
				}
				f.Pass(31 * time.Minute)
				over := phone.Do("GET", live, "").Body.String()
				if !strings.Contains(over, `href="/pay/`+fixture.Washer+`?again=1"`) {
					f.Errorf("the machine is free and the page does not offer it: %s", over)
				}
				if w := phone.Do("GET", "/pay?device="+fixture.Washer, ""); w.Code == http.StatusSeeOther {
					f.Errorf("afterwards the scan leads to %q; want the machine", w.Header().Get("Location"))
				}
			})
		})
	}
}

// A payer whose machine cannot be reached pays no second time by accident, and can if they want to.
func TestPayerCanPayOnceMore(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		phone := f.Phone()
		live := f.LivePage(session)
		phone.Do("GET", live, "")
		leadsTo(phone, "GET", "/pay?device="+fixture.Washer, http.StatusSeeOther, live)
		leadsTo(phone, "GET", "/pay?device="+fixture.Washer+"&again=1", http.StatusTemporaryRedirect,
			f.Stripe.Links()[0].URL)
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:2", Name: "Washer 4"})
		f.Refresh()
		f.Pass(time.Second)
		if w := phone.Do("GET", "/pay?device=dev:2", ""); w.Code != http.StatusTemporaryRedirect {
			f.Errorf("at another machine: %d %s; want its link", w.Code, w.Body)
		}
		second := f.LivePage(f.Buy(sandbox.PayOptions{}))
		phone.Do("GET", second, "")
		home := phone.Do("GET", "/", "").Body.String()
		if !strings.Contains(home, `href="`+live+`"`) || !strings.Contains(home, `href="`+second+`"`) {
			f.Errorf("the home page does not lead to both payments: %s", home)
		}
	})
}

func TestPayersCookieIsBounded(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		phone := f.Phone()
		var invented []string
		for n := range 20 {
			invented = append(invented, fmt.Sprintf("%032x", n))
		}
		phone.Cookies = []*http.Cookie{{Name: payersCookie, Value: strings.Join(invented, ".") + `.<script>`}}
		if w := phone.Do("GET", "/pay?device="+fixture.Washer, ""); w.Code != http.StatusTemporaryRedirect {
			f.Errorf("with invented tokens: %d %s; want the link", w.Code, w.Body)
		}
		phone.Do("GET", f.LivePage(f.Buy(sandbox.PayOptions{})), "")
		for _, c := range phone.Cookies {
			if tokens := strings.Split(c.Value, "."); len(tokens) != 8 {
				f.Errorf("the cookie holds %d tokens; want 8", len(tokens))
			}
		}
	})
}

// The ledger that is not readable must not keep a payer from the machine.
func TestScanWithACookieSurvivesTheLedger(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		phone := f.Phone()
		phone.Do("GET", f.LivePage(f.Buy(sandbox.PayOptions{})), "")
		f.CloseLedger()
		if w := phone.Do("GET", "/pay?device="+fixture.Washer, ""); w.Code >= 500 && w.Code != 503 {
			f.Errorf("the scan: %d %s; want an answer", w.Code, w.Body)
		}
	})
}

func TestFindLeadsToThePayment(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, func(s *config.Settings) { s.TZ = "Asia/Tokyo" }, func(f *apptest.Front) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(6 * time.Minute) // until the charge is read
		live := f.LivePage(session)
		if p := f.Paid(session.ID); p.CardLast4 != "4242" {
			f.Fatalf("the card is %q; want 4242", p.CardLast4)
		}
		clock := f.Paid(session.ID).PaidAt.In(f.Settings.Zone()).Format("15:04")
		find := func(form string, status int, says string) {
			f.Helper()
			phone := f.Phone()
			w := phone.Do("POST", "/payment/find", form)
			if to := w.Header().Get("Location"); w.Code != status || !strings.Contains(w.Body.String()+to, says) {
				f.Errorf("%s: %d to %q, %s; want %d with %q", form, w.Code, to, w.Body, status, says)
			}
		}
		f.Shows("/payment/find", http.StatusOK, "Find your payment", "")
		id := payment.CreditID(session.ID)
		find("reference="+id, http.StatusSeeOther, live)
		find("reference="+url.QueryEscape(" "+strings.ToUpper(id)+" "), http.StatusSeeOther, live)
		find("reference="+url.QueryEscape("\u2068"+id+"\u2069."), http.StatusSeeOther, live) // of an Arabic text
		arabic := strings.NewReplacer("0", "٠", "1", "١", "2", "٢", "3", "٣", "4", "٤",
			"5", "٥", "6", "٦", "7", "٧",
			"8", "٨", "9", "٩")
		find(url.Values{
			"device": {fixture.Washer}, "card": {arabic.Replace("4242")}, "time": {arabic.Replace(clock)},
		}.Encode(), http.StatusSeeOther, live)
		for _, behind := range []string{"%E2%81%A9", ".", ")", "%E2%80%8B,"} { // of the text around a link
			if w := f.Phone().Do("GET", live+behind, ""); w.Code != http.StatusOK {
				f.Errorf("the link with %s: %d %s", behind, w.Code, w.Body)
			}
		}
		if w := f.Phone().Do("GET", live+"0", ""); w.Code != http.StatusNotFound {
			f.Errorf("another token: %d %s", w.Code, w.Body)
		}
		find("reference=cr_aaaaaaaaaaaaaaaa", http.StatusNotFound, "We found no such payment")
		find("reference="+session.ID, http.StatusNotFound, "We found no such payment")
		find("device="+fixture.Washer+"&card=4242&time="+clock, http.StatusSeeOther, live)
		find("device="+fixture.Washer+"&card=4243&time="+clock, http.StatusNotFound, "We found no such payment")
		find("device="+fixture.Washer+"&card=4242&time=25:00", http.StatusNotFound, "We found no such payment")
		f.Pass(20 * time.Minute)
		later := f.Ledger.Now().In(f.Settings.Zone()).Format("15:04")
		find("card=4242&time="+later, http.StatusNotFound, "We found no such payment")
		find("card=4242&time="+clock, http.StatusSeeOther, live)
	})
}

func TestFindIsLimitedAgainstGuessing(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(time.Minute)
		clock := f.Paid(session.ID).PaidAt.UTC().Format("15:04")
		guesses := 0
		for n := range 200 {
			phone := f.Phone()
			phone.Address = fmt.Sprintf("203.0.113.%d:40000", n)
			w := phone.Do("POST", "/payment/find", fmt.Sprintf("device=%s&card=%04d&time=%s", fixture.Washer, n, clock))
			if w.Code == http.StatusNotFound {
				guesses++
			} else if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
				f.Fatalf("a guess is answered %d %s; want 404 or 429 with Retry-After", w.Code, w.Body)
			}
		}
		if guesses > 10 {
			f.Errorf("%d guesses at one machine at once; want 10 at most", guesses)
		}
		w := f.Phone().Do("POST", "/payment/find", "reference="+payment.CreditID(session.ID))
		if w.Code != http.StatusSeeOther {
			f.Errorf("by reference meanwhile: %d %s; want 303", w.Code, w.Body)
		}
	})
}

// A code opens a locker, so four digits that can be guessed do not lead to it.
func TestFindByCardShowsNoAccessCode(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Locker("30m")
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(6 * time.Minute) // until the charge is read
		p := f.Paid(session.ID)
		clock := p.PaidAt.UTC().Format("15:04")
		w := f.Phone().Do("POST", "/payment/find", "device="+fixture.Washer+"&card=4242&time="+clock)
		body := w.Body.String()
		if w.Code != http.StatusOK || strings.Contains(body, p.AccessCode) || strings.Contains(body, p.Token) ||
			!strings.Contains(body, "with its reference") || p.AccessCode == "" {
			f.Errorf("by card: %d %s; want the payment without its code", w.Code, body)
		}
		to := f.Phone().Do("POST", "/payment/find", "reference="+p.ID).Header().Get("Location")
		if to != "/access/"+p.Token {
			f.Errorf("by reference: %q; want the page with the code", to)
		}
	})
}
