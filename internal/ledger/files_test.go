package ledger

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"modernc.org/sqlite"
)

// remoteLedger is the variable that tells the child process of TestRemoteLedger which ledger to
// open.
const remoteLedger = "NOTEPAY_TEST_REMOTE_LEDGER"

// TestRemoteLedger runs in a child process that another test kills. For each input line it stores a
// payment. The line holds the session's name and the length of the device's name.
func TestRemoteLedger(t *testing.T) {
	path := os.Getenv(remoteLedger)
	if path == "" {
		t.Skip("started by other tests")
	}
	l, err := Open(context.Background(), path)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	if err := keepLogTo(l, 1000); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("open")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		name, size, _ := strings.Cut(lines.Text(), " ")
		p := testPayment(name)
		n, _ := strconv.Atoi(size)
		p.DeviceName = strings.Repeat("x", n)
		err := l.Update(context.Background(), func(tx *Tx) error { return second(tx.InsertPayment(p)).err })
		fmt.Println("stored", err)
	}
	os.Exit(0)
}

// remote is a child process that has a ledger open.
type remote struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Scanner
}

func startRemote(t *testing.T, path string) *remote {
	t.Helper()
	r := &remote{t: t, cmd: exec.Command(os.Args[0], "-test.run=^TestRemoteLedger$")}
	r.cmd.Env = append(os.Environ(), remoteLedger+"="+path)
	r.cmd.Stderr = t.Output()
	in, err := r.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.in, r.out = in, bufio.NewScanner(out)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.cmd.Process.Kill(); _ = r.cmd.Wait() })
	if line := r.line(); line != "open" {
		t.Fatalf("the other process says %q", line)
	}
	return r
}

func (r *remote) line() string {
	r.out.Scan()
	return r.out.Text()
}

// store stores a payment through the child process and returns the child's answer.
func (r *remote) store(name string) string {
	fmt.Fprintln(r.in, name)
	return r.line()
}

func (r *remote) mustStore(name string) {
	r.t.Helper()
	if got := r.store(name); got != "stored <nil>" {
		r.t.Fatalf("the other process says %q", got)
	}
}

func (r *remote) kill() {
	r.t.Helper()
	if err := r.cmd.Process.Kill(); err != nil {
		r.t.Fatal(err)
	}
	_ = r.cmd.Wait()
}

// copies returns the ways in which people copy a ledger.
func copies() map[string]func(t *testing.T, from, to string) {
	return map[string]func(t *testing.T, from, to string){
		"notepay backup": func(t *testing.T, from, to string) {
			if err := Backup(t.Context(), from, to); err != nil {
				t.Fatal(err)
			}
		},
		"VACUUM INTO": func(t *testing.T, from, to string) {
			if err := runOn(t.Context(), from, "mode=ro", func(db *sql.DB) error {
				_, err := db.ExecContext(t.Context(), "VACUUM INTO $1", to)
				return err
			}); err != nil {
				t.Fatal(err)
			}
		},
		"SQLite's backup": func(t *testing.T, from, to string) {
			if err := runOn(t.Context(), from, "mode=ro", func(db *sql.DB) error {
				return sqliteBackup(t.Context(), db, to)
			}); err != nil {
				t.Fatal(err)
			}
		},
		"cp": func(t *testing.T, from, to string) { write(t, to, read(t, from)) },
	}
}

