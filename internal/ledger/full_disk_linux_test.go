package ledger

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
)

// fullDiskLedger is the variable that tells the child process of TestUpdateOnAFullDisk which ledger
// to fill. It needs its own process because the limit on file sizes applies to a whole process.
const fullDiskLedger = "NOTEPAY_TEST_FULL_DISK_LEDGER"

func TestUpdateOnAFullDisk(t *testing.T) {
	if path := os.Getenv(fullDiskLedger); path != "" {
		fillAndGoOn(t, path)
		return
	}
	t.Parallel()
	path := freshSQLite(t)
	child := exec.Command(os.Args[0], "-test.run=^TestUpdateOnAFullDisk$")
	child.Env = append(os.Environ(), fullDiskLedger+"="+path, "GORACE=atexit_sleep_ms=0")
	out, err := child.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var acknowledged []string
	for line := range strings.Lines(string(out)) {
		if session := strings.TrimSpace(line); strings.HasPrefix(session, "cs_") {
			acknowledged = append(acknowledged, session)
		}
	}
	if len(acknowledged) < 3 {
		t.Fatalf("acknowledged %q; want some before the disk was full and one afterwards\n%s", acknowledged, out)
	}
	l := open(t, path)
	wantStored(t, l, acknowledged)
	wantNames(t, l, "SQLite's own check", `PRAGMA integrity_check`, []string{"ok"})
}

// fillAndGoOn stores payments until three consecutive updates fail, and one more after the limit is
// removed.
func fillAndGoOn(t *testing.T, path string) {
	signal.Ignore(syscall.SIGXFSZ) // makes a write beyond the limit an error
	l := open(t, path)
	n := 0
	store := func() error {
		n++
		p := testPayment(fmt.Sprint(n))
		p.DeviceName = strings.Repeat("x", 10_000)
		err := l.Update(t.Context(), func(tx *Tx) error {
			_, err := tx.InsertPayment(p)
			return err
		})
		if err == nil {
			fmt.Println(p.SessionID)
		}
		return err
	}
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	limited := before
	limited.Cur = 500_000
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limited); err != nil {
		t.Fatal(err)
	}
	const inARow = 3
	refused, firstRefused := 0, 0
	for refused < inARow {
		err := store()
		switch {
		case n > 1000:
			t.Fatal("the disk never refused")
		case err == nil:
			refused = 0
		case !strings.Contains(err.Error(), "commit"):
			t.Errorf("on a full disk: got %v; want a refused commit", err)
			refused++
		default:
			refused++
			firstRefused = cmp.Or(firstRefused, n)
		}
	}
	// A log that can grow no more restarts at its beginning, because the file still has space.
	if n == firstRefused+inARow-1 {
		t.Errorf("%d payments were stored, and none after the first refused commit; want some", n-inARow)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if err := store(); err != nil {
		t.Errorf("with room again: %v", err)
	}
	closeLedger(t, l)
}
