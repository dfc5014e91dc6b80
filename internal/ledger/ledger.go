// Package ledger stores payments, attempts, Stripe's events, confirmations, devices and links in
// SQLite or PostgreSQL. It is also the work queue: each payment's row holds the payment's next step
// and when that step is due.
//
// When Update returns nil, the change is on disk and survives a power cut. The schema allows one
// payment for each Checkout Session and for each PaymentIntent, and it rejects rows in impossible
// states.
//
// The package does not know what the states mean or which transition is allowed. That is package
// payment's part. A disk that lies about syncing, or a network file system, breaks the promise.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	_ "modernc.org/sqlite"

	"notepay/internal/dsn"
	"notepay/internal/vendortime"
)

// ErrLocked is returned by Open when another process works on this ledger.
var ErrLocked = errors.New("another notepay is running on this ledger")

// ErrNotFound is returned when the ledger holds no such row.
var ErrNotFound = errors.New("not in the ledger")

// ErrNewer is returned by Open when a newer version has changed the schema in ways that this
// version does not know.
var ErrNewer = errors.New("the ledger is of a newer notepay")

// ErrClosed is returned by Update after Close.
var ErrClosed = errors.New("the ledger is closed")

// Ledger is an open ledger. It is safe for concurrent use.
type Ledger struct {
	reads  readPool
	writer writer
	writes *writeLog
	unlock func() error
	birth
	path string        // path of the SQLite file, with symbolic links resolved; "" for PostgreSQL
	lost chan struct{} // see Lost; nil for SQLite, whose lock is held by the kernel

	instance  *instance    // nil for SQLite
	condition *condition   // nil for PostgreSQL
	files     *ledgerFiles // nil for PostgreSQL
	unchecked bool         // see Watch
	notices   []string
}

// writer runs transactions. Many updates share one.
type writer interface {
	update(ctx context.Context, u *update) error
	// stop rejects new transactions and waits for the running ones.
	stop()
	// close closes the connections. The caller has called stop.
	close() error
}

// Open opens the ledger at a SQLite file path or a postgres:// URL. It creates a missing file,
// migrates the schema, and locks the ledger against a second process. It returns ErrLocked if
// another process has the lock. The ledger uses the host's clock.
func Open(ctx context.Context, database string) (*Ledger, error) { return OpenBy(ctx, database, nil) }

// OpenBy opens a ledger that uses Stripe's time. A new ledger has no birth until clock is known.
// See Settle.
func OpenBy(ctx context.Context, database string, clock *vendortime.Clock) (*Ledger, error) {
	return OpenAs(ctx, database, Identity{}, clock)
}

// OpenAs is OpenBy for one of several instances that share a PostgreSQL database. SQLite has one
// instance.
func OpenAs(ctx context.Context, database string, identity Identity, clock *vendortime.Clock) (*Ledger, error) {
	return Opening{Identity: identity, Clock: clock}.Open(ctx, database)
}

// Opening says how to open a ledger. Its zero value opens it as Open does.
type Opening struct {
	Identity Identity          // see OpenAs
	Clock    *vendortime.Clock // see OpenBy
	// Waiting is called with the reason while Open waits for other instances. nil: nothing.
	Waiting func(why string)

	schema schema // of this program; another one in tests
}

// Open opens a ledger like OpenAs. It may wait for instances of an older version, until ctx ends.
func (o Opening) Open(ctx context.Context, database string) (l *Ledger, err error) {
	opened, kept, clock := time.Now(), "", o.Clock
	if o.schema == nil {
		if o.schema, err = programSchema(); err != nil {
			return nil, err
		}
	}
	o.Identity.level = o.schema.level()
	if dsn.IsPostgres(database) {
		l, err = o.openPostgres(ctx, database)
	} else if kept, err = keepBeforeMigration(ctx, database, o.schema); err == nil {
		l, err = o.openSQLite(ctx, database)
	}
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	if kept != "" {
		l.notices = append(l.notices, "the schema was changed for this version of notepay; "+
			"the ledger before it is kept as "+kept)
	}
	l.opened, l.clock = opened, clock
	err = l.Update(ctx, func(tx *Tx) error {
		if l.instance == nil || l.instance.alone {
			if err := tx.recover(); err != nil {
				return err
			}
		}
		if l.instance != nil {
			if err := tx.run(`UPDATE instances SET ready = 1 WHERE id = $1`, l.instance.id); err != nil {
				return err
			}
			// What is read from now on includes all changes up to this one.
			last, err := tx.lastChange()
			if err != nil {
				return err
			}
			l.instance.followed = last
		}
		born, err := tx.storedBirth()
		l.born.Store(born)
		return err
	})
	if err == nil && clock.Known() {
		err = l.Settle(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open ledger: %w", err), l.Close())
	}
	if l.instance != nil {
		l.instance.mayLead()
	}
	return l, nil
}

// recover marks the claims of processes that have ended. The caller knows that no other process works
// on the ledger. Their calls may still be running at the vendor, so the leases stay. An orphaned
// lease does not block other payments of the device.
func (tx *Tx) recover() error {
	const orphan = `UPDATE payments SET rev = rev + 1, in_flight = ` + leaseOrphaned + `
		WHERE in_flight = ` + leaseHeld
	return errOnly(tx.exec(orphan))
}

// Update runs fn in a transaction and returns nil once the transaction is durable.
//
// fn does no I/O except through tx. It may run more than once, because waiting updates share one
// commit. If one of them fails, the others run again, at last in transactions of their own. An error of fn
// rolls back the changes of fn, and Update returns it unchanged. After any other error, the caller
// cannot know whether the change is on disk.
//
// Canceling ctx has an effect only until the transaction begins. Update takes at most
// updateTimeout, and up to loneTimeout more if it shares a slow commit on PostgreSQL.
func (l *Ledger) Update(ctx context.Context, fn func(*Tx) error) error {
	return l.run(ctx, newUpdate(fn, false))
}

// UpdatePatiently is Update for a change whose caller can wait. It may wait up to MaxPatience for
// another update, to share its commit.
func (l *Ledger) UpdatePatiently(ctx context.Context, fn func(*Tx) error) error {
	return l.run(ctx, newUpdate(fn, true))
}

func (l *Ledger) run(ctx context.Context, u *update) error {
	ctx, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	began := time.Now()
	err := l.writer.update(ctx, u)
	l.writes.add(began, err)
	return err
}

// Lost returns a channel that is closed when the lock on the ledger is lost for good. Another
// process may then work on the ledger. All later updates fail.
func (l *Ledger) Lost() <-chan struct{} { return l.lost }

// Probe writes a row to check whether payments can be recorded.
func (l *Ledger) Probe(ctx context.Context) error {
	return l.Update(ctx, func(tx *Tx) error { return tx.SetMeta("probe", tx.Now) })
}

// Close waits for running transactions and releases the lock. It closes the readers before the
// writer, because the last connection to a SQLite file moves the log into the file and removes the
// log. A read-only connection cannot do that.
func (l *Ledger) Close() error {
	l.writer.stop()
	return errors.Join(l.reads.Close(), l.writer.close(), l.unlock())
}

// Notices returns what the operator should know about the state in which Open found the ledger.
func (l *Ledger) Notices() []string { return l.notices }
