package main

import (
	"database/sql"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// enoughKills is after how many kills the chaos has restored the ledger from a copy of each kind,
// whatever the dice say: each copy is made after at most 6 kills and restored after at most 4 more.
const enoughKills = 20

// rewind is one restore of the ledger: what happened between the copy and the start is forgotten.
// All times are Stripe's.
type rewind struct {
	stamped bool // the copy was made by `notepay backup`; any other does not tell that it is one
	path    string
	copied  time.Time // nothing before is forgotten
	started time.Time // nothing after is forgotten

	known     map[string]bool // sessions that are payments in the copy
	undecided map[string]bool // sessions and intents that the copy is about to send or to look up
	unknown   map[string]bool // sessions that are no payments in the copy; true if they were paid long before the start
	accepted  map[string]bool // of these, the sessions whose event Stripe knows to be accepted
}

// restores makes copies of the ledger in turn by `notepay backup` and in other ways, and restores them.
type restores struct {
	stamped bool    // the kind of the next copy
	next    int     // kills until it is made or, if it is made, restored
	made    *rewind // not restored yet
}

func (c *chaos) newRestores() *restores {
	return &restores{stamped: c.random.under(2) == 0, next: c.random.under(4)}
}

// backUp copies the running ledger by `notepay backup`, if the time has come.
func (c *chaos) backUp() {
	r := c.restores
	if r.made != nil || !r.stamped || r.next > 0 {
		return
	}
	made := &rewind{stamped: true, copied: c.world.stripe.Now(), path: filepath.Join(c.world.TempDir(), "copy.db")}
	if code, out, complaint := c.world.command("backup", made.path); code != 0 {
		c.world.Fatalf("backup: %d, %q, %q", code, out, complaint)
	}
	c.copied(made)
}

// restoreOrCopy does what is due while the service is dead: it copies the ledger's files, or puts a
// copy in the ledger's place. It returns the restore whose start is next, nil if there is none.
func (c *chaos) restoreOrCopy() *rewind {
	r := c.restores
	if r.next > 0 {
		r.next--
		return nil
	}
	if r.made == nil {
		if r.stamped {
			return nil // before the next kill
		}
		made := &rewind{copied: c.world.stripe.Now(), path: filepath.Join(c.world.TempDir(), "copy.db")}
		copyLedger(c.world, c.world.env["DATABASE_URL"], made.path)
		c.copied(made)
		return nil
	}
	made := r.made
	c.putInPlace(made)
	c.forget(made)
	r.made, r.stamped, r.next = nil, !r.stamped, 2+c.random.under(4)
	c.world.rewinds = append(c.world.rewinds, made)
	return made
}

// copied notes what a new copy holds, and when it is to be restored.
func (c *chaos) copied(made *rewind) {
	made.read(c.world)
	c.restores.made, c.restores.next = made, 1+c.random.under(3)
}

// putInPlace puts a copy in the place of the dead ledger: a backup as the README says, any other as
// a snapshot of the whole host does, where nothing is left of the later ledger.
func (c *chaos) putInPlace(made *rewind) {
	w, database := c.world, c.world.env["DATABASE_URL"]
	if made.stamped {
		if code, out, complaint := w.command("restore", made.path); code != 0 {
			w.Fatalf("restore: %d, %q, %q", code, out, complaint)
		}
		return
	}
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		if err := os.Remove(database + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.Fatal(err)
		}
	}
	copyLedger(w, made.path, database)
}

