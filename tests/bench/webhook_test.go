//go:build linux

package bench

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

// The load of a round.
const (
	manyDevices  = 1000
	alone        = 300  // webhooks on one connection
	together     = 3000 // webhooks on all connections
	connections  = 64
	wirePayments = 500
	wireEvery    = 10 * time.Millisecond
	scans        = 20_000
	scanners     = 16 // connections
)

// notehubDelay is how long a real Notehub takes to answer.
const notehubDelay = 100 * time.Millisecond

// sample holds the figures of one round by name.
type sample map[string]float64

// micros returns a duration in microseconds.
func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// perPayment adds to a sample what each of n payments used.
func (got sample) perPayment(prefix string, from, to usage, n int) {
	got[prefix+"cpu_us"] = micros(to.cpu-from.cpu) / float64(n)
	got[prefix+"written_kb"] = (to.written - from.written) / float64(n) / 1e3
	got[prefix+"allocs"] = (to.allocs - from.allocs) / float64(n)
}

// baselines are the processes that a payment is compared with.
type baselines struct {
	verify *subject // without a store
	append *subject // appends the body to a file, with one fdatasync for all who wait
}

func startBaselines(t *testing.T, binary string) baselines {
	t.Helper()
	return baselines{
		verify: baselineAt(t, binary, "verify"),
		append: baselineAt(t, binary, "append", filepath.Join(t.TempDir(), "journal")),
	}
}

// measure sends the webhooks of a round to the baselines.
func (b baselines) measure(webhooks [][]byte, got sample) {
	for prefix, s := range map[string]*subject{"bare_": b.verify, "append_": b.append} {
		each, _ := callAll(s.T, s.addr(), 1, webhooks[:alone], http.StatusOK)
		got[prefix+"ack1_us"] = micros(median(each))
		before := s.usage()
		_, all := callAll(s.T, s.addr(), connections, webhooks[alone:], http.StatusOK)
		got.perPayment(prefix, before, s.usage(), len(webhooks)-alone)
		got[prefix+"acks64"] = float64(len(webhooks)-alone) / all.Seconds()
	}
}

// webhookRound measures durable acknowledgements while the bridge also delivers each payment.
// Customers, Stripe and Notehub run on the same machine.
func (s *subject) webhookRound(b baselines) sample {
	s.Helper()
	got := sample{}
	webhooks, _ := paidEvent(s.World, alone+together, manyDevices)
	b.measure(webhooks, got)

	each, _ := s.send(1, webhooks[:alone])
	s.drained()
	got["ack1_us"] = micros(median(each))
	got["syncs_back_to_back"] = perSecond(syncTimes(s.T, s.Dir, 500, 0))
	got["sync_paced_us"] = micros(median(syncTimes(s.T, s.Dir, 300, median(each)))) // of ack1_us
	s.burst("", webhooks[alone:], got)

	for _, figure := range []string{"acks64", "ack1_us"} {
		got[figure+"_of_append"] = got[figure] / got["append_"+figure]
		got[figure+"_of_bare"] = got[figure] / got["bare_"+figure]
	}
	got["acks64_of_syncs"] = got["acks64"] / got["syncs_back_to_back"]
	got["ack1_in_syncs"] = got["ack1_us"] / got["sync_paced_us"]

	webhooks, _ = paidEvent(s.World, together, manyDevices)
	s.Notehub.Always(fixture.PostNote, sandbox.Outcome{Applied: true, Status: 200, Delay: notehubDelay})
	s.burst("slow_", webhooks, got)
	s.Notehub.Clear(fixture.PostNote)
	got["slow_acks64_of_append"] = got["slow_acks64"] / got["append_acks64"]
	return got
}

// burst sends webhooks over many connections and waits until their notes are recorded.
func (s *subject) burst(prefix string, webhooks [][]byte, got sample) {
	s.Helper()
	before, others, began := s.usage(), processCPU(s.T, os.Getpid()), time.Now()
	each, all := s.send(connections, webhooks)
	s.drained()
	end := time.Since(began)
	got[prefix+"others_cpu_us"] = micros(processCPU(s.T, os.Getpid())-others) / float64(len(webhooks))
	got.perPayment(prefix, before, s.usage(), len(webhooks))
	got[prefix+"acks64"] = float64(len(webhooks)) / all.Seconds()
	got[prefix+"ack64_p99_us"] = micros(quantile(each, 0.99))
	got[prefix+"settled64"] = float64(len(webhooks)) / end.Seconds()
}

