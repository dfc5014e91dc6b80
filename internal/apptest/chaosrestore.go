package apptest

import (
	"database/sql"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// Rewind is one restore of the ledger: what happened between the copy and the start is forgotten.
// All times are Stripe's.
type Rewind struct {
	Stamped bool // the copy was made by `notepay backup`; any other does not tell that it is one
	Path    string
	Copied  time.Time // nothing before is forgotten
	Started time.Time // nothing after is forgotten

	Known     map[string]bool // sessions that are payments in the copy
	undecided map[string]bool // sessions and intents that the copy is about to send or to look up
	Unknown   map[string]bool // sessions that are no payments in the copy; true if they were paid long before the start
	Accepted  map[string]bool // of these, the sessions whose event Stripe knows to be accepted
}

// CopyLedger copies a dead ledger: the database and its log.
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

// Read learns what a copy knows. It reads a copy of the copy, because SQLite moves the log into the
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

// Kinds counts the restores of backups and of other copies.
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
	// listedBy is how long the sandbox's Notehub lists no new note, at most.
	listedBy = 10 * time.Second
	// ClocksAgree is by how much the ledger's clock differs from Stripe's, at most. It estimates
	// that from calls that take 1.5 s at most.
	ClocksAgree = 3 * time.Second
)

// inFlightWhenKilled is until when a note may appear that a process posted before it was killed:
// the sandbox delays the effect of a call no longer.
const inFlightWhenKilled = 2 * time.Second
