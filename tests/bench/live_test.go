//go:build linux

package bench

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// openPages is the number of customers with an open live page.
const openPages = 5_000

// benchLive opens live pages, changes all of their payments at once, and measures the time until the
// last page has its update. In turns with it, the baseline writes the same bytes directly to the same
// connections. The readers run in this process, so some of the memory is theirs.
func benchLive(t *testing.T, r *report) {
	const rounds = 7
	s := idle(t, filepath.Join(t.TempDir(), "notepay.db"))
	now := time.Now().UTC().Truncate(time.Second)
	token := func(i int) string { return fmt.Sprintf("%032x", i) }
	// Each payment is made when it is written, so that the benchmark keeps none in memory.
	paymentOf := func(i int) payment.Payment {
		session := fmt.Sprintf("cs_test_%012d", i)
		return payment.Payment{
			ID:            payment.CreditID(session),
			SessionID:     session,
			PaymentIntent: fmt.Sprintf("pi_%012d", i),
			Token:         token(i),
			DeviceUID:     fixture.Washer,
			DeviceName:    "Washer 3",
			Plan:          "Warm wash",
			Amount:        350,
			Currency:      "eur",
			Funds:         payment.Paid,
			Delivery:      payment.Queued,
			PaidAt:        now,
			CreatedAt:     now,
		}
	}
	each := func(write func(*ledger.Tx, payment.Payment) error) {
		t.Helper()
		err := s.Ledger.Update(context.Background(), func(tx *ledger.Tx) error {
			for i := range openPages {
				if err := write(tx, paymentOf(i)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	each(func(tx *ledger.Tx, p payment.Payment) error { _, err := tx.InsertPayment(p); return err })
	debug.FreeOSMemory() // returns the memory of earlier measurements
	before := residentMemory(t)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	kept := &keeper{Listener: listener}
	serveOn(t, kept, s.Handler())
	pages := make([]net.Conn, openPages)
	for i := range pages {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, err = fmt.Fprintf(conn, "GET /session/%s/events HTTP/1.1\r\nHost: pay.test\r\n\r\n", token(i))
		if err != nil {
			t.Fatal(err)
		}
		pages[i] = conn
	}
	readAll(t, pages, "<h1>Payment received</h1>")

	var updated, bare []time.Duration
	var ratios []float64
	var memory int64
	for n := range rounds {
		name := fmt.Sprintf("Washer of round %d", n)
		each(func(tx *ledger.Tx, p payment.Payment) error {
			p.Delivery, p.MaybeAccepted, p.SentAt, p.DeviceName = payment.Sent, true, now, name
			return tx.SavePayment(p)
		})
		began := time.Now()
		for i := range openPages {
			s.Live.Changed(payment.Payment{Token: token(i)}) // the hub reads the rest from the ledger
		}
		event := readAll(t, pages, name)
		took := time.Since(began)
		memory = max(memory, residentMemory(t))
		began = time.Now()
		go func() {
			for _, conn := range kept.conns {
				_, _ = conn.Write(event) // a failed write shows in the reader
			}
		}()
		readAll(t, pages, name)
		base := time.Since(began)
		updated, bare, ratios = append(updated, took), append(bare, base), append(ratios, float64(took)/float64(base))
	}
	took := median(updated)
	r.add(t, figure{
		name:     fmt.Sprintf("%d open pages: until all were updated", openPages),
		got:      took.Round(time.Millisecond).String(),
		baseline: "the same bytes written to the same connections: " + short(median(bare)),
		ratio:    fmt.Sprintf("%.1f", median(ratios)),
		target:   "≤ 0.5 s",
		missed:   took > time.Second/2,
	})
	r.add(t, figure{
		name:     fmt.Sprintf("%d open pages: memory", openPages),
		got:      fmt.Sprintf("%d MB", memory>>20),
		baseline: fmt.Sprintf("%d MB without them", before>>20),
		ratio:    "-",
		target:   "≤ 180 MB",
		missed:   memory > 180<<20,
	})
}

// keeper is a listener that keeps the server's ends of its connections.
type keeper struct {
	net.Listener
	conns []net.Conn // safe to read once all are open
}

func (k *keeper) Accept() (net.Conn, error) {
	conn, err := k.Listener.Accept()
	if err == nil {
		k.conns = append(k.conns, conn)
	}
	return conn, err
}

// readAll reads each stream up to the end of an event that contains the text. It returns the event
// of the last stream.
func readAll(t *testing.T, streams []net.Conn, text string) []byte {
	t.Helper()
	buffer := make([]byte, 16<<10)
	got := 0
	for _, conn := range streams {
		if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		for got = 0; !bytes.Contains(buffer[:got], []byte(text)) || !bytes.HasSuffix(buffer[:got], []byte("\n\n")); {
			n, err := conn.Read(buffer[got:])
			if got += n; err != nil {
				t.Fatalf("%v after %s", err, buffer[:got])
			}
		}
	}
	return buffer[:got]
}

// residentMemory returns the resident memory of this process in bytes.
func residentMemory(t *testing.T) int64 { return residentMemoryOf(t, "self") }

// residentMemoryOf returns the resident memory of a process in bytes.
func residentMemoryOf(t *testing.T, pid string) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/" + pid + "/status")
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