// wireRound measures the time from a webhook's first byte to the note's request at Notehub, for one
// payment at a time.
func (s *subject) wireRound() sample {
	s.Helper()
	webhooks, sessions := paidEvent(s.World, wirePayments, manyDevices)
	c, err := dial(s.addr())
	if err != nil {
		s.Fatal(err)
	}
	defer c.conn.Close()
	earlier := len(s.Notehub.Requests(fixture.PostNote))
	before := s.usage()
	ticker := time.NewTicker(wireEvery)
	defer ticker.Stop()
	sent := make(map[string]time.Time, len(webhooks))
	for i, webhook := range webhooks {
		<-ticker.C
		sent[sessions[i]] = time.Now()
		if status, err := c.call(webhook); err != nil || status != http.StatusOK {
			s.Fatalf("status %d, %v", status, err)
		}
	}
	s.paid += len(webhooks)
	s.drained()
	got := sample{}
	got.perPayment("wire_", before, s.usage(), len(webhooks))
	var took []time.Duration
	for _, arrived := range s.Notehub.Requests(fixture.PostNote)[earlier:] {
		var note struct {
			Body struct {
				Session string `json:"session_id"`
			}
		}
		if err := json.Unmarshal(arrived.Body, &note); err != nil {
			s.Fatal(err)
		}
		took = append(took, arrived.At.Sub(sent[note.Body.Session]))
	}
	if len(took) != len(webhooks) {
		s.Fatalf("%d notes for %d payments", len(took), len(webhooks))
	}
	got["wire_p50_us"], got["wire_p99_us"] = micros(quantile(took, 0.5)), micros(quantile(took, 0.99))
	got["wire_sync_us"] = micros(median(syncTimes(s.T, s.Dir, 100, wireEvery)))
	got["wire_p50_in_syncs"] = got["wire_p50_us"] / got["wire_sync_us"]
	return got
}

// series collects the samples of all rounds by figure.
type series map[string][]float64

func (s series) add(got sample) {
	for name, value := range got {
		s[name] = append(s[name], value)
	}
}

// of returns the median of a figure.
func (s series) of(name string) float64 { return median(append([]float64(nil), s[name]...)) }

// time returns the median of a figure that is in microseconds.
func (s series) time(name string) string {
	return short(time.Duration(s.of(name) * float64(time.Microsecond)))
}

// cost returns what a payment uses.
func (s series) cost(prefix string) string {
	return fmt.Sprintf("%.0f μs, %.1f kB, %.0f allocations",
		s.of(prefix+"cpu_us"), s.of(prefix+"written_kb"), s.of(prefix+"allocs"))
}

const benchRounds = 7

