//go:build linux

package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"notepay/internal/app"
	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
	"notepay/internal/stripeapi"
)

// subject is a process under measurement: notepay with a sandbox of its own, or a baseline.
type subject struct {
	*apptest.World
	service *apptest.Service
	others  []*apptest.Service // further instances on the same database
	pid     int

	paid  int          // webhooks that were sent
	notes atomic.Int64 // calls of Notehub that posted a note
}

const readVariables = "GET /v1/projects/{project}/devices/{device}/environment_variables"

// busy starts notepay with many devices, so that the queue of one device is not the limit.
func busy(t *testing.T, binary string, devices int) *subject {
	t.Helper()
	return busyOn(t, binary, devices, "", 1)
}

// busyOn does the same as busy with several instances on a database, "" for a new SQLite ledger.
func busyOn(t *testing.T, binary string, devices int, database string, instances int) *subject {
	t.Helper()
	s := &subject{World: apptest.NewWorld(t).Set(
		"LOG_LEVEL", "info",
		"NOTEHUB_REQUESTS_PER_MINUTE", "300000", // no limit at all would spread the reads of variables over hours
	)}
	if database != "" {
		s.Set("DATABASE_URL", database)
	}
	for n := range devices {
		sellAt(s.World, n)
	}
	s.start(binary)
	for range instances - 1 {
		p := s.launch(binary)
		s.others = append(s.others, &apptest.Service{W: s.World, Url: p.Url})
	}
	if instances > 1 { // one that starts beside others makes no calls to Notehub before
		time.Sleep(70 * time.Second)
	}
	s.Until("all links are known", func() bool {
		for _, other := range s.others {
			if healthOf(other).Links < devices {
				return false
			}
		}
		return healthOf(s.service).Links >= devices
	})
	s.Until("all variables are read", func() bool { return s.Notehub.Count(readVariables) >= devices })
	s.Notehub.Watch(func(e sandbox.Exchange) {
		if e.Method == http.MethodPost && strings.Contains(e.Path, "/notes/") {
			s.notes.Add(1)
		}
	})
	return s
}

// start starts the binary that is measured.
func (s *subject) start(binary string) {
	s.Helper()
	p := s.launch(binary)
	s.service, s.pid = &apptest.Service{W: s.World, Url: p.Url}, p.Cmd.Process.Pid
}

// launch starts a binary with its log in a file.
func (s *subject) launch(binary string) *apptest.Process {
	s.Helper()
	out, err := os.CreateTemp(s.Dir, "log")
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := out.Close(); err != nil {
			s.Error(err)
		}
	})
	p := s.Launch(apptest.Invocation(binary, s.Dir, s.Env), out)
	s.Cleanup(func() {
		if err := p.Stop(); err != nil {
			s.Errorf("the service ended with %v; want a clean stop", err)
		}
	})
	return p
}

// baselineAt starts a mode of the baseline program.
func baselineAt(t *testing.T, binary string, args ...string) *subject {
	t.Helper()
	w := &apptest.World{T: t, Dir: t.TempDir()}
	p := w.Launch(apptest.Invocation(binary, w.Dir, nil, args...), io.Discard)
	return &subject{World: w, service: &apptest.Service{W: w, Url: p.Url}, pid: p.Cmd.Process.Pid}
}

func (s *subject) addr() string { return addrOf(s.service) }

// drained waits until each payment's note was posted, and recorded. It asks notepay seldom, because
// the answers cost time that would count.
func (s *subject) drained() {
	s.Helper()
	pause := time.NewTicker(2 * time.Millisecond)
	defer pause.Stop()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); <-pause.C {
		if s.notes.Load() >= int64(s.paid) && healthOf(s.service).Queued == 0 {
			return
		}
	}
	s.Fatalf("%d of %d notes were posted after two minutes", s.notes.Load(), s.paid)
}

// send sends webhooks over a number of connections, as callAll does.
func (s *subject) send(connections int, webhooks [][]byte) (each []time.Duration, all time.Duration) {
	s.Helper()
	addrs := []string{s.addr()}
	for _, other := range s.others {
		addrs = append(addrs, addrOf(other))
	}
	each, all = callEach(s.T, addrs, connections, webhooks, http.StatusOK)
	s.paid += len(webhooks)
	return each, all
}

