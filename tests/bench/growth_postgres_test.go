//go:build linux

package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
)

// grownSizes are numbers of devices, each with ten payments.
var grownSizes = []int{1000, 10_000, 100_000}

// benchPostgresGrowth repeats the same measurements while one ledger on PostgreSQL grows.
// NOTEPAY_BENCH_PAYMENTS adds a larger size, with more payments for each of the same devices.
func benchPostgresGrowth(t *testing.T, r *report) {
	// No machine fetches its notes, and one with two expired credits would be paused.
	path := binary(t)
	w := apptest.NewWorld(t).Set("LOG_LEVEL", "info", "KEEP_EVENTS", "0", "CREDIT_LIFETIME", "24h")
	d := newDatabase(t)
	l, err := ledger.Open(t.Context(), d.url)
	if err != nil {
		t.Fatal(err)
	}
	copied := session{maxPayments - 1, strings.Repeat("c0", 32)}
	err = l.Update(t.Context(), copied.record)
	if err == nil {
		err = l.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	var steps []size
	for _, devices := range grownSizes {
		steps = append(steps, size{devices: devices, payments: devices * paymentsPerDevice})
	}
	if text := os.Getenv("NOTEPAY_BENCH_PAYMENTS"); text != "" {
		largest := steps[len(steps)-1]
		more, err := strconv.Atoi(text)
		if err != nil || more <= largest.payments {
			t.Fatalf("NOTEPAY_BENCH_PAYMENTS=%q; want more than %d", text, largest.payments)
		}
		steps = append(steps, size{devices: largest.devices, payments: more})
	}
	var last size
	for _, one := range steps {
		l, err := ledger.Open(t.Context(), d.url)
		if err != nil {
			t.Fatal(err)
		}
		growFleet(w, l, last.devices, one.devices)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		err = fixture.GrowPostgres(t.Context(), d.DB, "cs_test_"+copied.id, last.payments, one.payments,
			one.payments/one.devices)
		if err != nil {
			t.Fatal(err)
		}
		last = one
		one.disk = d.number(`SELECT pg_database_size(current_database())`) / 1e6
		t.Run(fmt.Sprint(one.payments), func(t *testing.T) {
			one.measureIdle(t, d.url)
			server := idle(t, d.url)
			get := consoleOf(server)
			for _, page := range consolePages(t, server, one.devices) {
				if took := median(timesOf(t, get, page.path)); took > one.slowest {
					one.slowest, one.slowestPage = took, page.name
				}
			}
		})
		t.Logf("%+v", one)
		one.measureBinary(w, path, d.url)
		t.Logf("%+v", one)
		r.grown = append(r.grown, one)
	}
}

// grownTable returns the section of the ledger that grows on PostgreSQL.
func (r *report) grownTable(title string) string {
	rows := []string{
		"| devices | payments | database | start to first redirect | webhook, 1 connection " +
			"| newest 50 payments | queue statistics | slowest page of the console |",
		"| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
	}
	for _, s := range r.grown {
		rows = append(rows, "| "+cells(
			thousands(s.devices), thousands(s.payments), wholeMB(s.disk), short(s.first), short(s.webhook),
			short(s.page), short(s.stats), short(s.slowest)+" ("+s.slowestPage+")",
		)+" |")
	}
	return r.heading(title) + strings.Join(rows, "\n")
}
