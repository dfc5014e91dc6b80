//go:build linux

package bench

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	sustainedLines = 60  // of the series
	sustainedBatch = 500 // webhooks that are prepared at once
	minSustained   = 10 * time.Second
	fetchInterval  = 10 * time.Second // in which each machine fetches its notes
	salesKept      = 30 * time.Second // sales and notes that the vendors remember
	eventsKept     = 16 * time.Minute // events that Stripe lists: those that notepay reads again, and its interval

	// maxQueuedTime bounds the payments that wait for their note: those of that time. More would mean
	// that delivery does not keep up.
	maxQueuedTime = 2 * time.Second

	// maxLogMB bounds SQLite's log. The time of a restart after a kill is promised for 32 MB, so a
	// checkpoint must begin by then. The log grows on while one runs. If it reaches twice that size,
	// checkpoints do not keep up with the payments.
	maxLogMB = 64

	// Memory is flat if it grows by at most maxGrowthMB, and maxGrowthBytes for each payment. Go's heap
	// grows in steps of 4 MB, and two of them are the usual swing between collections. A map that
	// keeps the id of each payment needs more than 64 bytes for it.
	maxGrowthMB    = 8
	maxGrowthBytes = 64
)

// TestSustained sends half of the highest rate for NOTEPAY_SUSTAIN_TIME. It prints the webhook's p99
// as a series, and judges no time, because only the reader knows the machine.
//
// It fails if the process keeps something for each payment: the memory of the last third of the run
// may exceed that of the second one by little more than the heap's usual swing. The first third warms
// up. It also fails if SQLite's log shows that checkpoints do not keep up, or if a webhook is not
// acknowledged or its note not delivered. maxLogMB, maxGrowthMB and maxGrowthBytes have the reasons.
//
// A short run shows that the test works. In ten minutes, half a million payments make even a small
// leak larger than the swing.
func TestSustained(t *testing.T) {
	text := os.Getenv("NOTEPAY_SUSTAIN_TIME")
	if text == "" {
		t.Skip("takes ten minutes: set NOTEPAY_SUSTAIN_TIME, or run make sustain")
	}
	total, err := time.ParseDuration(text)
	if err != nil || total < minSustained {
		t.Fatalf("NOTEPAY_SUSTAIN_TIME=%s: %v; want at least %v", text, err, minSustained)
	}
	s := busy(t, binary(t), manyDevices)
	// The highest rate is the lower one of two bursts, because the first warms up.
	got := series{}
	for range 2 {
		webhooks, _ := paidEvent(s.World, together, manyDevices)
		one := sample{}
		s.burst("", webhooks, one)
		got.add(one)
	}
	rate := slices.Min(got["settled64"]) / 2
	fmt.Printf("highest rate %.0f/s, so %.0f/s for %v\n", 2*rate, rate, total)
	fmt.Println("   s  webhooks/s   p50 ms   p99 ms   max ms  resident MB  log MB  queued")

	webhooks := make(chan []byte, 2*sustainedBatch)
	stop := make(chan struct{})
	var preparing, fetching, sending sync.WaitGroup
	s.Forgetful = true
	fetching.Go(func() { s.fetch(stop) })
	fetching.Go(func() { s.forget(stop) })
	preparing.Go(func() {
		defer close(webhooks)
		for {
			batch, _ := paidEvent(s.World, sustainedBatch, manyDevices)
			for _, w := range batch {
				select {
				case webhooks <- w:
				case <-stop:
					return
				}
			}
		}
	})
	took := make(chan time.Duration, connections)
	var turns atomic.Int64
	between, began := time.Duration(float64(time.Second)/rate), time.Now()
	for range connections {
		c, err := dial(s.addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.conn.Close()
		sending.Go(func() {
			for w := range webhooks {
				select {
				case <-time.After(time.Until(began.Add(time.Duration(turns.Add(1)) * between))):
				case <-stop:
					return
				}
				sent := time.Now()
				if status, err := c.call(w); err != nil || status != http.StatusOK {
					t.Errorf("status %d, %v", status, err)
					return
				}
				took <- time.Since(sent)
			}
		})
	}
	go func() { sending.Wait(); close(took) }()
	s.series(total, rate, took, stop)
	preparing.Wait()
	fetching.Wait()
	s.drained()
	if posted := s.notes.Load(); posted != int64(s.paid) {
		t.Errorf("%d notes for %d payments", posted, s.paid)
	}
}

// fetch lets the machines fetch their notes until stop is closed. Notehub would refuse more than a
// hundred for each, and notepay would have an outage to cope with.
func (s *subject) fetch(stop <-chan struct{}) {
	turn := time.NewTicker(fetchInterval / manyDevices)
	defer turn.Stop()
	for n := 0; ; n = (n + 1) % manyDevices {
		select {
		case <-stop:
			return
		case <-turn.C:
			s.Notehub.Fetch(fmt.Sprintf("dev:%d", n), "payment.qi")
		}
	}
}

// forget makes the vendors forget what notepay no longer asks for. All that a million payments leave
// would be a heap whose collection takes the cores that notepay needs.
func (s *subject) forget(stop <-chan struct{}) {
	turn := time.NewTicker(time.Second)
	defer turn.Stop()
	for {
		select {
		case <-stop:
			return
		case now := <-turn.C:
			s.Stripe.Forget(now.Add(-salesKept), now.Add(-eventsKept))
			s.Notehub.Forget(now.Add(-salesKept))
		}
	}
}

// series prints a line for each step until the time is over, and then closes stop. It fails the test
// if memory or the log has grown.
func (s *subject) series(total time.Duration, rate float64, took <-chan time.Duration, stop chan struct{}) {
	s.Helper()
	var lines []reading
	var each []time.Duration
	var largest float64
	began := time.Now()
	printed := began
	step := time.NewTicker(total / sustainedLines)
	defer step.Stop()
	over := time.After(total)
	for {
		select {
		case d, ok := <-took:
			if !ok {
				if err := flat(lines, largest); err != nil {
					s.Error(err)
				}
				return
			}
			each = append(each, d)
			s.paid++
			continue
		case <-over:
			close(stop)
			over = nil
			continue
		case <-step.C:
		}
		if len(each) == 0 {
			continue
		}
		rss, log, queued := s.resident(), s.logMB(), healthOf(s.service).Queued
		lines, largest = append(lines, reading{s.paid, rss}), max(largest, log)
		fmt.Printf("%4.0f %11.0f %8.2f %8.2f %8.2f %12.1f %7.1f %7d\n",
			time.Since(began).Seconds(), float64(len(each))/time.Since(printed).Seconds(),
			micros(quantile(each, 0.5))/1e3, micros(quantile(each, 0.99))/1e3, micros(quantile(each, 1))/1e3,
			rss, log, queued)
		if float64(queued) > rate*maxQueuedTime.Seconds() {
			s.Errorf("%d payments wait for their note; want at most those of %v", queued, maxQueuedTime)
		}
		each, printed = each[:0], time.Now()
	}
}

// reading is the memory of the process after a number of payments.
type reading struct {
	paid       int
	residentMB float64
}

// flat returns an error unless the memory of the last third is about that of the second one, and the
// log was bounded.
func flat(lines []reading, largestLog float64) error {
	third := len(lines) / 3
	if third == 0 {
		return fmt.Errorf("%d measurements of memory; want at least 3", len(lines))
	}
	memory := func(part []reading) float64 {
		var list []float64
		for _, l := range part {
			list = append(list, l.residentMB)
		}
		return median(list)
	}
	middle, end := memory(lines[third:2*third]), memory(lines[2*third:])
	payments := lines[len(lines)-1].paid - lines[third].paid
	limit := maxGrowthMB + maxGrowthBytes*float64(payments)/1e6 // MB
	fmt.Printf("resident: %.1f MB in the middle, %.1f MB at the end, at most %.1f MB more; largest log: %.1f MB\n",
		middle, end, limit, largestLog)
	var leak, long error
	if end > middle+limit {
		leak = fmt.Errorf("resident memory grew from %.1f to %.1f MB; want at most %.1f MB more", middle, end, limit)
	}
	if largestLog > maxLogMB {
		long = fmt.Errorf("SQLite's log grew to %.1f MB; want at most %d", largestLog, maxLogMB)
	}
	return errors.Join(leak, long)
}

// TestFlat requires a leak of one kilobyte for each payment and a long log to fail.
func TestFlat(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		leakKB float64 // for each payment
		log    float64
		fails  bool
	}{
		{name: "memory swings"},
		{name: "each payment is kept", leakKB: 1, fails: true},
		{name: "the log grows", log: 2 * maxLogMB, fails: true},
	} {
		var lines []reading
		for n := range sustainedLines {
			paid := n * 10_000
			lines = append(lines, reading{paid, 60 + float64(n%3) + c.leakKB*float64(paid)/1e3})
		}
		if err := flat(lines, c.log); (err != nil) != c.fails {
			t.Errorf("%s: %v; want an error: %v", c.name, err, c.fails)
		}
	}
	if flat(nil, 0) == nil {
		t.Error("a run without measurements passes")
	}
}

// resident returns the resident memory of the process in MB.
func (s *subject) resident() float64 {
	s.Helper()
	return float64(residentMemoryOf(s.T, fmt.Sprint(s.pid))) / 1e6
}

// logMB returns the size of SQLite's log.
func (s *subject) logMB() float64 {
	s.Helper()
	info, err := os.Stat(s.Env["DATABASE_URL"] + "-wal")
	if err != nil {
		s.Fatal(err)
	}
	return float64(info.Size()) / 1e6
}
