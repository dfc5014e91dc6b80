package ledger

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
)

// fullDiskLedger names, in a process of its own, the ledger that may not grow: the limit holds for a whole process.
const fullDiskLedger = "NOTEPAY_TEST_FULL_DISK_LEDGER"

func TestADiskThatRefusesACommit(t *testing.T) {
	if path := os.Getenv(fullDiskLedger); path != "" {
		fillAndGoOn(t, path)
		return
	}
	t.Parallel()
	path := freshSQLite(t)
	child := exec.Command(os.Args[0], "-test.run=^TestADiskThatRefusesACommit$")
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

// fillAndGoOn stores payments until the disk refuses, three times more, and once more when the disk has room again.
func fillAndGoOn(t *testing.T, path string) {
	signal.Ignore(syscall.SIGXFSZ) // so that a write over the limit is an error
	l := open(t, path)
	n := 0
	store := func() error {
		n++
		p := payment(fmt.Sprint(n))
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
	for range math.MaxInt {
		if err := store(); err != nil {
			break
		}
		if n > 1000 {
			t.Fatal("the disk never refused")
		}
	}
	for range 3 {
		if err := store(); err == nil || !strings.Contains(err.Error(), "commit") {
			t.Errorf("on a full disk: got %v; want a refused commit", err)
		}
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if err := store(); err != nil {
		t.Errorf("with room again: %v", err)
	}
	closeLedger(t, l)
}
