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
		"a lost reply to COMMIT":   {fmt.Errorf("%w: reset", errUnknownOutcome), true},
		"a replica":                {errReadOnly, true},
		"a lease that is lost":     {errLeaseLost, true},
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