// copyLedger copies a dead ledger: the database and its log.
func copyLedger(w *world, from, to string) {
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

// read learns what a copy knows. It reads a copy of the copy, because SQLite moves the log into the
// database that it opens.
func (r *rewind) read(w *world) {
	path := filepath.Join(w.TempDir(), "read.db")
	copyLedger(w, r.path, path)
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
	r.known = list(`SELECT session_id FROM payments`)
	r.undecided = list(`SELECT session_id FROM payments WHERE machine = 'queued' UNION SELECT id FROM lookups`)
}

// forget notes what a copy does not know that is about to be started.
func (c *chaos) forget(r *rewind) {
	r.started, r.unknown, r.accepted = c.world.stripe.Now(), map[string]bool{}, map[string]bool{}
	for _, e := range c.world.stripe.Events() {
		if e.Type == "checkout.session.completed" && !r.known[e.ObjectID] {
			r.unknown[e.ObjectID] = e.Created.Before(r.started.Add(-clocksAgree))
			r.accepted[e.ObjectID] = e.Acked
		}
	}
}

// started notes what was paid while a restored ledger started. Stripe tries again to deliver some of what was not accepted, because its answers were lost.
func (c *chaos) started(r *rewind) {
	for _, session := range c.world.stripe.Sessions() {
		if _, noted := r.unknown[session.ID]; !noted && !r.known[session.ID] {
			r.unknown[session.ID] = false
		}
	}
	for _, e := range c.world.stripe.Events() {
		if accepted, noted := r.accepted[e.ObjectID]; noted && !accepted && c.random.under(2) == 0 {
			_, _ = c.world.stripe.Send(e.ID) // what is not accepted now is listed
		}
	}
}

// kinds counts the restores of backups and of other copies.
func (w *world) kinds() (backups, plain int) {
	for _, done := range w.rewinds {
		if done.stamped {
			backups++
		} else {
			plain++
		}
	}
	return backups, plain
}

// What is promised after a restore (README, docs/design.md "An older ledger"), of a payment that the
// copy holds and does not take for queued: what is promised of any. The others are adopted, so that
// no credit is sent, no money moves and a person decides:
//
//   - by a backup, each that was paid before its first start and that it does not know, or takes for
//     queued;
//   - by any other copy, those that it does not know and that were handled by the later ledger, as far
//     as Stripe's list of events, Notehub's pending notes, the machine's answers or the money tell.
//
// A plain copy cannot tell that a payment was handled if Stripe's event was never accepted and the
// note was fetched, or if the copy itself holds it as queued or to be looked up. Such a payment
// counts as missed, and its credit may be sent, or its money go back, once more.

// mayAdopt reports whether the ledger may adopt a payment: some restore lets it, or the money was moved
// by hand before the ledger heard of the payment, which counts after any start.
func (i *inspection) mayAdopt(p payment.Payment) bool {
	_, _, back, intent := i.stripe.Money(p.SessionID)
	sold, _ := i.stripe.Session(p.SessionID)
	if back > 0 || sold.Metadata["capture"] == "manual" && intent == "succeeded" {
		return true
	}
	for _, r := range i.rewinds {
		_, unknown := r.unknown[p.SessionID]
		handled := r.stamped || r.accepted[p.SessionID] || len(i.notes[p.ID]) > 0
		if handled && (unknown || r.undecided[p.SessionID] || r.undecided[p.PaymentIntent]) {
			return true
		}
	}
	return false
}

// mustAdopt reports whether the last restore obliges the ledger to adopt a payment.
func (i *inspection) mustAdopt(p payment.Payment) bool {
	if len(i.rewinds) == 0 {
		return false
	}
	last := i.rewinds[len(i.rewinds)-1]
	if last.stamped {
		return last.unknown[p.SessionID]
	}
	if !last.unknown[p.SessionID] || last.undecided[p.SessionID] || last.undecided[p.PaymentIntent] {
		return false
	}
	waited := func(n sandbox.Note) bool {
		listed := n.Posted.Add(listedBy).Before(last.started)
		fetched := n.Fetched && n.FetchedAt.Before(p.CreatedAt.Add(clocksAgree))
		return completed(n) && listed && !fetched && !n.Deleted
	}
	return last.accepted[p.SessionID] || slices.ContainsFunc(i.notes[p.ID], waited)
}

const (
	// listedBy is how long the sandbox's Notehub lists no new note, at most.
	listedBy = 10 * time.Second
	// clocksAgree is by how much the ledger's clock differs from Stripe's, at most. It estimates that
	// from calls that take 1.5 s at most.
	clocksAgree = 3 * time.Second
)

// missed reports whether the ledger had to take a payment for missed that may have been handled. That
// is so in a plain copy without evidence, and of what was paid within seconds of the start, because
// the ledger only estimates Stripe's time.
func (i *inspection) missed(p payment.Payment) bool {
	for _, r := range i.rewinds {
		undecided := r.undecided[p.SessionID] || r.undecided[p.PaymentIntent]
		long, unknown := r.unknown[p.SessionID]
		if unknown && !long || !r.stamped && (unknown && !r.accepted[p.SessionID] || undecided) {
			return true
		}
	}
	return false
}

// forgotten reports whether the ledger that was replaced by a copy did something that the copy does not know.
func (i *inspection) forgotten(e sandbox.Event) bool {
	for _, r := range i.rewinds {
		if !e.Created.Before(r.copied.Truncate(time.Second)) && !e.Created.After(r.started) {
			return true
		}
	}
	return false
}

// inFlightWhenKilled is until when a note may appear that a process posted before it was killed: the
// sandbox delays the effect of a call no longer.
const inFlightWhenKilled = 2 * time.Second

// checkAdoption holds a payment against what is promised of those that a restored ledger does not know.
func (i *inspection) checkAdoption(p payment.Payment) {
	adopted := p.Reason == payment.ReasonAdopted
	switch {
	case !adopted && i.mustAdopt(p):
		i.wrong("payment %s is not adopted by the restore at %v: %+v", p.ID, i.rewinds[len(i.rewinds)-1].started, p)
	case !adopted || len(i.rewinds) == 0:
		return
	case !i.mayAdopt(p):
		i.wrong("payment %s is adopted, and nothing says that it was handled: %+v", p.ID, p)
	case p.ReviewReason == "" && !i.decided(p):
		i.wrong("payment %s is adopted, and nobody is told: %+v", p.ID, p)
	case p.RefundSeq > 0 && !i.decided(p):
		i.wrong("payment %s is adopted, and its money is given back: %+v", p.ID, p)
	}
	last := i.rewinds[len(i.rewinds)-1].started.Add(inFlightWhenKilled)
	for _, n := range i.notes[p.ID] {
		if completed(n) && n.Posted.After(last) {
			i.wrong("payment %s is adopted, and its credit was sent after the restore: %+v", p.ID, n)
		}
	}
}