// benchWebhook reports durable acknowledgements and what a payment costs.
func benchWebhook(t *testing.T, r *report) {
	s, b, got := busy(t, binary(t), manyDevices), startBaselines(t, buildBaseline(t)), series{}
	for n := range benchRounds + 1 {
		if one := s.webhookRound(b); n > 0 { // the first round warms up
			got.add(one)
		}
	}
	ratio := func(name string) string { return fmt.Sprintf("%.2f", got.of(name)) }
	rate := func(name string) string { return inSeconds(got.of(name)) }
	limit := limitOf(got.of("append_cpu_us"), got.of("others_cpu_us"), runtime.NumCPU())
	for _, f := range []figure{
		{
			name:     "acknowledgement, 1 connection",
			got:      got.time("ack1_us"),
			baseline: "appended with an `fdatasync`: " + got.time("append_ack1_us"),
			ratio:    ratio("ack1_us_of_append"),
			target:   "≤ 2.0",
			missed:   got.of("ack1_us_of_append") > 2,
		},
		{
			name:     "acknowledgement, 1 connection, in syncs",
			got:      got.time("ack1_us"),
			baseline: "one `fdatasync` as often: " + got.time("sync_paced_us"),
			ratio:    ratio("ack1_in_syncs"),
		},
		{
			name:     "acknowledgements, 64 connections",
			got:      rate("acks64"),
			baseline: "appended with a shared `fdatasync`: " + rate("append_acks64"),
			ratio:    ratio("acks64_of_append"),
			target:   "≥ 0.6",
			missed:   got.of("acks64_of_append") < 0.6,
		},
		{
			name:     "the same, Notehub answers after 100 ms",
			got:      rate("slow_acks64"),
			baseline: "appended with a shared `fdatasync`: " + rate("append_acks64"),
			ratio:    ratio("slow_acks64_of_append"),
		},
		{
			name:     "acknowledgements, without a store",
			got:      rate("acks64"),
			baseline: "verified and decoded only: " + rate("bare_acks64"),
			ratio:    ratio("acks64_of_bare"),
		},
		{
			name:     "acknowledgements, in syncs",
			got:      rate("acks64"),
			baseline: "`fdatasync`s of one file: " + rate("syncs_back_to_back"),
			ratio:    ratio("acks64_of_syncs"),
		},
		{
			name:     "payments from webhook to recorded note, 64 connections",
			got:      rate("settled64"),
			baseline: "only acknowledged: " + rate("acks64"),
			ratio:    fmt.Sprintf("%.2f", got.of("settled64")/got.of("acks64")),
		},
		{
			name:     "the same, of the limit",
			got:      rate("settled64"),
			baseline: "the processor time of the append and of the simulators: " + inSeconds(limit),
			ratio:    fmt.Sprintf("%.2f", got.of("settled64")/limit),
		},
		{
			name:     "each payment: processor, written, allocations",
			got:      got.cost(""),
			baseline: "appended: " + got.cost("append_"),
			ratio:    fmt.Sprintf("%.1f", got.of("cpu_us")/got.of("append_cpu_us")),
		},
		{
			name:     "the same, Notehub answers after 100 ms: each payment",
			got:      got.cost("slow_"),
			baseline: "without a store: " + got.cost("bare_"),
			ratio:    fmt.Sprintf("%.1f", got.of("slow_cpu_us")/got.of("bare_cpu_us")),
		},
	} {
		r.add(t, f)
	}
}

// limitOf returns the payments a second that keep all cores busy, if each takes only the processor
// time of an append and that of the customers and vendors simulated on the same cores. Both times are
// in microseconds.
func limitOf(appended, others float64, cores int) float64 {
	return float64(cores) * 1e6 / (appended + others)
}

// TestLimit requires both processor times to count.
func TestLimit(t *testing.T) {
	t.Parallel()
	if got := limitOf(100, 150, 2); got != 8000 {
		t.Errorf("two cores with 250 μs a payment: %v payments a second; want 8000", got)
	}
}

// benchWire reports the time from webhook to note.
func benchWire(t *testing.T, r *report) {
	s, got := busy(t, binary(t), manyDevices), series{}
	for n := range benchRounds + 1 {
		if one := s.wireRound(); n > 0 {
			got.add(one)
		}
	}
	baseline := "one `fdatasync` every 10 ms: " + got.time("wire_sync_us")
	inSyncs := func(name string) string { return fmt.Sprintf("%.1f", got.of(name)/got.of("wire_sync_us")) }
	r.add(t, figure{
		name:     "webhook to note on the wire, median",
		got:      got.time("wire_p50_us"),
		baseline: baseline,
		ratio:    inSyncs("wire_p50_us"),
		target:   "≤ 2 ms",
		missed:   got.of("wire_p50_us") > 2000,
	})
	r.add(t, figure{
		name:     "webhook to note on the wire, 99 of 100",
		got:      got.time("wire_p99_us"),
		baseline: baseline,
		ratio:    inSyncs("wire_p99_us"),
		target:   "≤ 10 ms",
		missed:   got.of("wire_p99_us") > 10_000,
	})
	r.add(t, figure{
		name:     "each payment, one every 10 ms: processor, written, allocations",
		got:      got.cost("wire_"),
		baseline: "nothing to share with others",
		ratio:    "-",
	})
}