// sqliteBackup copies a database page by page, as the sqlite3 shell and Litestream do.
func sqliteBackup(ctx context.Context, db *sql.DB, to string) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(c any) error {
		backup, err := c.(interface {
			NewBackup(string) (*sqlite.Backup, error)
		}).NewBackup("file:" + to)
		if err != nil {
			return err
		}
		for more := true; more; {
			if more, err = backup.Step(-1); err != nil {
				return err
			}
		}
		return backup.Finish()
	})
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// write overwrites a file in place, as cp does.
func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// When a copy replaces a ledger whose log is still there, both copy and log stay unchanged.
func TestOpenRejectsAForeignLog(t *testing.T) {
	t.Parallel()
	places := map[string]func(t *testing.T, copied, path string){
		"moved": func(t *testing.T, copied, path string) {
			if err := os.Rename(copied, path); err != nil {
				t.Fatal(err)
			}
		},
		"written over it": func(t *testing.T, copied, path string) { write(t, path, read(t, copied)) },
		"written after it was removed": func(t *testing.T, copied, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			write(t, path, read(t, copied))
		},
	}
	for how, copyLedger := range copies() {
		for where, place := range places {
			for _, when := range []string{"while it ran", "while it was stopped", "long before"} {
				t.Run(fmt.Sprintf("%s %s, %s", how, when, where), func(t *testing.T) {
					t.Parallel()
					path, copied := freshSQLite(t), filepath.Join(t.TempDir(), "copy.db")
					l := open(t, path)
					insert(t, l, testPayment("one"))
					closeLedger(t, l)
					if when == "while it was stopped" {
						copyLedger(t, path, copied)
					}
					r := startRemote(t, path)
					r.mustStore("two")
					if when != "while it was stopped" {
						copyLedger(t, path, copied)
					}
					if when == "long before" {
						for n := range 60 {
							r.mustStore(fmt.Sprintf("more_%d 100000", n))
						}
					}
					r.mustStore("three")
					r.kill()
					place(t, copied, path)
					placed, log := read(t, path), read(t, path+"-wal")

					refused := func(what string, err error) {
						t.Helper()
						if err == nil || !strings.Contains(err.Error(), path+"-wal is the log of another ledger") {
							t.Errorf("%s: got %v; want the log named", what, err)
						}
					}
					refused("backup", Backup(t.Context(), path, copied+"2"))
					refused("check", CheckWritable(t.Context(), path))
					l, err := Open(t.Context(), path)
					if err == nil {
						closeLedger(t, l)
					}
					refused("start", err)
					if !bytes.Equal(read(t, path), placed) || !bytes.Equal(read(t, path+"-wal"), log) {
						t.Errorf("the copy or the log was changed")
					}

					// The remedy in the error text works.
					if err := os.Rename(path, copied); err != nil {
						t.Fatal(err)
					}
					if _, err := Restore(t.Context(), path, copied); err != nil {
						t.Fatal(err)
					}
					l = open(t, path)
					if _, err := l.Payment(t.Context(), "cs_three"); !errors.Is(err, ErrNotFound) {
						t.Errorf("what the dead ledger's log held: %v; want it not in the copy", err)
					}
					if _, err := l.Payment(t.Context(), "cs_one"); err != nil {
						t.Errorf("what the copy held: %v", err)
					}
					read := inTx(l, (*Tx).RestoredPayments)
					if len(read.got) == 0 {
						t.Errorf("nothing is to be judged; want it known for a copy")
					}
				})
			}
		}
	}
}

// After a kill at any time, even during a checkpoint, the next process starts and has all
// acknowledged updates.
func TestOpenAfterAKill(t *testing.T) {
	t.Parallel()
	path := freshSQLite(t)
	seeded := rand.New(rand.NewPCG(3, 4))
	var stored []string
	for round := range 12 {
		r := startRemote(t, path)
		timer := time.AfterFunc(time.Duration(seeded.IntN(400))*time.Millisecond, func() { _ = r.cmd.Process.Kill() })
		for n := 0; ; n++ {
			name := fmt.Sprintf("%d_%d", round, n)
			if got := r.store(name + " 200000"); got != "stored <nil>" {
				break
			}
			stored = append(stored, "cs_"+name)
		}
		timer.Stop()
		r.kill()
		// A copy of all files in another place has no record of whether the log belongs to it.
		moved := freshSQLite(t)
		for _, suffix := range [][]string{{""}, {"", ".lock"}, {"", "-shm"}, {"", ".lock", "-shm"}}[round%4] {
			write(t, moved+suffix, read(t, path+suffix))
		}
		write(t, moved+"-wal", read(t, path+"-wal"))
		l := open(t, moved)
		for _, session := range stored[max(0, len(stored)-50):] {
			if _, err := l.Payment(t.Context(), session); err != nil {
				t.Fatalf("round %d: %s: %v", round, session, err)
			}
		}
		closeLedger(t, l)
	}
	l := open(t, path)
	for _, session := range stored {
		if _, err := l.Payment(t.Context(), session); err != nil {
			t.Fatalf("%s: %v", session, err)
		}
	}
	if len(l.Notices()) != 0 {
		t.Errorf("notices %q; want none", l.Notices())
	}
	closeLedger(t, l)
	wantNames(t, open(t, path), "SQLite's own check", `PRAGMA integrity_check`, []string{"ok"})
}

