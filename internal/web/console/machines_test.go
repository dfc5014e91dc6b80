package console_test

import (
	"database/sql"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

func TestMachinesAreFiltered(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, apptest.ReadAtOnce, func(f *apptest.Front) {
		f.Notehub.AddFleet("fleet:north", "North Street", nil)
		f.Notehub.AddFleet("fleet:south", "South Street", nil)
		for n := range 60 {
			site := []string{"fleet:north", "fleet:south"}[n%2]
			f.Notehub.AddDevice(sandbox.Device{UID: fmt.Sprintf("dev:%04d", n), Name: fmt.Sprintf("Dryer %02d", n),
				Fleets: []string{site}, Disabled: n == 7})
		}
		f.Run()
		f.Buy(sandbox.PayOptions{})
		f.Pass(time.Minute)
		b := f.Browser()
		const list = "/operator/devices"
		both := b.Shows(list, "61 found.", "North Street (30)", "page=2", "It is disabled in Notehub.") +
			b.Shows(list+"?page=2", "Dryer 59", "Previous")
		if !strings.Contains(both, "Starts by day: ") {
			t.Error("the payment is on no machine")
		}
		b.Shows(list+"?site=fleet:north&sort=active", "30 found.")
		b.Shows(list+"?site=fleet:south&state=not", "1 found.", "Dryer 07")
		b.Shows(list+"?state=sells&q=dryer", "59 found.")
		b.Shows(list+"?state=disabled", "1 found.")
		b.Shows(list+"?sort=state", "It is disabled in Notehub.")
		b.Shows(list+"?site=fleet:none", "No machine matches.")
		w := b.Send("GET", list+"?q="+fixture.Washer, "")
		if w.Header().Get("Location") != list+"/"+fixture.Washer {
			t.Errorf("a UID leads to %d %q; want its machine", w.Code, w.Header().Get("Location"))
		}
		b.Shows(list+"/"+fixture.Washer, "Washer 3", "Opening hours", "always")
		f.Answers("no machine", b.Send("GET", list+"/dev:none", ""), http.StatusNotFound, "does not exist")

		f.Answers("none chosen", b.Press(list, list, "action", "pause", "reason", "x"), 400, "at least one machine")
		f.Answers("no reason", b.Press(list, list, "action", "pause", "all", "1"), 400, "enter a reason")
		f.Answers("no action", b.Press(list, list, "all", "1"), 400, "Choose what to do")
		north := list + "?site=fleet:north"
		w = b.Press(north, list, "action", "pause", "reason", "flood", "all", "1", "site", "fleet:north")
		f.Answers("a pause of a site", w, http.StatusOK, "Paused: <b>30</b>")
		b.Shows(list+"?state=paused", "30 found.", "Paused by operator at", "flood.")
		f.Audited("dev:0000", "operator pause flood")
		form := url.Values{"uid": {"dev:0000", "dev:0001", "dev:gone"}, "action": {"resume"}, "once": {"AAAA"}}
		w = b.Send("POST", list, form.Encode())
		f.Answers("two with a mark", w, http.StatusOK, "On sale again: <b>1</b>")
		f.Answers("one that is gone", w, http.StatusOK, "It does not exist any more.")
		f.Answers("the other one", w, http.StatusOK, "It was not paused.")
		f.Answers("pressed twice", b.Send("POST", list, form.Encode()), http.StatusSeeOther, "")
		b.Shows(list+"?state=paused", "29 found.")
		if w := f.Do("POST", list, form.Encode()); w.Code == http.StatusSeeOther || w.Code/100 == 2 {
			f.Errorf("a stranger resumes sales: %d", w.Code)
		}
	})
}

// All lists of machines count as people do: "Dryer 2" is before "Dryer 10".
func TestMachinesAreInNaturalOrder(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, apptest.ReadAtOnce, func(f *apptest.Front) {
		var want []string
		for n := range 60 {
			name := fmt.Sprintf("Dryer %d", n+1)
			f.Notehub.AddDevice(sandbox.Device{UID: fmt.Sprintf("dev:%04d", (n*7)%60), Name: name})
			want = append(want, name)
		}
		f.Run()
		b := f.Browser()
		dryer := regexp.MustCompile(`(?:"name":"|">)(Dryer [0-9]+)["<]`)
		for list, pages := range map[string]string{
			"the table":    b.Shows("/operator/devices") + b.Shows("/operator/devices?page=2"),
			"the stickers": b.Shows("/operator/stickers?q=dryer"),
			"the API":      f.AsOperator("/api/devices").Body.String(),
		} {
			var got []string
			for _, match := range dryer.FindAllStringSubmatch(pages, -1) {
				if !slices.Contains(got, match[1]) {
					got = append(got, match[1])
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: %q; want Dryer 1 to Dryer 60, each once", list, got)
			}
		}
	})
}

