package goodwill_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/uid"
)

// issue returns the page of a new code for the washer.
func issue(f *apptest.Front, given ledger.GoodwillCode, valid time.Duration) string {
	f.Helper()
	given.By, given.Reason = "operator", "the drum was wet"
	if given.Site == "" {
		given.DeviceUID = fixture.Washer
	}
	code, _, err := f.Server.Console.Goodwill.Issue(f.Context(), given, valid, func(*ledger.Tx) error { return nil })
	if err != nil {
		f.Fatal(err)
	}
	return "/free/" + uid.ShowStartCode(code)
}

// freeStarts returns the free starts of the washer.
func freeStarts(f *apptest.Front) (list []payment.Payment) {
	f.Helper()
	all, _, err := f.Ledger.Payments(f.Context(), ledger.Filter{Devices: []string{fixture.Washer}, Limit: 100})
	if err != nil {
		f.Fatal(err)
	}
	for _, p := range all {
		if payment.IsFreeStart(p) {
			list = append(list, p)
		}
	}
	return list
}

func leads(t *testing.T, what string, w *httptest.ResponseRecorder, to string) {
	t.Helper()
	if w.Code != http.StatusSeeOther || !strings.HasPrefix(w.Header().Get("Location"), to) {
		t.Errorf("%s: %d, Location %q, %s; want 303 to %s", what, w.Code, w.Header().Get("Location"), w.Body, to)
	}
}

// An operator grants a code for a payment, and its customer starts the machine once.
func TestCodeStartsTheMachineOnce(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Timed("30m")
		f.Run()
		b, p := f.Browser(), f.Phone()
		m := f.Machine(sandbox.MachineConfig{})
		f.Answers("a scan before", p.Do("GET", "/pay?device="+fixture.Washer, ""), http.StatusTemporaryRedirect, "")
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(31 * time.Minute)
		id := payment.CreditID(session.ID)
		page := "/operator/payments/" + id
		b.Shows(page, "https://pay.example.com/session/"+f.Paid(session.ID).Token,
			"mailto:?subject=Washer%203&amp;body=Your%20payment", "sms:?&amp;body=Your%20payment")
		f.Answers("without a reason", b.Press(page, page+"/code", "days", "30", "reason", ""), 400, "enter a reason")
		f.Answers("for no day", b.Press(page, page+"/code", "days", "0", "reason", "x"), 400, "1 to 366")
		w := b.Press(page, page+"/code", "days", "30", "reason", "x", "site", "fleet:none")
		f.Answers("for another site", w, http.StatusBadRequest, "not at this site")
		w = b.Press(page, page+"/code", "days", "30", "reason", "wet drum")
		f.Answers("a code", w, http.StatusOK, "It is shown only now.")
		free := regexp.MustCompile(`/free/[0-9A-Z]{5}-[0-9A-Z]{5}`).FindString(w.Body.String())
		f.Audited(id, "operator goodwill wet drum")
		b.Shows(page, "Code for a free start of Washer 3", "not used yet", "granted a code for a free start")
		if strings.Contains(b.Page, strings.TrimPrefix(free, "/free/")) {
			f.Error("the code is shown twice")
		}

		p = f.Phone()
		w = p.Do("GET", "/pay?device="+fixture.Washer, "")
		f.Answers("a scan", w, http.StatusOK, "I have a code for a free start")
		leads(t, "the code as a machine's", p.Do("GET", "/pay?device="+strings.ToLower(free[6:]), ""), free)
		leads(t, "the form", p.Do("GET", "/free?code="+free[6:]+"&device="+fixture.Washer, ""), free)
		f.Answers("the code's page", p.Do("GET", free, ""), http.StatusOK, "starts Washer 3 once")
		if n := len(freeStarts(f)); n != 0 {
			f.Fatalf("%d free starts; want none before the button is pressed", n)
		}
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				w := f.Phone().Do("POST", free, "start=1")
				if w.Code != http.StatusSeeOther {
					t.Errorf("the button: %d %s; want 303", w.Code, w.Body)
				}
			})
		}
		both.Wait()
		f.Pass(10 * time.Second)
		list := freeStarts(f)
		if len(list) != 1 || list[0].Duration != 30*time.Minute || list[0].Plan != "Warm wash" {
			f.Fatalf("the free starts are %+v; want one of the program that was paid", list)
		}
		f.Started(m, 2)
		leads(t, "the code again", p.Do("POST", free, "start=1"), "/session/"+list[0].Token)
		f.Audited(fixture.Washer, "customer start goodwill code of "+
			list[0].CreatedAt.UTC().Format("2006-01-02")+": wet drum")
		b.Shows(page, "used")
		f.Pass(time.Hour)
		w = f.Phone().Do("GET", "/pay?device="+fixture.Washer, "")
		f.Answers("a scan after", w, http.StatusTemporaryRedirect, "")
		f.Answers("an hour later", p.Do("POST", free, "start=1"), http.StatusNotFound, "not valid")
	})
}

