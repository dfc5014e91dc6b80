//go:build linux

package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	runtimemetrics "runtime/metrics"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/ledger"
	"notepay/internal/web/console"
)

// longestPage is what an operator waits for without noticing.
const longestPage = 100 * time.Millisecond

// benchConsole measures each page of the console, as its handler makes it, over a ledger that has
// grown, and what the export of all of its payments takes of memory.
func benchConsole(t *testing.T, r *report, database string, s size) {
	server := idle(t, database)
	var err error
	server.Console, err = console.New(
		console.Config{
			Ledger:    server.Ledger,
			Bridge:    server.Bridge,
			Fleet:     server.Fleet,
			Log:       slog.New(slog.NewTextHandler(io.Discard, nil)),
			Token:     apptest.OperatorToken,
			PublicURL: "https://pay.example.com",
			Lifetime:  10 * time.Minute,
			Zone:      time.UTC,
			Vitals:    func(context.Context) console.Vitals { return console.Vitals{} },
			Live:      server.Customer.Live,
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	handler := server.Handler()
	signIn := httptest.NewRequest(
		"POST",
		"/operator/sign-in",
		strings.NewReader(url.Values{"token": {apptest.OperatorToken}}.Encode()),
	)
	signIn.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	signedIn := httptest.NewRecorder()
	handler.ServeHTTP(signedIn, signIn)
	cookie, _, _ := strings.Cut(signedIn.Header().Get("Set-Cookie"), ";")
	get := func(path string, w http.ResponseWriter) {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Cookie", cookie)
		handler.ServeHTTP(w, r)
	}

	list, _, err := server.Ledger.Payments(
		t.Context(),
		ledger.Filter{Devices: []string{fmt.Sprintf("dev:%d", s.devices/2)}, Limit: 1},
	)
	if err != nil || len(list) == 0 {
		t.Fatalf("a payment in the middle: %v, %v", list, err)
	}
	one := list[0]
	day := one.CreatedAt.Format(time.DateOnly)
	search := func(typed string) string { return "/operator/payments?q=" + url.QueryEscape(typed) }
	of := fmt.Sprintf("%s payments of %s devices; the slowest of 30: ", thousands(s.payments), thousands(s.devices))
	for _, page := range []struct{ name, path string }{
		{"Today", "/operator"}, {"Devices", "/operator/devices"}, {"a device by its name", "/operator/devices?q=" + url.QueryEscape(one.DeviceName)}, {"Payments", "/operator/payments"},
		{"one payment", "/operator/payments/" + one.ID}, {"a payment by its reference", search(one.ID)}, {"by its session", search(one.SessionID)}, {"by its intent", search(one.PaymentIntent)},
		{"payments of a machine", search(one.DeviceName)}, {"of a name that no machine has", search("Mangle 7")}, {"of a card", search(one.CardLast4)}, {"of a card on a day", search(one.CardLast4 + " " + day)},
		{"of a day", search(day)}, {"of an amount", search("3.50 EUR")}, {"of an amount that nobody paid", search("3.51 EUR")}, {"that did not start", "/operator/payments?state=failed"},
		{"that need attention", "/operator/payments?state=attention"}, {"Stripe events", "/operator/events"}, {"Stripe events of a type that never came", "/operator/events?type=charge.refunded"},
		{"Audit", "/operator/audit"},
	} {
		took := make([]time.Duration, 0, 30)
		for range cap(took) {
			w := httptest.NewRecorder()
			began := time.Now()
			get(page.path, w)
			took = append(took, time.Since(began))
			if w.Code != http.StatusOK && w.Code != http.StatusSeeOther {
				t.Fatalf("%s: %d %s; want a page", page.path, w.Code, w.Body)
			}
		}
		half := median(took)
		r.add(
			t,
			figure{
				name:     "console: " + page.name,
				got:      short(half),
				baseline: of + short(quantile(took, 1)),
				wanted:   "≤ 100 ms",
				short:    half > longestPage,
			},
		)
	}

	export := &weighed{header: http.Header{}, every: s.payments / 10}
	runtime.GC() // what stands in pools survives one collection
	before := heap()
	began := time.Now()
	get("/operator/payments.csv", export)
	took := time.Since(began)
	after := heap()
	if export.rows < s.payments {
		t.Errorf("the export has %d rows; want %d", export.rows, s.payments)
	}
	const most = 16 << 20
	r.add(
		t,
		figure{
			name: fmt.Sprintf("console: CSV of %s payments, most of the heap meanwhile", thousands(s.payments)),
			got:  megabytes(export.most),
			baseline: fmt.Sprintf(
				"before %s, after %s; %d MB in %s",
				megabytes(before),
				megabytes(after),
				export.size>>20,
				short(took),
			),
			wanted: "≤ 16 MB more",
			short:  export.most > before+most,
		},
	)
}

// weighed takes an answer that nobody keeps, and looks at the heap now and then.
type weighed struct {
	header     http.Header
	rows, size int
	every      int // so many rows it looks
	looks      int
	most       uint64
}

func (w *weighed) Header() http.Header { return w.header }
func (w *weighed) WriteHeader(int)     {}
func (w *weighed) Write(piece []byte) (int, error) {
	w.rows += bytes.Count(piece, []byte("\n"))
	w.size += len(piece)
	if w.rows > w.looks*w.every {
		w.looks++
		w.most = max(w.most, heap())
	}
	return len(piece), nil
}

// heap is what the objects take that are in use, in bytes. They are collected for it: what waits to
// be, and what is made meanwhile, would tell more of the whole process, which is the vendors' as
// well.
func heap() uint64 {
	runtime.GC()
	sample := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}}
	runtimemetrics.Read(sample)
	return sample[0].Value.Uint64()
}

func megabytes(n uint64) string { return fmt.Sprintf("%.1f MB", float64(n)/(1<<20)) }
