package console_test

import (
	"encoding/csv"
	"fmt"
	"net/http"
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

// sold makes a payment that starts its machine, one that is refunded, and a payout, and lets the sums
// and fees be read.
func sold(f *apptest.Front, b *apptest.OperatorsBrowser) {
	f.Helper()
	f.Run()
	f.Buy(sandbox.PayOptions{})
	f.Notehub.Fetch(fixture.Washer, "payment.qi")
	f.Pass(11 * time.Minute)
	session := f.Buy(sandbox.PayOptions{})
	page := "/operator/payments/" + payment.CreditID(session.ID)
	f.Notehub.Fetch(fixture.Washer, "payment.qi")
	f.Pass(11 * time.Minute)
	b.Does(b.Press(page, page+"/refund", "amount", "1", "reason", "too slow"), "refund")
	f.Stripe.AddPayout(500, "eur", "paid")
	f.Pass(3 * time.Hour)
}

func TestRevenue(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Notehub.AddFleet("fleet:north", "North Street", nil)
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:2", Name: "Dryer", Fleets: []string{"fleet:north"}})
		b := f.Browser()
		b.Shows("/operator/revenue", "No payments in this time.", "notepay reads them every hour")
		sold(f, b)
		b.Shows("/operator/revenue", ">Revenue</a>", "Revenue by day in EUR", "7.00 EUR", "1.00 EUR", "6.00 EUR",
			"0.60 EUR", "5.40 EUR", "Washer 3", "Warm wash", "by the operator", "Table by hour of the week",
			`<option value="fleet:north">North Street</option>`,
			`<span class="word good">paid</span>`, "5.00 EUR", "Fees are complete until")
		if strings.Contains(b.Page, " style=") {
			f.Error("the page holds what the content policy forbids")
		}
		drawn := regexp.MustCompile(`<svg [^>]*role="img" aria-label="[^"]+"`).FindAllString(b.Page, -1)
		if len(drawn) != 8 || strings.Count(b.Page, "<summary>Table by") != 2 {
			f.Errorf("%d charts with words; want one by day and seven of the week, and a table of each", len(drawn))
		}
		b.Shows("/operator/revenue?by=month", "Revenue by month", f.Ledger.Now().UTC().Format("January 2006"))
		b.Shows("/operator/revenue?by=week&machine=washer", "Revenue by week", "(week ")
		b.Shows("/operator/revenue?from=1999-01-01&to=2000-12-01&by=day", "It is shown by week.")
		b.Shows("/operator/revenue?site=fleet:north", "No payments in this time.")
		b.Shows("/operator/revenue?machine=dev:86447504421999", "No payments in this time.")
		for path, text := range map[string]string{
			"?from=x":                                           "Enter days as in",
			"?from=2026-11-30&to=2026-11-01":                    "before the first day",
			"?from=1900-01-01&to=2026-11-01":                    "longer than ten years",
			"?machine=nothing":                                  "No machine",
			".csv?from=x&to=x":                                  "Enter days as in",
			".csv?layout=x&" + years:                            "no such layout",
			".csv?layout=quickbooks&" + years:                   "Choose a currency",
			".csv?layout=datev&from=1999-12-31&to=2000-01-01":   "one year",
			".csv?layout=datev&account=x&" + years:              "are digits",
			".csv?layout=datev&consultant=12345678&" + years:    "are digits",
			".csv?layout=quickbooks&from=2026-11-30&to=2026-01": "Enter days as in",
		} {
			f.Answers(path, b.Send("GET", "/operator/revenue"+path, ""), http.StatusBadRequest, text)
		}
	})
}

// An owner asks what each site took last week, and which hour is the busiest.
func TestRevenueOfSites(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Notehub.AddFleet("fleet:north", "North Street", nil)
		f.Notehub.AddFleet("fleet:south", "A South Street", nil)
		f.Notehub.SetDevice(fixture.Washer, func(d *sandbox.Device) { d.Fleets = []string{"fleet:north"} })
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:2", Name: "Dryer", Fleets: []string{"fleet:south"}})
		b := f.Browser()
		sold(f, b)
		page := b.Shows("/operator/revenue", `<td data-label="Site">North Street</td>`,
			`<option value="fleet:north">North Street</option>`, `href="#export"`, `id="export"`)
		first := time.Now().Add(-3*time.Hour - 15*time.Minute).In(f.Server.Console.Zone)
		hour := fmt.Sprintf("Busiest hour: %s to %02d:00, 7.00 EUR.", first.Format("Monday 15:00"), first.Hour()+1)
		if !strings.Contains(page, hour) {
			t.Errorf("it does not say %q:\n%s", hour, page)
		}
		if strings.Contains(page, ">fleet:") || strings.Index(page, "A South") > strings.Index(page, "North Street") {
			t.Errorf("the sites are not called by their names, in order:\n%s", page)
		}
		if strings.Index(page, "<h2>Sites") > strings.Index(page, "<h2>Machines") {
			t.Error("the sites are below all machines")
		}
		monday := first.AddDate(0, 0, -7-(int(first.Weekday())+6)%7)
		b.Shows("/operator/revenue?site=fleet:north&machine=wash", `<option value="fleet:north" selected>`,
			"from="+monday.Format(time.DateOnly)+"&amp;machine=wash&amp;site=fleet%3Anorth&amp;to="+
				monday.AddDate(0, 0, 6).Format(time.DateOnly)+`">Last week</a>`)
	})
}