func TestCodeIsKeptUntilTheMachineStarts(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, func(s *config.Settings) {
		s.CreditLifetime = time.Minute
	}, func(f *apptest.Front) {
		f.Run()
		m := f.Machine(sandbox.MachineConfig{})
		free := issue(f, ledger.GoodwillCode{}, time.Hour)
		p := f.Phone()
		f.Asks("a pause", "/api/devices/"+fixture.Washer+"/pause", `{"reason":"repair"}`, 200, "")
		w := p.Do("POST", free, "start=1")
		f.Answers("of a paused machine", w, http.StatusServiceUnavailable, "closed right now")
		f.Asks("a resume", "/api/devices/"+fixture.Washer+"/resume", `{"reason":"repaired"}`, 200, "")
		f.Pass(10 * time.Second)

		m.SetOnline(false)
		leads(t, "while the machine is off", p.Do("POST", free, "start=1"), "/session/")
		f.Pass(2 * time.Minute)
		if list := freeStarts(f); len(list) != 1 || list[0].Delivery != payment.Failed {
			f.Fatalf("the free starts are %+v; want one that failed", list)
		}
		m.SetOnline(true)
		f.Answers("the code again", f.Phone().Do("GET", free, ""), http.StatusOK, "starts Washer 3 once")
		leads(t, "the second start", p.Do("POST", free, "start=1"), "/session/")
		f.Pass(10 * time.Second)
		f.Started(m, 1)
		if list := freeStarts(f); len(list) != 2 {
			f.Errorf("%d free starts; want a second one", len(list))
		}
	})
}

func TestCodesEnd(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		p := f.Phone()
		free := issue(f, ledger.GoodwillCode{}, time.Minute)
		f.Pass(time.Minute)
		f.Answers("one that expired", p.Do("POST", free, "start=1"), http.StatusNotFound, "not valid")

		session := f.Buy(sandbox.PayOptions{})
		id := payment.CreditID(session.ID)
		free = issue(f, ledger.GoodwillCode{PaymentID: id}, time.Hour)
		b, page := f.Browser(), "/operator/payments/"+id
		b.Does(b.Press(page, page+"/code/withdraw", "number", "1"), "withdraw")
		f.Answers("one that was withdrawn", p.Do("POST", free, "start=1"), http.StatusNotFound, "not valid")
		f.Audited(id, "operator goodwill_end withdrawn", "operator goodwill the drum was wet")

		free = issue(f, ledger.GoodwillCode{Site: "fleet:other"}, time.Hour)
		f.Answers("one for another site", p.Do("POST", free, "start=1&device="+fixture.Washer), http.StatusConflict,
			"for another machine")
		if list := freeStarts(f); len(list) != 0 {
			f.Errorf("the free starts are %+v; want none", list)
		}

		f.Pass(10 * time.Minute)
		for range 10 {
			f.Answers("a guess", p.Do("GET", "/free/AAAAA-AAAAA", ""), http.StatusNotFound, "not valid")
		}
		w := p.Do("GET", "/free/AAAAA-AAAAC", "")
		f.Answers("one guess too many", w, http.StatusTooManyRequests, "Too many attempts")
		if w.Header().Get("Retry-After") == "" {
			f.Error("it does not say when to try again")
		}
		p.Address = "203.0.113.8:40000"
		f.Answers("of another address", p.Do("GET", "/free/AAAAA-AAAAC", ""), http.StatusNotFound, "not valid")
	})
}

func TestCodeOfASite(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Notehub.AddDevice(sandbox.Device{UID: fixture.Washer, Name: "Washer 3", Fleets: []string{"fleet:north"}})
		f.Run()
		f.Machine(sandbox.MachineConfig{})
		free := issue(f, ledger.GoodwillCode{Site: "fleet:north"}, time.Hour)
		p := f.Phone()
		f.Answers("the code's page", p.Do("GET", free, ""), http.StatusOK, "Type the code that is printed")
		f.Answers("a scan", p.Do("GET", "/pay?device="+fixture.Washer, ""), http.StatusOK, "I have a code")
		leads(t, "the machine", p.Do("POST", free, "device="+f.Fleet.Code(fixture.Washer)), free+"?device="+"dev%3A")
		leads(t, "the start", p.Do("POST", free, "start=1&device="+fixture.Washer), "/session/")
	})
}