// An action on many machines continues after a failure, says what failed, and does the rest when it is
// pressed again.
func TestBulkContinuesAfterAFailure(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		for n := range 5 {
			f.Notehub.AddDevice(sandbox.Device{UID: fmt.Sprintf("dev:000%d", n), Name: fmt.Sprintf("Dryer %d", n)})
		}
		f.Run()
		b := f.Browser()
		const list = "/operator/devices"
		alterLedger(f, `CREATE TRIGGER full BEFORE INSERT ON pauses
			WHEN NEW.device_uid IN ('dev:0001', 'dev:0003') BEGIN SELECT RAISE(ABORT, 'disk is full'); END`)
		uids := []string{"dev:0000", "dev:0001", "dev:0002", "dev:0003", "dev:0004", "dev:gone"}
		form := url.Values{"uid": uids, "action": {"pause"}, "reason": {"flood"}, "once": {"AAAA"}, "back": {list}}
		press := func(form url.Values, lang string, texts ...string) string {
			f.Helper()
			w := b.Send("POST", list, form.Encode(), "Accept-Language", lang)
			for _, text := range texts {
				f.Answers("many machines", w, http.StatusOK, text)
			}
			return w.Body.String()
		}
		press(form, "de", "Pausiert: <b>3</b>. Fehlgeschlagen: <b>2</b>.", "disk is full", "Dryer 1", "Dryer 3",
			"Gibt es nicht mehr.", "dev:gone", "Erneut versuchen: 2")
		if n := strings.Count(f.Logs.String(), "2 failed, first pause dev:0001"); n != 1 {
			t.Errorf("%d lines in the log; want one of the failure", n)
		}
		// The same button again, and at last the one of the page that says what failed.
		shown := press(form, "en", "Paused: <b>0</b>. Failed: <b>2</b>.", "It was paused already.", "disk is full")
		alterLedger(f, "DROP TRIGGER full")
		again := url.Values{}
		hidden := regexp.MustCompile(`type="hidden" name="(\w+)" value="([^"]*)"`)
		for _, field := range hidden.FindAllStringSubmatch(shown, -1) {
			again.Add(field[1], html.UnescapeString(field[2]))
		}
		again.Del("back")
		press(again, "en", "Paused: <b>2</b>.")
		b.Shows(list+"?state=paused", "5 found.", "flood.")
		for _, uid := range uids[:5] {
			f.Audited(uid, "operator pause flood")
		}
		f.Answers("pressed twice", b.Send("POST", list, again.Encode()), http.StatusSeeOther, "")
	})
}

// alterLedger changes the ledger's schema beside the service.
func alterLedger(f *apptest.Front, statement string) {
	f.Helper()
	db, err := sql.Open("sqlite", f.Path)
	if err == nil {
		_, err = db.Exec(statement)
	}
	if err = errors.Join(err, db.Close()); err != nil {
		f.Error(err)
	}
}

