package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestSpaceFloor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		space Space
		floor uint64
		tight bool
	}{
		{Space{Free: 1 << 40, Total: 1 << 40}, 16 << 20, false},
		{Space{Free: 255 << 20, Total: 1 << 40}, 16 << 20, true},
		{Space{Free: 300 << 20, Total: 320 << 20}, 16 << 20, false},
		{Space{Free: 2 << 20, Total: 4 << 20}, 4 << 20 / 20, false},
		{Space{Free: 700 << 10, Total: 4 << 20}, 4 << 20 / 20, true},
	} {
		if c.space.Floor() != c.floor || c.space.Tight() != c.tight {
			t.Errorf("%+v: floor %d, tight %v; want %d, %v",
				c.space, c.space.Floor(), c.space.Tight(), c.floor, c.tight)
		}
	}
}

// testFailures checks that only a failure of the disk or the database counts as a storage failure.
func testFailures(t *testing.T, database string) {
	l := open(t, database)
	failed := func() error {
		select {
		case f := <-l.Failures():
			return f.Err
		default:
			return nil
		}
	}
	insert(t, l, testPayment("one"))
	before := l.LastWrite()
	if before.IsZero() || time.Since(before) > time.Minute {
		t.Errorf("the last write was at %v; want now", before)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	domain := errors.New("not allowed")
	for name, update := range map[string]func() error{
		"an error of the caller":  func() error { return l.Update(t.Context(), func(*Tx) error { return domain }) },
		"a caller that went away": func() error { return l.Update(canceled, func(*Tx) error { return nil }) },
		"a row that is refused": func() error {
			return l.Update(t.Context(), func(tx *Tx) error {
				_, err := tx.exec(`INSERT INTO cursors (name, value) VALUES (NULL, NULL)`)
				return err
			})
		},
	} {
		if err := update(); err == nil {
			t.Errorf("%s: no error", name)
		}
		if err := failed(); err != nil {
			t.Errorf("%s counts as a failure of the storage: %v", name, err)
		}
	}
	if at := l.LastWrite(); !at.Equal(before) {
		t.Errorf("the last write was at %v; want %v, for all since have failed", at, before)
	}
	for range 3 {
		if err := errors.Join(l.ProbeRoom(t.Context()), l.Probe(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	wantNames(t, l, "rows of the probes", `SELECT name FROM facts WHERE name LIKE 'probe%'`, []string{"probe"})
}

func TestIsStorageFailure(t *testing.T) {
	t.Parallel()
	server := func(code string) error { return fmt.Errorf("commit: %w", &pgconn.PgError{Code: code}) }
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"a full disk":              {server("53100"), true},
		"a read-only transaction":  {server("25006"), true},
		"a server that stops":      {server("57P01"), true},
		"a missing privilege":      {server("42501"), true},
		"a row twice":              {server("23505"), false},
		"no order":                 {server("40001"), false},
		"a zero byte":              {server("22021"), false},
		"a wrong statement":        {server("42601"), false},
		"a connection that broke":  {fmt.Errorf("begin: %w", &net.OpError{Op: "read", Err: errors.New("reset")}), true},
		"a connection that ended":  {fmt.Errorf("begin: %w", sql.ErrConnDone), true},
		"a database without reply": {fmt.Errorf("begin: %w", context.DeadlineExceeded), true},
		"a lock without reply":     {errLockUnknown, true},
		"a lock that is lost":      {errLockLost, true},
		"a caller that went away":  {context.Canceled, false},
		"a ledger that is closed":  {ErrClosed, false},
		"what is not there":        {ErrNotFound, false},
	} {
		if got := isStorageFailure(c.err); got != c.want {
			t.Errorf("%s: %v; want %v", name, got, c.want)
		}
	}
}

func TestCauseQuotesNothing(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		errors.New("hunter2"),
		&pgconn.PgError{Code: "53100", Message: "hunter2"},
		fmt.Errorf("hunter2: %w", context.DeadlineExceeded),
	} {
		if text := Cause(err); text == "" || strings.Contains(text, "hunter2") {
			t.Errorf("Cause(%v) = %q", err, text)
		}
	}
}

// While a reader is open, SQLite cannot restart the log. After the reader has ended, the log
// shrinks.
func TestLogShrinksAfterALongRead(t *testing.T) {
	t.Parallel()
	path := freshSQLite(t)
	l := open(t, path)
	reader, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	reading, err := reader.Begin()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := reading.QueryRow(`SELECT count(*) FROM payments`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	store := func(name string) {
		p := testPayment(name)
		p.DeviceName = strings.Repeat("x", 1<<20)
		insert(t, l, p)
	}
	for n := range 24 {
		store(fmt.Sprint(n))
	}
	if size := l.LogSize(); size < 20<<20 {
		t.Fatalf("the log has %d bytes while a reader is open; want it to grow", size)
	}
	if err := reading.Rollback(); err != nil {
		t.Fatal(err)
	}
	for n := range 3 { // one update moves the log into the file, and the next restarts the log
		store(fmt.Sprint("after ", n))
	}
	if size := l.LogSize(); size > 17<<20 {
		t.Errorf("the log still has %d bytes after the reader has ended; want at most 16 MiB", size)
	}
}
