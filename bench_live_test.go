//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"notepay/internal/ledger"
)

// openPages is how many customers look at their live page at once.
const openPages = 5_000

// benchLive opens live pages, changes all of their payments at once, and takes the time until the last page was told. Those who read are
// in this process, too: some of the memory is theirs.
func benchLive(t *testing.T, r *report) {
	s := idle(t, filepath.Join(t.TempDir(), "notepay.db"))
	addr := listen(t, s.routes())
	payments := make([]ledger.Payment, openPages)
	now := time.Now().UTC().Truncate(time.Second)
	for i := range payments {
		session := fmt.Sprintf("cs_test_%012d", i)
		payments[i] = ledger.Payment{ID: ledger.CreditID(session), SessionID: session, PaymentIntent: fmt.Sprintf("pi_%012d", i), Token: fmt.Sprintf("%032x", i), DeviceUID: washer,
			DeviceName: "Washer 3", Plan: "Warm wash", Amount: 350, Currency: "eur", Money: ledger.Paid, Machine: ledger.Queued, PaidAt: now, CreatedAt: now}
	}
	each := func(write func(*ledger.Tx, ledger.Payment) error) {
		t.Helper()
		err := s.ledger.Update(context.Background(), func(tx *ledger.Tx) error {
			for _, p := range payments {
				if err := write(tx, p); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	each(func(tx *ledger.Tx, p ledger.Payment) error { _, err := tx.InsertPayment(p); return err })
	runtime.GC()
	before := residentMemory(t)
	conns := make([]net.Conn, openPages)
	for i, p := range payments {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := fmt.Fprintf(conn, "GET /session/%s/events HTTP/1.1\r\nHost: pay.test\r\n\r\n", p.Token); err != nil {
			t.Fatal(err)
		}
		conns[i] = conn
	}
	buffer := make([]byte, 16<<10)
	reads := func(text string) {
		t.Helper()
		for _, conn := range conns {
			if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
			for got := 0; ; {
				n, err := conn.Read(buffer[got:])
				if got += n; err != nil {
					t.Fatalf("%v after %s", err, buffer[:got])
				}
				if bytes.Contains(buffer[:got], []byte(text)) {
					break
				}
			}
		}
	}
	reads("<h1>Payment received</h1>")
	each(func(tx *ledger.Tx, p ledger.Payment) error {
		p.Machine, p.Posted, p.SentAt = ledger.Sent, true, now
		return tx.SavePayment(p)
	})
	began := time.Now()
	for _, p := range payments {
		s.customer.Live.Changed(p)
	}
	reads("<h1>Sent to the machine</h1>")
	took, memory := time.Since(began), residentMemory(t)
	r.add(t, figure{name: fmt.Sprintf("%d open pages: until all were told", openPages), got: took.Round(time.Millisecond).String(), baseline: "a change of every one at once",
		ratio: "-", wanted: "1 s", short: took > time.Second})
	r.add(t, figure{name: fmt.Sprintf("%d open pages: memory", openPages), got: fmt.Sprintf("%d MB", memory>>20), baseline: fmt.Sprintf("%d MB without them", before>>20),
		ratio: "-", wanted: "200 MB", short: memory > 200<<20})
}

// residentMemory is what this process takes of the machine's memory, in bytes.
func residentMemory(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kB, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kB << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