func TestMaintenanceIsPlanned(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		page := "/operator/devices/" + fixture.Washer
		at := func(after time.Duration) string {
			return time.Now().Add(after).In(f.Server.Console.Zone).Format("2006-01-02T15:04")
		}
		for _, wrong := range [][2]string{
			{"", ""},
			{at(time.Hour), at(time.Minute)},
			{at(-2 * time.Hour), at(-time.Hour)},
			{at(0), at(100 * 24 * time.Hour)},
		} {
			w := b.Press(page, page+"/maintenance", "from", wrong[0], "to", wrong[1], "reason", "new belt")
			f.Answers("the times "+wrong[0]+" to "+wrong[1], w, http.StatusBadRequest, "Nothing was changed.")
		}
		open := f.Opened()
		b.Does(b.Press(page, page+"/maintenance", "from", at(2*time.Minute), "to", at(time.Hour), "reason", "new belt"),
			"maintenance")
		scan := func() int { return f.Get("/pay?device=" + fixture.Washer).Code }
		if scan() != http.StatusTemporaryRedirect {
			t.Error("it does not sell before its maintenance")
		}
		f.Pass(3 * time.Minute)
		w := f.Phone().Do("GET", "/pay?device="+fixture.Washer, "")
		f.Answers("a scan in the maintenance", w, http.StatusServiceUnavailable, "This machine is being serviced")
		f.Answers("when it opens", w, http.StatusServiceUnavailable, "It opens again: ")
		b.Shows(page, "in maintenance", "new belt", "Cancel maintenance")
		session := f.Pay(open)
		f.Pass(time.Minute)
		f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonNotSelling,
			payment.ReasonNotSelling))
		f.Restart()
		if scan() != http.StatusServiceUnavailable {
			t.Error("a restart ends the maintenance")
		}
		f.Pass(time.Hour)
		if scan() != http.StatusTemporaryRedirect {
			t.Error("it does not sell after its maintenance")
		}
		b = f.Browser()
		b.Does(b.Press(page, page+"/maintenance", "from", at(-time.Minute), "to", at(time.Hour), "reason", "again"),
			"maintenance")
		b.Does(b.Press(page, page+"/maintenance/cancel"), "maintenance_end")
		if scan() != http.StatusTemporaryRedirect {
			t.Error("it does not sell after its maintenance was canceled")
		}
		f.Audited(fixture.Washer, "operator maintenance_end ", "operator maintenance again",
			"operator maintenance new belt")
	})
}

// All payments that need attention for one reason are refunded with one button, each under its own
// guard.
func TestGroupIsRefunded(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		var ids []string
		for range 3 {
			session := f.Buy(sandbox.PayOptions{Amount: 300})
			f.Notehub.Fetch(fixture.Washer, "payment.qi")
			f.Pass(11 * time.Minute)
			ids = append(ids, payment.CreditID(session.ID))
		}
		b.Shows("/operator", "Refund all (3)", "In all: <b>9.00 EUR</b>", "Dismiss all (3)")
		shown := b.Shows("/operator")
		once := apptest.OnceField.FindStringSubmatch(shown)[1]
		other := "/operator/payments/" + ids[0]
		b.Does(b.Press(other, other+"/refund"), "refund") // in another window
		f.Pass(time.Second)
		w := b.Send("POST", "/operator/attention/amount_mismatch/refund", "reason=sorry&back=/operator&once="+once)
		f.Answers("all", w, http.StatusOK, "Refunds requested: <b>2</b>")
		f.Pass(time.Second)
		if strings.Contains(w.Body.String(), ids[1]) {
			t.Error("a payment that was refunded is among those that were not changed")
		}
		for i, id := range ids {
			p, err := f.Ledger.Payment(f.Context(), id)
			if err != nil || p.RefundedAmount != 300 {
				t.Errorf("payment %d: %d refunded, %v; want 300", i, p.RefundedAmount, err)
			}
		}
		f.Audited(ids[1], "operator refund sorry")
		if n := f.Stripe.Count("POST /v1/refunds"); n != 3 {
			f.Errorf("%d refunds; want one a payment", n)
		}
	})
}

// Dismissing a group must not cancel a start that is still open.
func TestGroupKeepsTheGuards(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		for range 2 {
			f.Buy(sandbox.PayOptions{Amount: 300})
			f.Notehub.Fetch(fixture.Washer, "payment.qi")
			f.Pass(11 * time.Minute)
		}
		waits := f.Buy(sandbox.PayOptions{Amount: 300})
		f.Pass(time.Minute)
		const dismiss = "/operator/attention/amount_mismatch/dismiss"
		w := b.Press("/operator", dismiss)
		f.Answers("all", w, http.StatusOK, "Dismissed: <b>2</b>")
		f.Answers("the one that waits", w, http.StatusOK, "Its state does not allow this.")
		if p := f.Paid(waits.ID); p.Delivery != payment.Sent || p.ReviewReason != payment.ReviewAmount {
			t.Errorf("what waits is %s, %q; want it as it was", p.Delivery, p.ReviewReason)
		}
	})
}
