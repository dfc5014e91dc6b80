package main

import (
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"notepay/internal/sandbox"
)

// limitFileSize sets how large a file another process may make, in bytes.
func limitFileSize(t *testing.T, pid int, size uint64) {
	t.Helper()
	limit := syscall.Rlimit{Cur: size, Max: math.MaxUint64}
	_, _, code := syscall.Syscall6(syscall.SYS_PRLIMIT64, uintptr(pid), syscall.RLIMIT_FSIZE, uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
	if code != 0 {
		t.Fatalf("limit the size of files: %v", code)
	}
}

// closedFor waits until /pay sells nothing and /health has one of the statuses, and returns what /health says.
func (s *service) closedFor(what string, health ...int) (report string) {
	s.w.Helper()
	began := time.Now()
	s.w.until(what, func() bool {
		pay, _, _ := s.get("/pay?device=" + washer)
		var status int
		status, _, report = s.get("/health")
		return pay == http.StatusServiceUnavailable && slices.Contains(health, status)
	})
	if took := time.Since(began); took > 15*time.Second {
		s.w.Errorf("%s: it took %v; want a few seconds", what, took)
	}
	return report
}

// paidMeanwhile pays while nothing can be recorded. Stripe repeats the webhook until it is recorded.
func (w *world) paidMeanwhile(s *service, link string, recover func()) {
	w.Helper()
	session := w.pay(link, sandbox.PayOptions{NoWebhook: true})
	event := ""
	for _, e := range w.stripe.Events() {
		if e.ObjectID == session.ID {
			event = e.ID
		}
	}
	if status, err := w.stripe.Send(event); err != nil || status != http.StatusServiceUnavailable {
		w.Errorf("the webhook is answered %d, %v; want 503", status, err)
	}
	recover()
	s.selling(washer)
	if status, err := w.stripe.Send(event); err != nil || status != http.StatusOK {
		w.Errorf("the repeated webhook is answered %d, %v; want 200", status, err)
	}
	s.payment(session.ID, "sent", has(`"machine":"sent"`))
}

func (w *world) terminated(p *process) {
	w.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		w.Fatal(err)
	}
	select {
	case err := <-p.ended:
		if err != nil {
			w.Errorf("after SIGTERM: %v; want exit code 0", err)
		}
	case <-time.After(10 * time.Second):
		w.Fatal("10 s after SIGTERM the service still runs")
	}
}

func TestSalesStopWhilePaymentsCannotBeRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.spawn()
	s := &service{w: w, url: p.url}
	w.stripe.SetEndpoint(s.url+"/webhook/stripe", testSecret)
	link := s.selling(washer)

	limitFileSize(t, p.cmd.Process.Pid, 1) // each write fails
	if report := s.closedFor("sales stop", http.StatusServiceUnavailable); !strings.Contains(report, "notepay cannot record payments: ") {
		t.Errorf("/health says %s; want the reason", report)
	}
	w.paidMeanwhile(s, link, func() { limitFileSize(t, p.cmd.Process.Pid, math.MaxUint64) })
	if status, _, report := s.get("/health"); status != http.StatusOK || strings.Contains(report, "recorded") {
		t.Errorf("/health with room again: %d %s", status, report)
	}
	w.terminated(p)
}

func TestSalesStopWhenTheDiskIsFull(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	if err := syscall.Mount("none", disk, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("a small disk needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	w := newWorld(t)
	p := w.set("DATABASE_URL", filepath.Join(disk, "notepay.db")).spawn()
	s := &service{w: w, url: p.url}
	w.stripe.SetEndpoint(s.url+"/webhook/stripe", testSecret)
	link := s.selling(washer)

	filler := filepath.Join(disk, "filler")
	// filled fills the disk until sales stop: the service makes room by moving its log, which may be enough to sell on.
	filled := func(what string, leave uint64) (report string) {
		t.Helper()
		w.until(what, func() bool {
			var fs syscall.Statfs_t
			if err := syscall.Statfs(disk, &fs); err != nil {
				t.Fatal(err)
			}
			file, err := os.OpenFile(filler, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			if free := fs.Bavail * uint64(fs.Frsize); free > leave {
				_, _ = file.Write(make([]byte, free-leave)) // the service may take room between the look and the write
			}
			if err := file.Close(); err != nil {
				t.Fatal(err)
			}
			pay, _, _ := s.get("/pay?device=" + washer)
			_, _, report = s.get("/health")
			return pay == http.StatusServiceUnavailable
		})
		return report
	}
	if report := filled("sales stop before the disk is full", 100<<10); !strings.Contains(report, "free on the ledger's disk") {
		t.Errorf("/health says %s; want the reason", report)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	s.selling(washer)
	filled("sales stop on a full disk", 0)
	const customers = 40 // who were on Stripe's page
	var sessions []string
	for range customers {
		sessions = append(sessions, w.pay(link, sandbox.PayOptions{}).ID)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	s.selling(washer)
	for _, session := range sessions {
		s.get("/payment/success?session_id=" + session)
		s.payment(session, "sent", has(`"machine":"sent"`))
	}
	w.terminated(p)
}
