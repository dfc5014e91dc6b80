package process

import (
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

// limitFileSize limits the size of files that another process may write, in bytes.
func limitFileSize(t *testing.T, pid int, size uint64) {
	t.Helper()
	limit := syscall.Rlimit{Cur: size, Max: math.MaxUint64}
	_, _, code := syscall.Syscall6(syscall.SYS_PRLIMIT64, uintptr(pid), syscall.RLIMIT_FSIZE,
		uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
	if code != 0 {
		t.Fatalf("limit the size of files: %v", code)
	}
}

func TestSalesStopWhilePaymentsCannotBeRecorded(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	p := w.Spawn()
	s := &apptest.Service{W: w, Url: p.Url}
	w.Stripe.SetEndpoint(s.Url+"/webhook/stripe", fixture.TestSecret)
	link := s.Selling(fixture.Washer)

	limitFileSize(t, p.Cmd.Process.Pid, 1) // each write fails
	if report := s.ClosedFor("sales stop", http.StatusServiceUnavailable); !strings.Contains(
		report, "notepay cannot record payments: ",
	) {
		t.Errorf("/health says %s; want the reason", report)
	}
	w.PaidMeanwhile(s, link, func() { limitFileSize(t, p.Cmd.Process.Pid, math.MaxUint64) })
	if status, _, report := s.Get("/health"); status != http.StatusOK || strings.Contains(report, "recorded") {
		t.Errorf("/health with room again: %d %s", status, report)
	}
	w.Terminated(p)
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
	w := apptest.NewWorld(t)
	p := w.Set("DATABASE_URL", filepath.Join(disk, "notepay.db")).Spawn()
	s := &apptest.Service{W: w, Url: p.Url}
	w.Stripe.SetEndpoint(s.Url+"/webhook/stripe", fixture.TestSecret)
	link := s.Selling(fixture.Washer)

	filler := filepath.Join(disk, "filler")
	// filled fills the disk until sales stop. Moving its log frees space for the service, which may
	// be enough to continue.
	filled := func(what string, leave uint64) (report string) {
		t.Helper()
		w.Until(what, func() bool {
			var fs syscall.Statfs_t
			if err := syscall.Statfs(disk, &fs); err != nil {
				t.Fatal(err)
			}
			file, err := os.OpenFile(filler, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			if free := fs.Bavail * uint64(fs.Frsize); free > leave {
				_, _ = file.Write(make([]byte, free-leave)) // the service may use some of the space before this write
			}
			if err := file.Close(); err != nil {
				t.Fatal(err)
			}
			pay, _, _ := s.Get("/pay?device=" + fixture.Washer)
			_, _, report = s.Get("/health")
			return pay == http.StatusServiceUnavailable
		})
		return report
	}
	if report := filled("sales stop before the disk is full", 100<<10); !strings.Contains(
		report, "free on the ledger's disk",
	) {
		t.Errorf("/health says %s; want the reason", report)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	s.Selling(fixture.Washer)
	filled("sales stop on a full disk", 0)
	const customers = 40 // with Stripe's page open
	var sessions []string
	for range customers {
		sessions = append(sessions, w.Pay(link, sandbox.PayOptions{}).ID)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	s.Selling(fixture.Washer)
	for _, session := range sessions {
		s.Get("/payment/success?session_id=" + session)
		s.Payment(session, "sent", apptest.Has(`"machine":"sent"`))
	}
	w.Terminated(p)
}
