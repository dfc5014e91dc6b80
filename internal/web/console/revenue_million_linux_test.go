package console_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/revenue"
)

// realTime returns the time outside of the bubble.
func realTime(t *testing.T) time.Time {
	t.Helper()
	var now syscall.Timeval
	if err := syscall.Gettimeofday(&now); err != nil {
		t.Fatal(err)
	}
	return time.Unix(now.Unix())
}

// manyPayments inserts payments of one year for 200 machines with three programs each. One in 25 failed
// and was refunded.
const manyPayments = `INSERT INTO payments (id, session_id, payment_intent, token, device_uid, device_name,
		price_id, plan, duration_s, delayed_start_s, amount, currency, livemode, money, refunded_amount, machine,
		reason, code, attention, paid_at, created_at, sent_at, occupies, step, turn, in_flight, failures, posted,
		unclear, vanished, stop, recalled, note_ids, tell, refund_number, refund_amount, refund_goal, refund_look,
		money_at, machine_at)
	WITH RECURSIVE count (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < %d)
	SELECT printf('cr_%%016d', n), 'cs_' || n, 'pi_' || n, printf('%%048d', n), 'dev:' || (n * 7919 %% 200),
		'Machine ' || (n * 7919 %% 200), 'price_1', 'Program ' || (n * 31 %% 3), 1800, 0, 300 + n %% 5 * 50, 'eur', 0,
		CASE WHEN n %% 25 = 0 THEN 'refunded' ELSE 'paid' END, CASE WHEN n %% 25 = 0 THEN 300 + n %% 5 * 50 ELSE 0 END,
		CASE WHEN n %% 25 = 0 THEN 'failed' ELSE 'done' END, CASE WHEN n %% 25 = 0 THEN 'expired' ELSE '' END, '', '',
		at, at, at, 0, '', 0, 0, 0, 1, 0, 0, '', '', '', '', n %% 25 = 0, 0, 0, 0, at, at
	FROM (SELECT n, 946684800000 - 365 * 86400000 + n * (365 * 86400000 / %d) AS at FROM count)`

// TestRevenueOfAMillion measures the pages with NOTEPAY_REVENUE_PAYMENTS payments, such as 1000000.
func TestRevenueOfAMillion(t *testing.T) {
	many, err := strconv.Atoi(os.Getenv("NOTEPAY_REVENUE_PAYMENTS"))
	if err != nil {
		t.Skip("takes minutes: set NOTEPAY_REVENUE_PAYMENTS=1000000")
	}
	apptest.InFront(t, nil, func(f *apptest.Front) {
		began := realTime(t)
		f.Restart(fmt.Sprintf(manyPayments, many, many))
		t.Logf("%d payments made in %v", many, realTime(t).Sub(began).Round(time.Millisecond))
		defer f.CloseLedger()
		began = realTime(t)
		roller := &revenue.Roller{Ledger: f.Ledger, Zone: time.UTC}
		if err := roller.Audit(context.Background()); err != nil {
			t.Fatal(err)
		}
		t.Logf("movements restored in %v", realTime(t).Sub(began).Round(time.Millisecond))
		began = realTime(t)
		if err := roller.Pass(context.Background()); err != nil {
			t.Fatal(err)
		}
		t.Logf("summed up in %v", realTime(t).Sub(began).Round(time.Millisecond))
		f.Pass(time.Hour)
		began = realTime(t)
		if err := roller.Pass(context.Background()); err != nil {
			t.Fatal(err)
		}
		t.Logf("a later pass in %v", realTime(t).Sub(began).Round(time.Millisecond))
		b := f.Browser()
		for _, query := range []string{
			"", "?from=1999-10-01&to=1999-12-31&by=day", "?from=1999-01-01&to=1999-12-31&by=week",
			"?from=1999-01-15&to=1999-12-15&by=week", "?from=1999-01-15&to=1999-12-15&by=month",
			"?from=1999-01-01&to=1999-12-31&by=month", "?from=1999-01-01&to=1999-12-31&by=day&machine=dev:1",
		} {
			slowest := time.Duration(0)
			var sum time.Duration
			const times = 10
			for range times {
				began := realTime(t)
				b.Shows("/operator/revenue" + query)
				took := realTime(t).Sub(began)
				slowest, sum = max(slowest, took), sum+took
			}
			t.Logf("%-50s mean %4d ms, slowest %4d ms, %d KiB", query, (sum / times).Milliseconds(),
				slowest.Milliseconds(), len(b.Page)>>10)
			if slowest > 100*time.Millisecond {
				t.Errorf("%s took %v; want at most 100 ms", query, slowest)
			}
		}
		for _, path := range []string{"/operator", "/operator/payments", "/operator/devices", "/operator/audit"} {
			began := realTime(t)
			b.Shows(path)
			t.Logf("%-50s %4d ms", path, realTime(t).Sub(began).Milliseconds())
		}
		began = realTime(t)
		w := b.Send("GET", "/operator/revenue.csv?from=1999-11-01&to=1999-11-30", "")
		t.Logf("an export of a month, %d KiB, in %v", w.Body.Len()>>10, realTime(t).Sub(began).Round(time.Millisecond))
	})
}
