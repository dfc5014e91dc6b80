package customer_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

func TestReportReachesTheOperator(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, confirmingMachines, func(f *apptest.Front) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		live := f.LivePage(session)
		phone := f.Phone()
		if body := phone.Do("GET", live, "").Body.String(); strings.Contains(body, live+"/report") {
			f.Errorf("the start is not due and the page offers a report: %s", body)
		}
		if w := phone.Do("GET", live+"/report", ""); w.Code != http.StatusSeeOther {
			f.Errorf("the form before the start is due: %d; want 303 back", w.Code)
		}
		f.Pass(31 * time.Second)
		if body := phone.Do("GET", live, "").Body.String(); !strings.Contains(body, `href="`+live+`/report"`) {
			f.Fatalf("the start is due and the page offers no report: %s", body)
		}
		form := phone.Do("GET", live+"/report", "").Body.String()
		for _, says := range []string{
			"Waiting for the machine", "If the machine has not started by", "It did not start",
		} {
			if !strings.Contains(form, says) {
				f.Errorf("the form does not say %q: %s", says, form)
			}
		}
		before := f.Paid(session.ID)
		send := func(fields url.Values, status int, says string) {
			f.Helper()
			w := phone.Do("POST", live+"/report", fields.Encode())
			if w.Code != status || !strings.Contains(w.Body.String()+w.Header().Get("Location"), says) {
				f.Errorf("%v: %d %s; want %d with %q", fields, w.Code, w.Body, status, says)
			}
		}
		send(url.Values{"reason": {"free money"}}, http.StatusBadRequest, "Please choose")
		send(url.Values{"reason": {"not_started"}, "words": {"It\u202e stays\r\ndark <b>" + strings.Repeat("x", 300)}},
			http.StatusSeeOther, live+"?reported=1")
		send(url.Values{"reason": {"other"}}, http.StatusTooManyRequests, "already have your report")
		thanks := phone.Do("GET", live+"?reported=1", "").Body.String()
		if !strings.Contains(thanks, "can see your report") {
			f.Errorf("the page does not thank: %s", thanks)
		}
		reports, err := f.Ledger.Reports(f.Context(), payment.CreditID(session.ID))
		if err != nil || len(reports) != 1 || !strings.HasPrefix(reports[0].Words, "It stays dark <b>xxx") ||
			len(reports[0].Words) != 200 {
			f.Fatalf("reports: %+v, %v; want one line of 200 characters", reports, err)
		}
		if after := f.Paid(session.ID); after != before {
			f.Errorf("the report changed the payment to %+v; want %+v", after, before)
		}

		b := f.Browser()
		page := "/operator/payments/" + payment.CreditID(session.ID)
		b.Shows("/operator", "A customer reported: it did not start.", "It stays dark &lt;b&gt;")
		b.Does(b.Press(page, page+"/reports"), "dismiss")
		if strings.Contains(b.Shows("/operator"), "A customer reported") {
			f.Errorf("the report was seen and is still listed")
		}
		b.Shows(page, "The customer reported: it did not start")
	})
}

func TestReportsAreLimited(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		live := f.LivePage(session)
		accepted := 0
		for range 20 {
			f.Pass(2 * time.Minute)
			w := f.Phone().Do("POST", live+"/report", "reason=not_started")
			if strings.HasSuffix(w.Header().Get("Location"), "?reported=1") {
				accepted++
			}
		}
		if accepted != 3 {
			f.Errorf("%d reports of one payment; want 3", accepted)
		}
		f.Answers("of nothing", f.Phone().Do("POST", "/session/"+strings.Repeat("0", 32)+"/report", "reason=other"),
			http.StatusNotFound, "Payment not found")
	})
}

// A report makes the next look at the pending notes due at once.
func TestReportChecksTheMachineAtOnce(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		live := f.LivePage(session)
		f.Pass(31 * time.Second)
		looks := f.Notehub.Count(fixture.HubNotes)
		f.Phone().Do("GET", live+"/report", "")
		f.Pass(time.Second)
		if n := f.Notehub.Count(fixture.HubNotes) - looks; n != 1 {
			f.Errorf("%d looks within a second; want one", n)
		}
	})
}
