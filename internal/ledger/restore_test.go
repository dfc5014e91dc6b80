package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// restorable returns a ledger with the payments "one" and "two", whose process was killed, and a
// copy with "one".
func restorable(t *testing.T) (path, copied string) {
	t.Helper()
	path, copied = freshSQLite(t), filepath.Join(t.TempDir(), "copy.db")
	l := open(t, path)
	insert(t, l, testPayment("one"))
	if err := Backup(t.Context(), path, copied); err != nil {
		t.Fatal(err)
	}
	closeLedger(t, l)
	r := startRemote(t, path)
	r.mustStore("two")
	r.kill()
	return path, copied
}

func TestRestore(t *testing.T) {
	t.Parallel()
	path, copied := restorable(t)
	before := read(t, copied)
	giveAway(t, path)
	kept, err := Restore(t.Context(), path, copied)
	if err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if _, err := os.Stat(path + suffix); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v; want nothing left of the old log", suffix, err)
		}
	}
	if !bytes.Equal(read(t, copied), before) || len(filesIn(t, filepath.Dir(copied))) != 1 {
		t.Errorf("the copy or its directory was changed: %q", filesIn(t, filepath.Dir(copied)))
	}
	if info, err := os.Stat(path); err != nil || (info.Mode().Perm() != 0o600 && runtime.GOOS != "windows") {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	wantOwner(t, path)
	l := open(t, path)
	wantStored(t, l, []string{"cs_one"})
	judged := inTx(l, (*Tx).RestoredPayments)
	if judged.err != nil || len(judged.got) != 1 {
		t.Errorf("%d payments to be judged, %v; want the copy's", len(judged.got), judged.err)
	}
	if len(l.Notices()) != 0 {
		t.Errorf("notices %q; want none", l.Notices())
	}
	closeLedger(t, l)

	// The earlier ledger is complete under its new name, and can be restored like any copy.
	again, err := Restore(t.Context(), path, kept)
	if err != nil || again == kept {
		t.Fatalf("kept as %s, %v", again, err)
	}
	wantStored(t, open(t, path), []string{"cs_one", "cs_two"})
	wantStored(t, open(t, kept), []string{"cs_one", "cs_two"})
}

func TestRestoreWithoutALedger(t *testing.T) {
	t.Parallel()
	_, copied := restorable(t)
	path := freshSQLite(t)
	if kept, err := Restore(t.Context(), path, copied); err != nil || kept != "" {
		t.Fatalf("kept as %q, %v; want nothing kept", kept, err)
	}
	wantStored(t, open(t, path), []string{"cs_one"})
}

func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	path, copied := restorable(t)
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		write(t, filepath.Join(dir, name), content)
		return filepath.Join(dir, name)
	}
	many := freshSQLite(t)
	l := open(t, many)
	for n := range 300 {
		insert(t, l, testPayment(string(rune('a'+n))))
	}
	closeLedger(t, l)
	damage(t, many)
	used := freshSQLite(t)
	open(t, used)
	newer := file("newer.db", read(t, copied))
	withSQL(t, newer, `INSERT INTO migrations (name) VALUES ('999_from_tomorrow.sql')`)
	other := file("other.db", nil)
	withSQL(t, other, `CREATE TABLE facts (name TEXT)`)
	letter := file("letter.txt", []byte(strings.Repeat("Dear customer, ", 500)))
	mixed := file("mixed.db", read(t, copied))
	file("mixed.db-wal", read(t, path+"-wal"))
	files := filesIn(t, filepath.Dir(path))
	whole, log := read(t, path), read(t, path+"-wal")
	for name, c := range map[string]struct{ copied, words string }{
		"what is not there":         {filepath.Join(dir, "none.db"), "no such file"},
		"a directory":               {dir, "is no file"},
		"the ledger itself":         {path, "is the ledger itself"},
		"a damaged copy":            {many, "damaged"},
		"a letter":                  {letter, "not a database"},
		"an empty file":             {file("empty.db", nil), "no ledger of notepay"},
		"another program's file":    {other, "no ledger of notepay"},
		"a copy that lacks a byte":  {file("short.db", read(t, copied)[:len(read(t, copied))-1]), "its end is cut off"},
		"a copy with another's log": {mixed, "mixed.db-wal is the log of another ledger"},
		"a newer ledger":            {newer, "999_from_tomorrow"},
		"a ledger in use":           {used, "is in use"},
		"what was still written to": {file("hot.db", read(t, copied)), "hot.db-journal is there"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "what was still written to" {
				file("hot.db-journal", []byte("x"))
			}
			if _, err := Restore(t.Context(), path, c.copied); err == nil || !strings.Contains(err.Error(), c.words) {
				t.Errorf("got %v; want an error of %q", err, c.words)
			}
			now := filesIn(t, filepath.Dir(path))
			if !bytes.Equal(read(t, path), whole) || !bytes.Equal(read(t, path+"-wal"), log) ||
				!slices.Equal(now, files) {
				t.Errorf("the ledger was touched: %q", now)
			}
		})
	}
	if _, err := Restore(t.Context(), "postgres://127.0.0.1/notepay", copied); !errors.Is(err, ErrPostgres) {
		t.Errorf("got %v; want %v", err, ErrPostgres)
	}
	l = open(t, path)
	wantStored(t, l, []string{"cs_one", "cs_two"})
	if _, err := Restore(t.Context(), path, copied); !errors.Is(err, ErrLocked) {
		t.Errorf("while a service holds the ledger: got %v; want ErrLocked", err)
	}
	if runtime.GOOS != "windows" {
		link := filepath.Join(dir, "link.db")
		if err := os.Symlink(path, link); err != nil {
			t.Fatal(err)
		}
		if _, err := Restore(t.Context(), link, copied); !errors.Is(err, ErrLocked) {
			t.Errorf("through a link, while a service holds the ledger: got %v; want ErrLocked", err)
		}
	}
}