const years = "from=2000-01-01&to=2000-12-31"

func TestRevenueCSV(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Notehub.AddDevice(sandbox.Device{UID: fixture.Washer, Name: "=2+3;=4"})
		b := f.Browser()
		sold(f, b)
		file := func(query string) string {
			w := b.Send("GET", "/operator/revenue.csv?"+years+query, "")
			text, found := strings.CutPrefix(w.Body.String(), "\ufeff")
			if !found || !strings.Contains(w.Header().Get("Content-Disposition"), "attachment") {
				f.Errorf("%s: %v %q; want a file with a byte order mark", query, w.Header(), w.Body)
			}
			return text
		}
		rows, err := csv.NewReader(strings.NewReader(file(""))).ReadAll()
		if err != nil || len(rows) != 6 {
			f.Fatalf("%d rows, %v; want a header, two payments, two fees and a refund", len(rows), err)
		}
		var got []string
		for _, row := range rows[1:] {
			got = append(got, strings.Join(row[2:6], " "))
			if row[12] != "'=2+3;'=4" || row[6] == "" {
				f.Errorf("row %q; want the machine's name without a formula, and a reference", row)
			}
		}
		want := []string{
			"payment 3.50 EUR ", "fee -0.30 EUR charge", "payment 3.50 EUR ", "fee -0.30 EUR charge",
			"refund -1.00 EUR operator",
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			f.Errorf("movements %q; want %q", got, want)
		}
		_, semicolons := readCSV(t, "\ufeff"+file("&layout=semicolon"), ';')
		refund := func(row []string) bool { return row[3] == "-1,00" }
		if len(semicolons) != 5 || !slices.ContainsFunc(semicolons, refund) {
			f.Errorf("with semicolons %q; want five rows with decimal commas", semicolons)
		}
		const payment = `01/01/2000,"Payment =2+3;'=4, Warm wash cr_`
		books := strings.Split(file("&layout=quickbooks&currency=EUR"), "\r\n")
		if len(books) != 7 || books[0] != "Date,Description,Amount" ||
			!slices.ContainsFunc(books, func(row string) bool { return strings.HasPrefix(row, payment) }) {
			f.Errorf("for QuickBooks %q; want three columns and five rows", books)
		}
		if text := file("&layout=quickbooks&currency=usd"); text != "Date,Description,Amount\r\n" {
			f.Errorf("in another currency %q; want a header alone", text)
		}
		batch := strings.Split(
			file("&layout=datev&consultant=1001&client=7&account=1360&revenue_account=8400&fee_account=4970"), "\r\n")
		if len(batch) != 8 || !strings.HasPrefix(batch[0], `"EXTF";700;21;"Buchungsstapel";13;20000101`) ||
			!strings.Contains(batch[0], `;1001;7;20000101;4;20000101;20001231;`) || strings.Count(batch[0], ";") != 30 {
			f.Errorf("for DATEV %q; want its header", batch)
		}
		for _, row := range batch[2:7] {
			if strings.Count(row, ";") != strings.Count(batch[1], ";")+strings.Count(row, "+3;") {
				f.Errorf("row %q has other columns than %q", row, batch[1])
			}
		}
		if !strings.Contains(strings.Join(batch, "\n"), "\n"+`3,50;"S";"EUR";;;"";1360;8400;"";0101;"cr_`) ||
			!strings.Contains(strings.Join(batch, "\n"), "\n"+`0,30;"H";"EUR";;;"";1360;4970;`) {
			f.Errorf("for DATEV %q; want a payment in debit and a fee in credit", batch)
		}
	})
}

func TestRevenueWithoutPermission(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		for _, path := range []string{"/v1/balance_transactions", "/v1/payouts"} {
			f.Stripe.Always("GET "+path, sandbox.Outcome{
				Status: 403,
				Body: `{"error":{"type":"invalid_request_error",` +
					`"message":"Having the 'rak_x_read' permission would allow this request to continue."}}`,
			})
		}
		b := f.Browser()
		f.Run()
		f.Buy(sandbox.PayOptions{})
		f.Pass(3 * time.Hour)
		b.Shows("/operator/revenue", "not known", "<b>read Balance transactions</b>", "<b>read Payouts</b>",
			"rak_x_read")
		b.Shows("/operator", "Stripe</b> <span>OK</span>")
	})
}
