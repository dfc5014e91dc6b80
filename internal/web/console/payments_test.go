package console_test

import (
	"encoding/csv"
	"maps"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// buyRejected buys a credit that Notehub rejects, and returns the payment's id.
func buyRejected(f *apptest.Front) (id string) {
	f.Notehub.Next(fixture.PostNote, sandbox.Outcome{Status: 404, Body: `{"err":"device not found {device-noexist}"}`})
	session := f.Buy(sandbox.PayOptions{})
	f.Pass(time.Minute)
	return payment.CreditID(session.ID)
}

func TestSearchFindsPayments(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		session := f.Buy(sandbox.PayOptions{})
		id := payment.CreditID(session.ID)
		day := time.Now().In(time.Local).Format("2006-01-02")
		f.Pass(5 * time.Minute) // until notepay has read Stripe's events
		if p, err := f.Ledger.Payment(f.Context(), id); err != nil || !strings.Contains(p.ReceiptURL, "/receipts/") {
			f.Errorf("Stripe's receipt is at %q, %v; want it learned with the card", p.ReceiptURL, err)
		}
		for _, key := range []string{id, session.ID, session.PaymentIntent} {
			if w := b.Send("GET", "/operator/payments?q="+key, ""); w.Header().
				Get("Location") !=
				"/operator/payments/"+id {
				f.Errorf("%s: %d, Location %q; want the payment", key, w.Code, w.Header().Get("Location"))
			}
		}
		for query, found := range map[string]bool{
			"": true, "q=Washer+3": true, "q=washer": true, "q=" + fixture.Washer: true, "q=dryer": false,
			"q=4242": true, "q=1111": false, "q=3.50": true, "q=3,50+EUR": true, "q=3.51": false,
			"q=3.50+USD": false, "q=" + day: true, "q=2020-01-01": false, "q=washer+" + day + "+4242+3.50": true,
			"state=waiting": true, "state=failed": false,
			"state=attention": false, "from=" + day: true, "to=1999-12-31": false, "from=" + day + "&to=" + day: true,
			"q=cr_unknown": false,
		} {
			if shown := b.Shows("/operator/payments?" + query); strings.Contains(shown, id) != found {
				f.Errorf("%s: found %v; want %v", query, !found, found)
			}
		}
	})
}

func TestSearchSaysWhatItSearched(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		b.Shows("/operator/payments", "No payments yet.")
		session := f.Buy(sandbox.PayOptions{Email: "robin@example.com"})
		id := payment.CreditID(session.ID)
		for _, email := range []string{"robin@example.com", "Robin@Example.com, washer 3"} {
			b.Shows("/operator/payments?q="+url.QueryEscape(email), id, "e-mail address "+email[:5])
		}
		b.Shows("/operator/payments?q=nobody@example.com", "Stripe knows no payment with this e-mail address.")
		b.Shows("/operator/payments?q=robin@example.com+1999-01-01", "none of them matches")
		csv := "/operator/payments.csv?q=robin@example.com"
		f.Answers("an export", b.Send("GET", csv, ""), http.StatusBadRequest, "cannot be exported")
		f.Stripe.Next("GET /v1/checkout/sessions", sandbox.Outcome{Status: 500})
		w := b.Send("GET", "/operator/payments?q=robin@example.com", "")
		f.Answers("while Stripe is down", w, http.StatusBadGateway, "nothing was searched")
		if strings.Contains(w.Body.String(), "No payment") || strings.Contains(w.Body.String(), "knows no payment") {
			t.Errorf("it says that there is none, and searched nothing:\n%s", w.Body)
		}
		b.Shows("/operator/payments?q=4242", "Search again in a moment", "No match yet.")
		f.Pass(5 * time.Minute)
		b.Shows("/operator/payments?q=1999-01-01", "All payments were searched.")
		w = b.Send("GET", "/operator/payments?from=1.1.2026", "")
		f.Answers("a wrong day", w, http.StatusBadRequest, "Enter days")
		if strings.Contains(w.Body.String(), "No payment") {
			t.Errorf("it says that there is none, and searched nothing:\n%s", w.Body)
		}
	})
}