// All files may be moved together, and other programs may have the ledger open.
func TestOpenAcceptsTheLedgersOwnLog(t *testing.T) {
	t.Parallel()
	shell := func(t *testing.T, path, statement string) {
		t.Helper()
		if err := runOn(t.Context(), path, "mode=rw", func(db *sql.DB) error {
			_, err := db.ExecContext(t.Context(), statement)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		running, killed func(t *testing.T, path string) string
	}{
		"moved to another directory after two kills": {nil, func(t *testing.T, path string) string {
			r := startRemote(t, path)
			r.mustStore("two")
			r.kill()
			to := filepath.Join(t.TempDir(), "moved.db")
			write(t, to, read(t, path))
			write(t, to+"-wal", read(t, path+"-wal"))
			return to
		}},
		"moved after a start during which another program read from the log": {func(t *testing.T, path string) string {
			return path
		}, func(t *testing.T, path string) string {
			var r *remote
			if err := runOn(t.Context(), path, "mode=ro", func(db *sql.DB) error {
				rows, err := db.QueryContext(t.Context(), "SELECT id FROM payments")
				if err != nil {
					return err
				}
				defer rows.Close()
				rows.Next()
				r = startRemote(t, path)
				r.mustStore("two")
				r.kill()
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			to := filepath.Join(t.TempDir(), "moved.db")
			write(t, to, read(t, path))
			write(t, to+"-wal", read(t, path+"-wal"))
			return to
		}},
		"moved to another directory": {nil, func(t *testing.T, path string) string {
			to := filepath.Join(t.TempDir(), "moved.db")
			for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
				write(t, to+suffix, read(t, path+suffix))
			}
			return to
		}},
		"without the lock file and the log's index": {nil, func(t *testing.T, path string) string {
			to := filepath.Join(t.TempDir(), "moved.db")
			for _, suffix := range []string{"", "-wal"} {
				write(t, to+suffix, read(t, path+suffix))
			}
			return to
		}},
		"of an older version": {nil, func(t *testing.T, path string) string {
			write(t, path+".lock", nil)
			return path
		}},
		"looked at by another program after the end": {nil, func(t *testing.T, path string) string {
			shell(t, path, "SELECT count(*) FROM payments")
			return path
		}},
		"moved into the database by another program": {func(t *testing.T, path string) string {
			shell(t, path, "PRAGMA wal_checkpoint(PASSIVE)")
			return path
		}, nil},
		"begun again by another program": {func(t *testing.T, path string) string {
			shell(t, path, "PRAGMA wal_checkpoint(TRUNCATE)")
			return path
		}, nil},
		"backed up after the end": {nil, func(t *testing.T, path string) string {
			if err := Backup(t.Context(), path, filepath.Join(t.TempDir(), "copy.db")); err != nil {
				t.Fatal(err)
			}
			return path
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := freshSQLite(t)
			r := startRemote(t, path)
			r.mustStore("one")
			if c.running != nil {
				c.running(t, path)
				if name == "begun again by another program" {
					r.mustStore("two")
				}
			}
			r.kill()
			if c.killed != nil {
				path = c.killed(t, path)
			}
			l := open(t, path)
			if _, err := l.Payment(t.Context(), "cs_one"); err != nil {
				t.Error(err)
			}
			if read := inTx(l, (*Tx).RestoredPayments); len(read.got) != 0 {
				t.Errorf("%d payments are quarantined; want none, because it is no copy", len(read.got))
			}
		})
	}
}

// A copy that replaces a stopped ledger is recognized, whichever tool made it.
func TestOpenNoticesACopyPutInPlaceByHand(t *testing.T) {
	t.Parallel()
	for how, copyLedger := range copies() {
		if how == "cp" {
			continue // cp of a running ledger gives a fragment, and cp of a stopped one gives the ledger itself
		}
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			path, copied := freshSQLite(t), filepath.Join(t.TempDir(), "copy.db")
			l := open(t, path)
			insert(t, l, testPayment("one"))
			copyLedger(t, path, copied)
			insert(t, l, testPayment("two"))
			closeLedger(t, l)
			write(t, path, read(t, copied))
			l = open(t, path)
			if read := inTx(l, (*Tx).RestoredPayments); len(read.got) != 1 {
				t.Errorf("%d payments are to be judged (%v); want the one of the copy", len(read.got), read.err)
			}
			notices := strings.Join(l.Notices(), "\n")
			if how != "notepay backup" && strings.Count(notices, "notepay restore COPY") != 1 {
				t.Errorf("notices %q; want what to use instead", notices)
			}
			closeLedger(t, l)
			l = open(t, path)
			if len(l.Notices()) != 0 {
				t.Errorf("at the second start notices %q; want none", l.Notices())
			}
		})
	}
}

func TestOpenRejectsALogWithoutItsDatabase(t *testing.T) {
	t.Parallel()
	path := freshSQLite(t)
	r := startRemote(t, path)
	r.mustStore("one")
	r.kill()
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	log := read(t, path+"-wal")
	if l, err := Open(t.Context(), path); err == nil || !strings.Contains(err.Error(), path+" is missing") {
		if err == nil {
			closeLedger(t, l)
		}
		t.Errorf("got %v; want the missing file named", err)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, path+"-wal"), log) {
		t.Errorf("the log was changed")
	}
	wantStored(t, open(t, path), []string{"cs_one"})
}