// usage holds the processor time, the written bytes and the allocations of a process since its start.
type usage struct {
	cpu     time.Duration
	written float64 // bytes of the pages that it has made the system write
	allocs  float64 // 0 if the process does not report it
}

// usage returns what the process has used until now.
func (s *subject) usage() usage {
	s.Helper()
	u := usage{cpu: processCPU(s.T, s.pid)}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", s.pid))
	if err != nil {
		s.Fatal(err)
	}
	u.written = s.valueOf(string(text), "write_bytes:")
	if status, _, metrics := s.service.Get("/metrics"); status == http.StatusOK {
		u.allocs = s.valueOf(metrics, "go_memstats_mallocs_total")
	}
	return u
}

// cpu returns the processor time of the process.
func (s *subject) cpu() time.Duration { return processCPU(s.T, s.pid) }

// processCPU returns the processor time of a process. Its clock is exact to the nanosecond, while
// /proc/PID/stat counts hundredths of a second.
func processCPU(t *testing.T, pid int) time.Duration {
	t.Helper()
	var now syscall.Timespec
	clock := ^pid<<3 | 2 // as clock_getcpuclockid(3) makes it
	_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&now)), 0)
	if errno != 0 {
		t.Fatalf("read the processor time of %d: %v", pid, errno)
	}
	return time.Duration(now.Nano())
}

// valueOf returns the number in the line of text that begins with a name and a space.
func (s *subject) valueOf(text, name string) float64 {
	s.Helper()
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				s.Fatal(err)
			}
			return value
		}
	}
	s.Fatalf("no %s in %s", name, text)
	return 0
}

// sellAt adds a device and its link to the vendors.
func sellAt(w *apptest.World, n int) {
	uid := fmt.Sprintf("dev:%d", n)
	w.Notehub.AddDevice(sandbox.Device{UID: uid, Name: fmt.Sprintf("Washer %d", n), LastActivity: time.Now()})
	metadata := map[string]string{
		"app":        stripeapi.App,
		"project":    fixture.Project,
		"device_uid": uid,
		"price_id":   fixture.Warm,
	}
	w.Stripe.AddLink(
		sandbox.Link{
			ID:             fmt.Sprintf("plink_%d", n),
			DeviceUID:      uid,
			PriceID:        fixture.Warm,
			Active:         true,
			Metadata:       metadata,
			IntentMetadata: metadata,
			ReturnURL:      returnURLOf(w),
		},
	)
}

// returnURLOf returns the return URL of links that need no change.
func returnURLOf(w *apptest.World) string {
	return w.Env["PUBLIC_URL"] + "/payment/success?session_id={CHECKOUT_SESSION_ID}"
}

func addrOf(s *apptest.Service) string { return strings.TrimPrefix(s.Url, "http://") }

func healthOf(s *apptest.Service) (h app.Health) {
	s.W.Helper()
	_, _, text := s.Get("/health")
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		s.W.Fatalf("/health answers %q: %v", text, err)
	}
	return h
}

// waitDrained waits until the queue is empty.
func waitDrained(s *apptest.Service) {
	s.W.Helper()
	s.W.Until("the queue is empty", func() bool { return healthOf(s).Queued == 0 })
}

// paidEvent pays n times, each time at the next device. It returns the bytes of the signed webhooks
// without sending them, and their sessions.
func paidEvent(w *apptest.World, n, devices int) (webhooks [][]byte, sessions []string) {
	w.Helper()
	bought, last := make(map[string]bool, n), w.Stripe.LastEvent()
	for i := range n {
		bought[w.Pay(fmt.Sprintf("plink_%d", i%devices), sandbox.PayOptions{}).ID] = true
	}
	for _, e := range w.Stripe.EventsAfter(last) {
		if e.Type != "checkout.session.completed" || !bought[e.ObjectID] {
			continue
		}
		r := httptest.NewRequest(http.MethodPost, "/webhook/stripe", strings.NewReader(string(e.Body)))
		r.Header.Set("Content-Type", "application/json; charset=utf-8")
		r.Header.Set("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
		r.Header.Set("Stripe-Signature", fixture.Signed(string(e.Body), fixture.TestSecret))
		webhooks, sessions = append(webhooks, wire(w.T, r)), append(sessions, e.ObjectID)
	}
	return webhooks, sessions
}