// A copy may have a log of its own, which belongs to it.
func TestRestoreIncludesTheCopysLog(t *testing.T) {
	t.Parallel()
	path, _ := restorable(t)
	to := freshSQLite(t)
	if _, err := Restore(t.Context(), to, path); err != nil {
		t.Fatal(err)
	}
	wantStored(t, open(t, to), []string{"cs_one", "cs_two"})
	wantStored(t, open(t, path), []string{"cs_one", "cs_two"})
}

// A restore that fails leaves the ledger unchanged, and later starts do not retry it.
func TestRestoreThatCannotMoveTheLedger(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("names may be longer there")
	}
	_, copied := restorable(t)
	// The suffix makes the earlier ledger's name too long.
	path := filepath.Join(t.TempDir(), strings.Repeat("n", 225)+".db")
	for _, logged := range []bool{false, true} {
		l, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		insert(t, l, testPayment(fmt.Sprint(logged)))
		closeLedger(t, l)
		if logged {
			r := startRemote(t, path)
			r.mustStore("last")
			r.kill()
		}
		files := filesIn(t, filepath.Dir(path))
		if _, err := Restore(t.Context(), path, copied); err == nil ||
			!strings.Contains(err.Error(), "keep the earlier ledger") {
			t.Fatalf("got %v; want it refused", err)
		}
		if now := filesIn(t, filepath.Dir(path)); !slices.Equal(now, files) {
			t.Errorf("it left %q; want %q", now, files)
		}
	}
	l := open(t, path)
	wantStored(t, l, []string{"cs_false", "cs_last", "cs_true"})
	if len(l.Notices()) != 0 {
		t.Errorf("notices %q; want none", l.Notices())
	}
}

// After a power cut at any point of a restore, the next start opens either the earlier ledger or
// the copy.
func TestRestoreAfterAnInterruption(t *testing.T) {
	t.Parallel()
	const ending = ".replaced-then"
	announce := func(t *testing.T, path, copied string) {
		write(t, path+restoring, read(t, copied))
		files, err := lockFiles(path)
		if err != nil {
			t.Fatal(err)
		}
		r := record{State: stateRestoring, Replaced: ending}
		if err := errors.Join(files.write(r), files.release()); err != nil {
			t.Fatal(err)
		}
	}
	move := func(t *testing.T, from, to string) {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		stopAt func(t *testing.T, path, copied string)
		copied bool
	}{
		"before the copy is whole": {func(t *testing.T, path, copied string) {
			write(t, path+restoring, read(t, copied)[:5000])
			write(t, path+restoring+"-wal", []byte("half a log"))
		}, false},
		"before it is announced": {func(t *testing.T, path, copied string) {
			write(t, path+restoring, read(t, copied))
		}, false},
		"once it is announced": {announce, true},
		"behind the old log": {func(t *testing.T, path, copied string) {
			announce(t, path, copied)
			move(t, path+"-wal", path+ending+"-wal")
		}, true},
		"behind the old ledger": {func(t *testing.T, path, copied string) {
			announce(t, path, copied)
			move(t, path+"-wal", path+ending+"-wal")
			move(t, path, path+ending)
		}, true},
		"behind the copy": {func(t *testing.T, path, copied string) {
			announce(t, path, copied)
			move(t, path+"-wal", path+ending+"-wal")
			move(t, path, path+ending)
			move(t, path+restoring, path)
		}, true},
	} {
		for _, by := range []string{"a start", "another restore"} {
			t.Run(name+", then "+by, func(t *testing.T) {
				t.Parallel()
				path, copied := restorable(t)
				c.stopAt(t, path, copied)
				if by == "another restore" {
					if _, err := Restore(t.Context(), path, copied); err != nil {
						t.Fatal(err)
					}
				}
				l := open(t, path)
				if !c.copied && by == "a start" {
					wantStored(t, l, []string{"cs_one", "cs_two"})
					return
				}
				wantStored(t, l, []string{"cs_one"})
				read := inTx(l, (*Tx).RestoredPayments)
				if len(read.got) != 1 {
					t.Errorf("%d payments to be judged; want the copy's", len(read.got))
				}
				if c.copied {
					wantStored(t, open(t, path+ending), []string{"cs_one", "cs_two"})
				}
			})
		}
	}
}

// A restored copy is checked at its first start, because it may have been damaged in transit.
func TestOpenChecksAStampedCopy(t *testing.T) {
	t.Parallel()
	path, copied := freshSQLite(t), freshSQLite(t)
	l := open(t, path)
	for n := range 300 {
		insert(t, l, testPayment(string(rune('a'+n))))
	}
	closeLedger(t, l)
	if err := Backup(t.Context(), path, copied); err != nil {
		t.Fatal(err)
	}
	damage(t, copied)
	if l, err := Open(t.Context(), copied); !isDamage(err) {
		t.Errorf("got %v; want the damage", err)
		if err == nil {
			closeLedger(t, l)
		}
	}
}
