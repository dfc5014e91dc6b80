package process

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"notepay/internal/apptest"
)

// enoughKills is the number of kills after which the ledger was restored from a copy of each kind.
// The first copy is made after at most 4 kills, the next at most 12 after a restore. Each is restored
// after at most 4 more.
const enoughKills = 30

// restores makes copies of the ledger, by `notepay backup` and plainly in turns, and restores them.
type restores struct {
	stamped bool            // the kind of the next copy
	next    int             // kills until the copy is made or, once it is made, restored
	made    *apptest.Rewind // not restored yet
}

func (c *chaos) newRestores() *restores {
	return &restores{stamped: c.random.under(2) == 0, next: c.random.under(4)}
}

// backUp copies the running ledger by `notepay backup` if a backup is due.
func (c *chaos) backUp() {
	r := c.restores
	if r.made != nil || !r.stamped || r.next > 0 {
		return
	}
	made := &apptest.Rewind{
		Stamped: true,
		Copied:  c.world.Stripe.Now(),
		Path:    filepath.Join(c.world.TempDir(), "copy.db"),
	}
	if code, out, complaint := c.world.Command("backup", made.Path); code != 0 {
		c.world.Fatalf("backup: %d, %q, %q", code, out, complaint)
	}
	c.copied(made)
}

// restoreOrCopy copies the ledger's files or restores a copy, if one of them is due. The service
// must not run; it was killed after the given time. restoreOrCopy returns the restore that the next
// start uses, nil if there is none.
func (c *chaos) restoreOrCopy(killed time.Time) *apptest.Rewind {
	r := c.restores
	if r.next > 0 {
		r.next--
		return nil
	}
	if r.made == nil {
		if r.stamped {
			return nil // before the next kill
		}
		made := &apptest.Rewind{Copied: killed, Path: filepath.Join(c.world.TempDir(), "copy.db")}
		apptest.CopyLedger(c.world, c.world.Env["DATABASE_URL"], made.Path)
		c.copied(made)
		return nil
	}
	made := r.made
	c.putInPlace(made)
	c.forget(made)
	// After a restore, an operator decides on whatever was under way. The pause before the next copy
	// leaves the machines time for payments that end by themselves.
	r.made, r.stamped, r.next = nil, !r.stamped, 6+c.random.under(6)
	c.world.Rewinds = append(c.world.Rewinds, made)
	return made
}

// copied records what a new copy holds and when to restore it.
func (c *chaos) copied(made *apptest.Rewind) {
	made.Read(c.world)
	c.restores.made, c.restores.next = made, 1+c.random.under(3)
}

// putInPlace replaces the dead ledger by a copy. A backup is restored as the README says. A plain
// copy is restored like a snapshot of the whole host, so that nothing is left of the later ledger.
func (c *chaos) putInPlace(made *apptest.Rewind) {
	w, database := c.world, c.world.Env["DATABASE_URL"]
	if made.Stamped {
		if code, out, complaint := w.Command("restore", made.Path); code != 0 {
			w.Fatalf("restore: %d, %q, %q", code, out, complaint)
		}
		return
	}
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		if err := os.Remove(database + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.Fatal(err)
		}
	}
	apptest.CopyLedger(w, made.Path, database)
}

// forget records what the next copy does not know.
func (c *chaos) forget(r *apptest.Rewind) {
	// A reply of the killed process may still be on its way, and Stripe counts its event as accepted.
	for c.world.Stripe.Posting() > 0 {
		rest(c.world.Context(), time.Millisecond)
	}
	r.Started, r.Unknown, r.Accepted = c.world.Stripe.Now(), map[string]bool{}, map[string]bool{}
	for _, e := range c.world.Stripe.Events() {
		if e.Type == "checkout.session.completed" && !r.Known[e.ObjectID] {
			r.Unknown[e.ObjectID] = e.Created.Before(r.Started.Add(-apptest.ClocksAgree))
			r.Accepted[e.ObjectID] = e.Acked
		}
	}
}

// started records what was paid while a restored ledger started. Stripe retries some events whose
// replies were lost.
func (c *chaos) started(r *apptest.Rewind) {
	r.Ready = c.world.Stripe.Now()
	for _, session := range c.world.Stripe.Sessions() {
		if _, noted := r.Unknown[session.ID]; !noted && !r.Known[session.ID] {
			r.Unknown[session.ID] = false
		}
	}
	for _, e := range c.world.Stripe.Events() {
		if accepted, noted := r.Accepted[e.ObjectID]; noted && !accepted && c.random.under(2) == 0 {
			_, _ = c.world.Stripe.Send(e.ID) // notepay reads the rest from Stripe's list
		}
	}
}