func withSQL(t *testing.T, path, statement string) {
	t.Helper()
	if err := runOn(t.Context(), path, "mode=rwc", func(db *sql.DB) error {
		_, err := db.ExecContext(t.Context(), statement)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// Backup programs and people change the times of files. That is not damage, and the next start
// accepts it.
func TestOpenAcceptsATouchedLedger(t *testing.T) {
	t.Parallel()
	path := freshSQLite(t)
	closeLedger(t, open(t, path))
	r := startRemote(t, path)
	for n := range 60 { // several checkpoints run meanwhile
		name := fmt.Sprintf("of_%d", n)
		r.mustStore(name + " 200000")
		at := time.Now().Add(time.Duration(n-30) * time.Hour)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	r.mustStore("last")
	r.kill()
	l := open(t, path)
	for _, session := range []string{"cs_of_0", "cs_of_59", "cs_last"} {
		if _, err := l.Payment(t.Context(), session); err != nil {
			t.Errorf("%s: %v", session, err)
		}
	}
	if len(l.Notices()) != 0 {
		t.Errorf("notices %q; want none", l.Notices())
	}
	closeLedger(t, l)
	wantNames(t, open(t, path), "SQLite's own check", `PRAGMA integrity_check`, []string{"ok"})
}

// A foreign log is rejected even if the ledger's own file is unchanged.
func TestOpenRejectsALogPutBesideALedger(t *testing.T) {
	t.Parallel()
	logged := func(name string) string {
		path := freshSQLite(t)
		l := open(t, path)
		insert(t, l, testPayment(name))
		closeLedger(t, l)
		r := startRemote(t, path)
		r.mustStore(name + "_later")
		r.kill()
		return path
	}
	path, other := logged("ours"), logged("theirs")
	ours := read(t, path+"-wal")
	write(t, path+"-wal", read(t, other+"-wal"))
	l, err := Open(t.Context(), path)
	if err == nil {
		closeLedger(t, l)
	}
	if err == nil || !strings.Contains(err.Error(), path+"-wal is the log of another ledger") {
		t.Errorf("start: %v; want the log named", err)
	}
	write(t, path+"-wal", ours)
	if _, err := open(t, path).Payment(t.Context(), "cs_ours_later"); err != nil {
		t.Error(err)
	}
}

// The remedy in the error text also works after the earlier ledger's file was copied back.
func TestOpenAfterTheEarlierLedgerIsCopiedBack(t *testing.T) {
	t.Parallel()
	path, copied := restorable(t)
	earlier := read(t, path)
	write(t, path, read(t, copied))
	hint := "delete " + filepath.Base(path) + ".lock"
	if _, err := Open(t.Context(), path); err == nil || !strings.Contains(err.Error(), hint) {
		t.Fatalf("start: %v; want it refused, and what to do", err)
	}
	if err := os.Remove(path + ".lock"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), path); err == nil || !strings.Contains(err.Error(), "the log of another ledger") {
		t.Fatalf("start of the copy without the lock file: %v; want it refused", err)
	}
	write(t, path, earlier)
	_ = os.Remove(path + ".lock")
	wantStored(t, open(t, path), []string{"cs_one", "cs_two"})
}
