package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"notepay/internal/payment"
)

func TestOpenThroughLinks(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("making links needs a privilege there")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "data", "notepay.db")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	link := func(target, name string) string {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name)
	}
	toNothing := link(path, "early.db")
	l := open(t, toNothing) // the ledger does not exist yet
	insert(t, l, testPayment("one"))
	directory := link("data", "other")
	relative, chain := link("data/notepay.db", "relative.db"), link("early.db", "chain.db")
	for _, name := range []string{path, toNothing, relative, chain, filepath.Join(directory, "notepay.db")} {
		if second, err := Open(t.Context(), name); !errors.Is(err, ErrLocked) {
			t.Errorf("%s: got %v; want ErrLocked", name, err)
			if err == nil {
				closeLedger(t, second)
			}
		}
	}
	closeLedger(t, l)
	if got := filesIn(t, dir); strings.Contains(strings.Join(got, " "), "lock") {
		t.Errorf("files beside the links: %q", got)
	}
	wantStored(t, open(t, path), []string{"cs_one"})

	hard := filepath.Join(dir, "hard.db")
	if err := os.Link(path, hard); err != nil {
		t.Fatal(err)
	}
	if second, err := Open(t.Context(), hard); err == nil || !strings.Contains(err.Error(), "hard links") {
		t.Errorf("a hard link: got %v; want it refused", err)
		if err == nil {
			closeLedger(t, second)
		}
	}
}

// An update of a file that the next start would not find is not acknowledged.
func TestUpdateOfAMovedLedger(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("open files cannot be moved there")
	}
	rename := func(suffix string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.Rename(path+suffix, path+".away"); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(suffix string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.Remove(path + suffix); err != nil {
				t.Fatal(err)
			}
		}
	}
	replace := func(t *testing.T, path, placed string) {
		if err := os.Rename(placed, path); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		do      func(t *testing.T, path string)
		damaged bool
	}{
		"moved":                 {do: rename("")},
		"deleted":               {do: remove("")},
		"its log deleted":       {do: remove("-wal")},
		"its log's index gone":  {do: remove("-shm")},
		"its lock file deleted": {do: remove(".lock")},
		"its directory moved": {do: func(t *testing.T, path string) {
			if err := os.Rename(filepath.Dir(path), filepath.Dir(path)+"-away"); err != nil {
				t.Fatal(err)
			}
		}},
		"replaced": {do: func(t *testing.T, path string) {
			copied := path + ".copy"
			if err := Backup(t.Context(), path, copied); err != nil {
				t.Fatal(err)
			}
			replace(t, path, copied)
		}},
		"overwritten": {do: func(t *testing.T, path string) {
			copied := path + ".copy"
			if err := Backup(t.Context(), path, copied); err != nil {
				t.Fatal(err)
			}
			write(t, path, read(t, copied))
		}, damaged: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "data", "notepay.db")
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			l, err := Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			insert(t, l, testPayment("one"))
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			reports := make(chan error, 8)
			go l.Watch(ctx, func(err error) { reports <- err })
			c.do(t, path)
			if !c.damaged {
				if err := <-reports; err == nil { // Watch notices the move without a write
					t.Errorf("the watch reports nothing")
				}
			}
			p := testPayment("two")
			if err := l.Update(t.Context(), func(tx *Tx) error { return second(tx.InsertPayment(p)).err }); err == nil {
				t.Errorf("a write is acknowledged")
			}
			if err := l.Trouble(); err == nil || Damaged(err) != c.damaged {
				t.Errorf("trouble: %v", err)
			}
			_ = l.Close() // Close may fail, but it must return
		})
	}
}

// A copy that was written over a running ledger is not mixed with the ledger's log, even when the
// service stops. The log holds the latest payments.
func TestOverwrittenLedgerKeepsItsLog(t *testing.T) {
	t.Parallel()
	long := func(name string) payment.Payment {
		p := testPayment(name)
		p.DeviceName = strings.Repeat("x", 100_000)
		return p
	}
	for how, copyLedger := range copies() {
		for next, then := range map[string]func(t *testing.T, l *Ledger){
			"it stops": func(*testing.T, *Ledger) {},
			"a payment comes": func(t *testing.T, l *Ledger) {
				p := testPayment("refused")
				err := l.Update(t.Context(), func(tx *Tx) error { return second(tx.InsertPayment(p)).err })
				if err == nil {
					t.Errorf("a write is acknowledged")
				}
			},
			"it is idle": func(t *testing.T, l *Ledger) { l.ShrinkLog(t.Context()) },
		} {
			t.Run(how+", then "+next, func(t *testing.T) {
				t.Parallel()
				path, copied := freshSQLite(t), filepath.Join(t.TempDir(), "copy.db")
				l, err := Open(t.Context(), path)
				if err != nil {
					t.Fatal(err)
				}
				for n := range 48 { // several checkpoints run meanwhile
					insert(t, l, long(fmt.Sprintf("before_%d", n)))
				}
				copyLedger(t, path, copied)
				for n := range 10 {
					insert(t, l, long(fmt.Sprintf("after_%d", n)))
				}
				earlier, placed, log := read(t, path), read(t, copied), read(t, path+"-wal")
				if bytes.Equal(earlier, placed) {
					placed = append(placed, make([]byte, 4096)...)
				}
				write(t, path, placed)
				then(t, l)
				if err := l.Close(); !isDamage(err) {
					t.Errorf("close: %v; want the damage", err)
				}
				now := read(t, path+"-wal")
				if !bytes.Equal(read(t, path), placed) || !bytes.Equal(now[:logHeaderSize], log[:logHeaderSize]) {
					t.Error("the copy was written to, or a new log was begun")
				}
				if l, err := Open(t.Context(), path); err == nil {
					closeLedger(t, l)
					t.Error("the next start opens it; want it refused")
				}
			})
		}
	}
}