func TestPaymentButtons(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		id := buyRejected(f)
		b.Shows("/operator", "Needs attention", "Notehub rejected the credit", "/operator/payments/"+id)
		page := "/operator/payments/" + id
		b.Shows(page, "Notehub rejected the credit", "Refunded", "refunded")
		b.Does(b.Press("/operator", page+"/end", "reason", "seen it"), "dismiss")
		b.Shows("/operator", "Nothing needs your attention.")
		b.Shows("/operator/audit", "dismissed this", "seen it", id)

		session := f.Buy(sandbox.PayOptions{})
		f.Notehub.Fetch(fixture.Washer, "payment.qi")
		f.Pass(11 * time.Minute)
		page = "/operator/payments/" + payment.CreditID(session.ID)
		for _, wrong := range []string{"0", "-1", "4", "3.555", "x", "1e9"} {
			w := b.Press(page, page+"/refund", "amount", wrong)
			f.Answers("giving back "+wrong, w, http.StatusBadRequest, "at most 3.50 EUR")
		}
		b.Does(b.Press(page, page+"/refund", "amount", "1,20", "reason", "too slow"), "refund")
		f.Pass(time.Second)
		b.Shows(page, "partly refunded", "1.20 EUR", "too slow", "Nothing more can be known.")
		b.Does(b.Press(page, page+"/refund"), "refund")
		f.Pass(time.Second)
		b.Shows(page, "operator requested a refund of 1.20 EUR", "operator requested a refund of 2.30 EUR",
			"done, status 200: 1.20 EUR", "done, status 200: 2.30 EUR")
		b.Shows("/operator/audit", "requested a refund of 1.20 EUR", "requested a refund of 2.30 EUR", "dismissed this")
		if shown := b.Send("GET", "/operator/audit.csv", "").Body.String(); !strings.Contains(shown, `"1.20","EUR"`) ||
			!strings.Contains(shown, `"operator","dismiss"`) {
			f.Errorf("the audit as CSV\n%s; want amounts, and what was only seen told apart", shown)
		}
		shown := b.Shows(page, "refunded")
		for _, action := range []string{"/retry", "/refund", "/end"} {
			if strings.Contains(shown, `action="`+page+action) {
				f.Errorf("a button for %s, which is not possible:\n%s", action, shown)
			}
		}
		f.Answers("what is not possible", b.Send("POST", page+"/retry", "once=AAAA"), http.StatusConflict,
			"no longer possible")

		session = f.Buy(sandbox.PayOptions{})
		page = "/operator/payments/" + payment.CreditID(session.ID)
		b.Does(b.Press(page, page+"/retry", "reason", "again"), "retry")
		b.Does(b.Press(page, page+"/end", "reason", "no more"), "end")
		f.Pass(time.Minute)
		b.Shows(page, "canceled in this console", "refunded", "again", "no more", "operator canceled the start")
		if n := f.Stripe.Count("POST /v1/refunds"); n != 4 {
			f.Errorf("%d refunds at Stripe; want what was refused, two parts, and what was ended", n)
		}
		w := b.Send("POST", "/operator/payments/cr_none/end", "once=AAAA")
		f.Answers("of no payment", w, http.StatusNotFound, "Nothing was changed")
	})
}

func TestPaymentsCSV(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Server.Console.Zone = time.FixedZone("where midnight is near", int((23*time.Hour + 30*time.Minute).Seconds()))
		f.Stripe.SetPrice(fixture.Warm, func(p *sandbox.Price) { p.Name = "=HYPERLINK(1)" })
		f.Run()
		b := f.Browser()
		buyRejected(f)
		session := f.Buy(sandbox.PayOptions{})
		page := "/operator/payments/" + payment.CreditID(session.ID)
		f.Notehub.Fetch(fixture.Washer, "payment.qi")
		f.Pass(11 * time.Minute)
		b.Does(b.Press(page, page+"/refund", "amount", "1"), "refund")
		f.Pass(20 * time.Minute)
		f.Buy(sandbox.PayOptions{})
		w := b.Send("GET", "/operator/payments.csv", "")
		if kind := w.Header().Get("Content-Type"); kind != "text/csv; charset=utf-8" ||
			!strings.Contains(w.Header().Get("Content-Disposition"), "attachment") {
			f.Errorf("headers %v; want a file to save", w.Header())
		}
		names, rows := readCSV(t, w.Body.String(), ',')
		cents := map[string]int{}
		var days []string
		for _, row := range rows {
			if row[names["plan"]] != "'=HYPERLINK(1)" || row[names["record"]] != "payment" {
				t.Errorf("row %q; want a payment without a formula", row)
			}
			for _, column := range []string{"amount", "sold", "given back", "net"} {
				cents[column] += int(math.Round(asNumber(t, row[names[column]]) * 100))
			}
			days = append(days, row[names["day"]])
		}
		want := map[string]int{"amount": 1050, "sold": 1050, "given back": 450, "net": 600}
		if len(rows) != 3 || !maps.Equal(cents, want) || days[0] == days[2] {
			t.Errorf("%d rows of %q, with the sums %v; want 3 of two days, and %v", len(rows), days, cents, want)
		}

		w = b.Send("GET", "/operator/payments.csv?layout=semicolon", "")
		names, rows = readCSV(t, w.Body.String(), ';')
		if len(rows) != 3 || rows[0][names["amount"]] != "3,50" || rows[0][names["plan"]] != "'=HYPERLINK(1)" {
			t.Errorf("with semicolons %q; want three payments with decimal commas", rows)
		}
		names, rows = readCSV(t, b.Send("GET", "/operator/payments.csv?q="+session.ID, "").Body.String(), ',')
		if len(rows) != 1 || rows[0][names["session"]] != session.ID {
			f.Errorf("a reference exports %q; want its payment alone", rows)
		}
		names, rows = readCSV(t, b.Send("GET", "/operator/audit.csv", "").Body.String(), ',')
		if len(rows) != 1 || rows[0][names["what"]] != "refund" || rows[0][names["amount"]] != "1.00" {
			t.Errorf("audit %q; want the refund", rows)
		}
		names, rows = readCSV(t, b.Send("GET", "/operator/audit.csv?layout=semicolon", "").Body.String(), ';')
		if len(rows) != 1 || rows[0][names["amount"]] != "1,00" {
			t.Errorf("audit with semicolons %q; want the refund with a decimal comma", rows)
		}
		for _, file := range []string{"payments", "audit"} {
			b.Shows("/operator/"+file, "/operator/"+file+".csv?", "layout=semicolon")
			w = b.Send("GET", "/operator/"+file+".csv?layout=x", "")
			f.Answers("an unknown layout", w, http.StatusBadRequest, "no such layout")
		}
	})
}

