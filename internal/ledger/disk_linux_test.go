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

// fullDiskLedger names, in a process of its own, the ledger that may not grow: the limit holds for
// a whole process.
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

// fillAndGoOn stores payments until the disk refuses three in a row, and once more when the disk
// has room again.
func fillAndGoOn(t *testing.T, path string) {
	signal.Ignore(syscall.SIGXFSZ) // so that a write over the limit is an error
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
	// The log is used again from its start when it can grow no more: the file still has room.
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
