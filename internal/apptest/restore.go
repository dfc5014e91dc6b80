package apptest

import (
	"database/sql"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"notepay/internal/fixture"
	"notepay/internal/ledger"
)

// Rewind is one restore of the ledger from an older copy. The ledger forgets what happened between
// the copy and the start. All times are Stripe's.
type Rewind struct {
	Stamped bool // made by `notepay backup`; no other copy is marked as one
	Path    string
	Copied  time.Time // nothing before is forgotten
	Started time.Time // nothing after is forgotten
	Ready   time.Time // when the service had started

	Known     map[string]bool // sessions that are payments in the copy
	undecided map[string]bool // sessions and intents that the copy is about to send or to look up
	Unknown   map[string]bool // sessions that are no payments in the copy; true if they were paid long before the start
	Accepted  map[string]bool // of these, the sessions whose event Stripe knows to be accepted
}

// CopyLedger copies the database and the log of a stopped service.
func CopyLedger(w *World, from, to string) {
	w.Helper()
	for _, suffix := range []string{"", "-wal"} {
		content, err := os.ReadFile(from + suffix)
		if suffix != "" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(to+suffix, content, 0o600)
		}
		if err != nil {
			w.Fatal(err)
		}
	}
}

// Read reads what a copy knows. It reads a copy of the copy, because SQLite moves the log into the
// database that it opens.
func (r *Rewind) Read(w *World) {
	path := filepath.Join(w.TempDir(), "read.db")
	CopyLedger(w, r.Path, path)
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?mode=rw")
	if err != nil {
		w.Fatal(err)
	}
	defer db.Close()
	list := func(query string) map[string]bool {
		rows, err := db.QueryContext(w.Context(), query)
		if err != nil {
			w.Fatal(err)
		}
		defer rows.Close()
		ids := map[string]bool{}
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				w.Fatal(err)
			}
			ids[id] = true
		}
		if err := rows.Err(); err != nil {
			w.Fatal(err)
		}
		return ids
	}
	r.Known = list(`SELECT session_id FROM payments`)
	r.undecided = list(`SELECT session_id FROM payments WHERE machine = 'queued' UNION SELECT id FROM lookups`)
}

// Kinds counts the restores from backups and from other copies.
func (w *World) Kinds() (backups, plain int) {
	for _, done := range w.Rewinds {
		if done.Stamped {
			backups++
		} else {
			plain++
		}
	}
	return backups, plain
}

const (
	// maxListingDelay is the longest time after which the sandbox's Notehub lists a new note.
	maxListingDelay = 10 * time.Second
	// ClocksAgree is the largest difference between the ledger's estimate of Stripe's time and
	// Stripe's time. The estimate comes from calls that take at most 1.5 s.
	ClocksAgree = 3 * time.Second
)

// inFlightWhenKilled is how long after a kill a posted note may still appear. The sandbox delays
// the effect of a call no longer.
const inFlightWhenKilled = 2 * time.Second

// PlainCopy copies a ledger in use without `notepay backup`, so that the copy is not stamped.
func PlainCopy(t *testing.T, from, to string) {
	t.Helper()
	path, err := filepath.Abs(from)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?mode=rw&_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), `VACUUM INTO $1`, to); err != nil {
		t.Fatal(err)
	}
}

// Copied makes a plain copy of the ledger. The returned function starts the service on the copy, as
// a snapshot of the whole host would.
func (f *Front) Copied() (restore func()) {
	f.Helper()
	copied := filepath.Join(f.TempDir(), "copy.db")
	PlainCopy(f.T, f.Path, copied)
	return f.starting(copied)
}

// BackedUp makes a copy as `notepay backup` does. The returned function starts the service on it.
func (f *Front) BackedUp() (restore func()) {
	f.Helper()
	copied := filepath.Join(f.TempDir(), "backup.db")
	if err := ledger.Backup(f.Context(), f.Path, copied); err != nil {
		f.Fatal(err)
	}
	return f.starting(copied)
}

// starting returns a function that starts the service on a copy of the ledger.
func (f *Front) starting(copied string) func() {
	return func() {
		f.Stop()
		f.CloseLedger()
		f.Path = copied
		f.Open()
		f.Run()
	}
}

// HandlerOfOthers makes Stripe send its events to another endpoint, which accepts them all.
func (f *Front) HandlerOfOthers() {
	ours := f.Handler
	f.Stripe.SetEndpoint("http://others.test/hook", fixture.TestSecret)
	f.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/hook") {
			ours.ServeHTTP(w, r)
		}
	})
}