func TestUpdateAfterTheLedgerIsPutBack(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("open files cannot be moved there")
	}
	path := freshSQLite(t)
	l := open(t, path)
	for _, move := range [][2]string{{path, path + ".away"}, {path + ".away", path}} {
		if err := os.Rename(move[0], move[1]); err != nil {
			t.Fatal(err)
		}
		err := l.Probe(t.Context())
		if back := move[1] == path; (err == nil) != back || (l.Trouble() == nil) != back {
			t.Errorf("moved to %s: %v, %v", move[1], err, l.Trouble())
		}
	}
}

// Damage that a read or a write finds is kept.
func TestTroubleReportsDamage(t *testing.T) {
	t.Parallel()
	for name, touch := range map[string]func(l *Ledger) error{
		"by a read": func(l *Ledger) error {
			_, _, err := l.Payments(context.Background(), Filter{Limit: 1000})
			return err
		},
		"by a write": func(l *Ledger) error {
			return l.Update(context.Background(), func(tx *Tx) error {
				return second(tx.exec(`UPDATE payments SET device_name = 'x'`)).err
			})
		},
		"by a search": func(l *Ledger) error {
			_, err := l.Revenue(context.Background(), time.UnixMilli(0), time.Now().Add(time.Hour))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := freshSQLite(t)
			l := open(t, path)
			for n := range 300 {
				insert(t, l, testPayment(fmt.Sprint(n)))
			}
			closeLedger(t, l)
			damage(t, path)
			l, err := Open(t.Context(), path) // a closed ledger is not checked
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if err := touch(l); err == nil || !Damaged(l.Trouble()) {
				t.Errorf("got %v, and trouble %v; want the damage", err, l.Trouble())
			}
		})
	}
}

// damage overwrites one of the many leaf pages of the payments table.
func damage(t *testing.T, path string) {
	t.Helper()
	content := read(t, path)
	last := 0
	for page := 0; page < len(content); page += 4096 {
		if content[page] == 13 && bytes.Contains(content[page:page+4096], []byte("cr_")) {
			last = page
		}
	}
	copy(content[last:], bytes.Repeat([]byte{0xff}, 8))
	write(t, path, content)
}

// A ledger that was not closed is checked before SQLite writes to it.
func TestOpenRejectsADamagedLedgerAfterAKill(t *testing.T) {
	t.Parallel()
	path := freshSQLite(t)
	l := open(t, path)
	for n := range 300 {
		insert(t, l, testPayment(fmt.Sprint(n)))
	}
	closeLedger(t, l)
	damage(t, path)
	r := startRemote(t, path) // a closed ledger is not checked
	_ = r.store("one")
	r.kill()
	before := read(t, path)
	if l, err := Open(t.Context(), path); !isDamage(err) || !strings.Contains(err.Error(), "notepay restore COPY") {
		if err == nil {
			closeLedger(t, l)
		}
		t.Errorf("got %v; want the damage, and what to do", err)
	}
	if !bytes.Equal(read(t, path), before) {
		t.Errorf("the ledger was changed")
	}
}

func TestLedgerFilesArePrivate(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("there are no modes there")
	}
	old := freshSQLite(t)
	closeLedger(t, open(t, old))
	if err := errors.Join(os.Chmod(old, 0o644), os.Chmod(old+".lock", 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{freshSQLite(t), old} {
		l := open(t, path)
		insert(t, l, testPayment("one"))
		copied := path + ".copy"
		if err := Backup(t.Context(), path, copied); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{path, path + "-wal", path + "-shm", path + ".lock", copied} {
			if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: mode %v, %v; want 0600", name, info.Mode(), err)
			}
		}
	}
}
