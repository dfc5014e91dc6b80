//go:build linux

package bench

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	runtimemetrics "runtime/metrics"
	"strings"
	"testing"
	"time"

	"notepay/internal/app"
	"notepay/internal/apptest"
	"notepay/internal/ledger"
)

// maxPage is the longest time that an operator does not notice.
const maxPage = 100 * time.Millisecond

// benchConsole measures each page of the console over a large ledger, and the memory that the export
// of all payments takes.
func benchConsole(t *testing.T, r *report, database string, s size) {
	r.part = "console"
	server := idle(t, database)
	get := consoleOf(server)
	of := fmt.Sprintf("%s payments of %s devices; the slowest of 30: ", thousands(s.payments), thousands(s.devices))
	for _, page := range consolePages(t, server, s.devices) {
		took := timesOf(t, get, page.path)
		half := median(took)
		r.add(t, figure{
			name:     "console: " + page.name,
			got:      short(half),
			baseline: of + short(quantile(took, 1)),
			target:   "≤ 100 ms",
			missed:   half > maxPage,
		})
	}

	export := &weighed{header: http.Header{}, every: s.payments / 10}
	runtime.GC() // pools survive one collection
	before := heap()
	began := time.Now()
	get("/operator/payments.csv", export)
	took := time.Since(began)
	after := heap()
	if export.rows < s.payments {
		t.Errorf("the export has %d rows; want %d", export.rows, s.payments)
	}
	const maxGrowth = 16 << 20
	r.add(t, figure{
		name: fmt.Sprintf("console: CSV of %s payments, peak heap", thousands(s.payments)),
		got:  megabytes(export.peak),
		baseline: fmt.Sprintf(
			"before %s, after %s; %d MB in %s",
			megabytes(before),
			megabytes(after),
			export.size>>20,
			short(took),
		),
		target: "≤ 16 MB more",
		missed: export.peak > before+maxGrowth,
	})
}

// consoleOf signs in to the console, and returns a function that gets a page.
func consoleOf(server *app.App) (get func(path string, w http.ResponseWriter)) {
	handler := server.Handler()
	signIn := httptest.NewRequest("POST", "/operator/sign-in",
		strings.NewReader(url.Values{"token": {apptest.OperatorToken}}.Encode()))
	signIn.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	signedIn := httptest.NewRecorder()
	handler.ServeHTTP(signedIn, signIn)
	cookie, _, _ := strings.Cut(signedIn.Header().Get("Set-Cookie"), ";")
	return func(path string, w http.ResponseWriter) {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Cookie", cookie)
		handler.ServeHTTP(w, r)
	}
}

// consolePage is a page of the console.
type consolePage struct{ name, path string }

// consolePages returns all pages, with searches for a payment in the middle of a ledger.
func consolePages(t *testing.T, server *app.App, devices int) []consolePage {
	t.Helper()
	list, _, err := server.Ledger.Payments(t.Context(),
		ledger.Filter{Devices: []string{fmt.Sprintf("dev:%d", devices/2)}, Limit: 1})
	if err != nil || len(list) == 0 {
		t.Fatalf("a payment in the middle: %v, %v", list, err)
	}
	one := list[0]
	day := one.CreatedAt.Format(time.DateOnly)
	search := func(typed string) string { return "/operator/payments?q=" + url.QueryEscape(typed) }
	return []consolePage{
		{"Today", "/operator"},
		{"Devices", "/operator/devices"},
		{"one device by name", "/operator/devices?q=" + url.QueryEscape(one.DeviceName)},
		{"Payments", "/operator/payments"},
		{"one payment", "/operator/payments/" + one.ID},
		{"one payment by reference", search(one.ID)},
		{"one payment by session", search(one.SessionID)},
		{"one payment by PaymentIntent", search(one.PaymentIntent)},
		{"payments of a machine", search(one.DeviceName)},
		{"payments of an unknown machine", search("Mangle 7")},
		{"payments by card", search(one.CardLast4)},
		{"payments by card and day", search(one.CardLast4 + " " + day)},
		{"payments by day", search(day)},
		{"payments by amount", search("3.50 EUR")},
		{"payments by an amount without any", search("3.51 EUR")},
		{"payments that did not start", "/operator/payments?state=failed"},
		{"payments that need attention", "/operator/payments?state=attention"},
		{"Stripe events", "/operator/events"},
		{"Stripe events of an absent type", "/operator/events?type=charge.refunded"},
		{"Audit", "/operator/audit"},
	}
}

// timesOf gets a page 30 times.
func timesOf(t *testing.T, get func(string, http.ResponseWriter), path string) []time.Duration {
	t.Helper()
	took := make([]time.Duration, 0, 30)
	for range cap(took) {
		w := httptest.NewRecorder()
		began := time.Now()
		get(path, w)
		took = append(took, time.Since(began))
		if w.Code != http.StatusOK && w.Code != http.StatusSeeOther {
			t.Fatalf("%s: %d %s; want a page", path, w.Code, w.Body)
		}
	}
	return took
}

// weighed is a ResponseWriter that discards the body and samples the heap.
type weighed struct {
	header     http.Header
	rows, size int
	every      int // rows between two samples
	samples    int
	peak       uint64 // bytes
}

func (w *weighed) Header() http.Header { return w.header }
func (w *weighed) WriteHeader(int)     {}
func (w *weighed) Write(piece []byte) (int, error) {
	w.rows += bytes.Count(piece, []byte("\n"))
	w.size += len(piece)
	if w.rows > w.samples*w.every {
		w.samples++
		w.peak = max(w.peak, heap())
	}
	return len(piece), nil
}

// heap returns the bytes of live objects after a collection. The process also runs the simulated
// vendors, so garbage would say more about them.
func heap() uint64 {
	runtime.GC()
	sample := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}}
	runtimemetrics.Read(sample)
	return sample[0].Value.Uint64()
}

func megabytes(n uint64) string { return fmt.Sprintf("%.1f MB", float64(n)/(1<<20)) }