// readCSV reads a file as a spreadsheet does. It returns the numbers of its columns and the rows.
func readCSV(t *testing.T, file string, separator rune) (columns map[string]int, rows [][]string) {
	t.Helper()
	text, marked := strings.CutPrefix(file, "\ufeff")
	if !marked {
		t.Error("the file has no byte order mark, so Excel takes it for another encoding")
	}
	reader := csv.NewReader(strings.NewReader(text))
	reader.Comma = separator
	rows, err := reader.ReadAll()
	if err != nil || len(rows) == 0 {
		t.Fatalf("%d rows, %v; want a table", len(rows), err)
	}
	columns = map[string]int{}
	for i, name := range rows[0] {
		columns[name] = i
	}
	return columns, rows[1:]
}

// asNumber returns what a spreadsheet adds up for a cell: 0 if it is no number.
func asNumber(t *testing.T, cell string) float64 {
	t.Helper()
	number, err := strconv.ParseFloat(cell, 64)
	if err != nil {
		t.Errorf("cell %q; want a number", cell)
	}
	return number
}

// A customer calls: "14:05, card ending 4242". The webhook of a payment does not contain the card.
func TestSearchFindsACardRightAfterThePayment(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		const asking = "notepay is asking Stripe for the cards of the last minutes."
		finds := func(digits string, session sandbox.Session, found bool) {
			f.Helper()
			shown := b.Shows("/operator/payments?q=" + digits)
			if strings.Contains(shown, payment.CreditID(session.ID)) != found {
				f.Errorf("found by %s: %v; want %v", digits, !found, found)
			}
		}
		f.Pass(time.Minute)
		session := f.Buy(sandbox.PayOptions{Method: "4000 0025 0000 3155"})
		f.Pass(time.Second)
		// so that the read does not end before the page is written
		f.Stripe.Next(fixture.ListEvents,
			sandbox.Outcome{Applied: true, Status: http.StatusOK, Delay: 500 * time.Millisecond})
		finds("3155", session, false)
		b.Shows("/operator/payments?q=3155", asking)
		f.Pass(time.Second)
		reads := f.Stripe.Count(fixture.ListEvents)
		finds("3155", session, true)
		if strings.Contains(b.Page, asking) || f.Stripe.Count(fixture.ListEvents) != reads {
			f.Error("Stripe is asked again although nothing was paid since")
		}
		b.Shows("/operator/payments/"+payment.CreditID(session.ID), "ends in 3155")
		types, _ := f.EventsListed("id=" + session.ID)
		if strings.Contains(strings.Join(types, " "), "charge.succeeded") {
			f.Errorf("events %q; want none that every payment has and that only tells the card", types)
		}

		without := f.Buy(sandbox.PayOptions{Method: "paypal"})
		f.Pass(5 * time.Minute)
		if p := f.Paid(without.ID); p.CardLast4 != "" {
			f.Errorf("card %q of a payment without one", p.CardLast4)
		}
		reads = f.Stripe.Count(fixture.ListEvents)
		for range 40 {
			f.Buy(sandbox.PayOptions{})
			b.Shows("/operator/payments?q=4242")
			f.Pass(time.Second)
		}
		if n := f.Stripe.Count(fixture.ListEvents) - reads; n < 10 || n > 20 {
			f.Errorf("%d readings of Stripe's events for 40 searches; want some, and no more than Stripe grants", n)
		}
	})
}
