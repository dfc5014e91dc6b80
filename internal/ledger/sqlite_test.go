package ledger

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"modernc.org/sqlite"
)

// A test cannot cut the power. It can check that every connection syncs.
func TestConnectionsAreDurable(t *testing.T) {
	t.Parallel()
	l := open(t, freshSQLite(t))
	want := map[string]string{"synchronous": "2", "journal_mode": "wal", "foreign_keys": "1", "busy_timeout": "5000"}
	check := func(t *testing.T, query func(query string) (resultRows, error)) {
		t.Helper()
		for setting, want := range want {
			rows, err := query("PRAGMA " + setting)
			got, err := one(rows, err, func(s scanner) (value string, err error) { return value, s.Scan(&value) })
			if err != nil || got != want {
				t.Errorf("%s is %q, %v; want %s", setting, got, err, want)
			}
		}
	}
	t.Run("the writer's", func(t *testing.T) {
		if got := l.writer.(*sharedWriter).db.Stats().MaxOpenConnections; got != 1 {
			t.Errorf("the writer may open %d connections; want 1", got)
		}
		mustUpdate(t, l, func(tx *Tx) error {
			check(t, func(query string) (resultRows, error) { return tx.db.query(query) })
			return nil
		})
	})
	t.Run("the readers', all open at once", func(t *testing.T) {
		if got := l.reads.Stats().MaxOpenConnections; got != maxReaders {
			t.Errorf("the readers may open %d connections; want %d", got, maxReaders)
		}
		for range maxReaders {
			conn, err := l.reads.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			check(t, func(query string) (resultRows, error) { return conn.QueryContext(t.Context(), query) })
			if _, err := conn.ExecContext(t.Context(), `DELETE FROM facts`); !isSQLite(err, sqliteReadOnly) {
				t.Errorf("a reader's DELETE: got %v; want it refused", err)
			}
		}
	})
}

// SQLite's result codes (sqlite.org/rescode.html).
const (
	sqliteReadOnly = 8
	sqliteNotADB   = 26
)

func isSQLite(err error, code int) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && e.Code()&0xff == code
}

func TestOpenTakesAnyPath(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"notepay.db", "with space.db", "what?.db", "mode=ro?mode=memory&x.db", "a#b.db", "100%.db", "%41%zz.db",
		"a+b;c=d,e.db", "wäsche 洗濯.db", ":memory:", "file:x.db",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, name)
			l := open(t, path)
			insert(t, l, testPayment("one"))
			wantStored(t, l, []string{"cs_one"})
			closeLedger(t, l)
			// The log is gone, so a copy of the file of a closed ledger is complete.
			if got, want := filesIn(t, dir), []string{name, name + ".lock"}; !slices.Equal(got, want) {
				t.Errorf("files after Close: %q; want %q", got, want)
			}
			wantStored(t, open(t, path), []string{"cs_one"})
		})
	}
}

func filesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestOpenTakesARelativePath(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, path := range []string{"notepay.db", "./-.db", ":memory:", "file::memory:"} {
		l := open(t, path)
		insert(t, l, testPayment("one"))
		t.Chdir(t.TempDir()) // a reader that opens only now must find the same file
		wantStored(t, l, []string{"cs_one"})
		closeLedger(t, l)
		t.Chdir(dir)
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	if l, err := Open(t.Context(), ""); err == nil {
		_ = l.Close()
		t.Errorf("a ledger without a path was opened; want an error")
	}
}

func TestOpenRejectsAnotherFile(t *testing.T) {
	t.Parallel()
	path := freshSQLite(t)
	text := strings.Repeat("this is somebody's letter\n", 100)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), path); !isSQLite(err, sqliteNotADB) {
		t.Errorf("got %v; want SQLite's word that this is no database", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != text {
		t.Errorf("the file was changed (%v)", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	open(t, path) // the lock was released
}

func TestUpdateOfAFullDatabase(t *testing.T) {
	t.Parallel()
	path := freshSQLite(t)
	l := open(t, path)
	insert(t, l, testPayment("before"))
	limit := func(pages string) {
		mustUpdate(t, l, func(tx *Tx) error {
			rows, err := tx.db.query("PRAGMA max_page_count = " + pages)
			_, err = all(rows, err, func(s scanner) (n int64, err error) { return n, s.Scan(&n) })
			return err
		})
	}
	big := testPayment("big")
	big.DeviceName = strings.Repeat("x", 1<<20)
	store := func(tx *Tx) error {
		if err := tx.SetMeta("half", tx.Now); err != nil {
			return err
		}
		_, err := tx.InsertPayment(big)
		return err
	}

	limit("1") // below the current count, so no page may be added
	for range 3 {
		if err := l.Update(t.Context(), store); !isSQLite(err, sqliteFull) {
			t.Errorf("on a full disk: got %v; want SQLite's word that it is full", err)
		}
	}
	wantNoFact(t, l, "half")
	limit("1000000")
	mustUpdate(t, l, store)
	closeLedger(t, l)
	wantStored(t, open(t, path), []string{"cs_before", "cs_big"})
}

// A COMMIT that fails because of a constraint leaves the transaction open, unlike one that fails
// because of the disk.
func TestRejectedCommitLeavesNoTransactionOpen(t *testing.T) {
	t.Parallel()
	l := open(t, freshSQLite(t))
	err := l.Update(t.Context(), func(tx *Tx) error {
		_, err := tx.exec("PRAGMA defer_foreign_keys = 1") // until COMMIT
		return errors.Join(
			err,
			tx.SetMeta("half", tx.Now),
			second(tx.exec(`INSERT INTO attempts (n, seq, at, action, outcome, status, detail, took_ms)
				VALUES (999, 0, 0, 'note', 'ok', 0, '', 0)`)).err,
		)
	})
	if constraint(err) != "foreign key" || !strings.Contains(err.Error(), "commit") {
		t.Errorf("got %v; want COMMIT refused for the foreign key", err)
	}
	wantNoFact(t, l, "half")
	mustUpdate(t, l, func(tx *Tx) error { return tx.SetMeta("afterwards", tx.Now) })
}

func TestOpenNeedsItsContext(t *testing.T) {
	t.Parallel()
	path := freshSQLite(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ended, path); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v; want %v", err, context.Canceled)
	}
	open(t, path)
}

// Many users give the directory of a volume.
func TestOpenRefusesADirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := Open(t.Context(), dir)
	if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "notepay.db")) {
		t.Errorf("Open = %v, %v; want an error that names a file to give", l, err)
	}
	if _, err := os.Stat(dir + ".lock"); err == nil {
		t.Error("it left a lock beside the directory")
	}
}

// A wrong path must not add tables to another program's database.
func TestOpenRefusesAnotherProgramsDatabase(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tables string
		want   string
	}{
		"another program's": {"CREATE TABLE orders (id INTEGER)", `another program, with a table "orders"`},
		"one with the name of ours": {
			"CREATE TABLE payments (id INTEGER)", `another program, with a table "payments"`,
		},
		"Litestream's alone": {"CREATE TABLE _litestream_seq (id INTEGER)", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "notepay.db")
			err := runOn(t.Context(), path, "mode=rwc", func(db *sql.DB) error {
				_, err := db.ExecContext(t.Context(), c.tables)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			l, err := Open(t.Context(), path)
			if err == nil {
				err = errors.Join(l.Close(), err)
			}
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v; want %q", err, c.want)
			}
			tables := 0
			err = runOn(t.Context(), path, "mode=ro", func(db *sql.DB) error {
				return db.QueryRowContext(t.Context(), `SELECT count(*) FROM sqlite_schema`).Scan(&tables)
			})
			if err != nil || c.want != "" && tables != 1 {
				t.Errorf("%d tables, %v; want nothing added", tables, err)
			}
		})
	}
}
