// Package ledger keeps what was paid, sent, answered and given back, and it is the work queue: each
// payment's row says what is next for it and when.
//
// It promises that what Update returned nil for is on disk and survives a power cut, that a payment
// exists once (by session and by payment intent), and that no row is in a state that the schema
// does not allow. It does not know what the states mean or which follows which (that is the
// bridge's), and it cannot promise more than the disk does: a disk that lies about syncing, or a
// network file system, breaks it.
package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	_ "modernc.org/sqlite"

	"notepay/internal/dsn"
	"notepay/internal/vendortime"
)

// ErrLocked is returned by Open when another process works on this ledger.
var ErrLocked = errors.New("another notepay is running on this ledger")

// ErrNotFound is returned for what is not in the ledger.
var ErrNotFound = errors.New("not in the ledger")

// ErrNewer is returned by Open for a ledger that a newer version has changed in ways that this one
// does not know.
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
	path string        // of the SQLite file, with symbolic links resolved; "" for PostgreSQL
	lost chan struct{} // see Lost; nil for SQLite, whose lock the kernel keeps

	condition *condition   // nil for PostgreSQL
	files     *ledgerFiles // nil for PostgreSQL
	unchecked bool         // see Watch
	notices   []string
}

// writer runs transactions: one for many on SQLite, one for each on PostgreSQL.
type writer interface {
	update(ctx context.Context, fn func(*Tx) error) error
	// stop refuses new transactions and waits for those under way.
	stop()
	// close gives the connections back. It follows stop.
	close() error
}

// Open opens the ledger at a SQLite file path or a postgres:// URL, brings its schema up to date,
// and locks it against a second process (ErrLocked). The file is made if it is not there. It works
// by the host's clock.
func Open(ctx context.Context, database string) (*Ledger, error) { return OpenBy(ctx, database, nil) }

// OpenBy opens a ledger that works by Stripe's time. Until that is known, a new ledger has no
// birth; see Settle.
func OpenBy(ctx context.Context, database string, clock *vendortime.Clock) (*Ledger, error) {
	opened, open := time.Now(), openSQLite
	if IsPostgres(database) {
		open = openPostgres
	}
	l, err := open(ctx, database, clock)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	l.opened, l.clock = opened, clock
	err = l.Update(ctx, func(tx *Tx) error {
		// The lock is ours, so whoever claimed these is gone. Their calls may still be under way at
		// the vendor: the leases hold. But they are no workers of ours, and hold up nothing else of
		// their devices.
		if _, err := tx.exec(`UPDATE payments SET in_flight = ` + leaseOrphaned + ` WHERE in_flight = ` + leaseHeld); err != nil {
			return err
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
	return l, nil
}

// IsPostgres says whether a DATABASE_URL means PostgreSQL and not a SQLite file.
func IsPostgres(database string) bool {
	return dsn.IsPostgres(database)
}

// Update runs fn in a transaction and returns nil once it is durable. fn does no I/O but through
// tx, and may be run more than once: those that wait together share a commit, and if one of them
// fails each is run again by itself. An error of fn rolls its changes back and is returned as it
// is; any other error means that it is not known whether the change is on disk. Cancelling ctx
// helps only while the transaction has not begun. It waits at most updateTimeout.
func (l *Ledger) Update(ctx context.Context, fn func(*Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	began := time.Now()
	err := l.writer.update(ctx, fn)
	l.writes.add(began, err)
	return err
}

// Lost is closed when the lock on the ledger was lost for good: another process may work on it now.
// Updates fail from then on.
func (l *Ledger) Lost() <-chan struct{} { return l.lost }

// Probe writes a row, to find out whether payments can be recorded.
func (l *Ledger) Probe(ctx context.Context) error {
	return l.Update(ctx, func(tx *Tx) error { return tx.SetMeta("probe", tx.Now) })
}

// Close waits for the transactions under way and gives the lock back. The readers go before the
// writer: the last connection to a SQLite file moves what is in the log into the file and removes
// the log, and a reader may not do that.
func (l *Ledger) Close() error {
	l.writer.stop()
	return errors.Join(l.reads.Close(), l.writer.close(), l.unlock())
}

// busyTimeout is how long SQLite waits for another process that has the file locked.
const busyTimeout = 5 * time.Second

// sqliteSettings stand in the DSN, so that every connection of a pool has them: a PRAGMA sent later
// reaches just one. synchronous=FULL makes a commit survive a power cut. A log that grew because of
// a slow reader is cut to 16 MiB when the reader has ended.
const sqliteSettings = "_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=foreign_keys(1)" +
	"&_pragma=journal_size_limit(16777216)"

// readers is how many connections the read-only pool may open; beyond a few per core they only cost
// memory.
const readers = 4

func openSQLite(ctx context.Context, path string, clock *vendortime.Clock) (*Ledger, error) {
	files, err := lockFiles(path)
	if err != nil {
		return nil, err
	}
	l, err := openHeld(ctx, files, clock)
	if err != nil {
		return nil, errors.Join(err, files.release())
	}
	return l, nil
}

// openHeld opens a ledger whose lock is held. If it fails, SQLite has no file open any more.
func openHeld(ctx context.Context, files *ledgerFiles, clock *vendortime.Clock) (*Ledger, error) {
	is, err := files.admit(ctx)
	if err != nil {
		return nil, err
	}
	generation, err := files.begin(is)
	if err != nil {
		return nil, err
	}
	writes, err := sql.Open("sqlite", fileURI(files.path, sqliteSettings+"&_pragma=wal_autocheckpoint(0)"))
	if err != nil {
		return nil, err
	}
	writes.SetMaxOpenConns(1)
	shared, err := startSharedWriter(ctx, writes, files, clock)
	if err != nil {
		return nil, errors.Join(err, writes.Close())
	}
	if is.logged {
		shared.moveLog("RESTART") // a log begins with a generation of its own
	} else {
		err = shared.enter(generation, is.replaced)
	}
	if err == nil {
		err = files.watch()
	}
	if err != nil {
		shared.tx.db.(*preparedConn).close()
		return nil, errors.Join(err, shared.close())
	}
	go shared.run(shared.tx.db.(*preparedConn))
	reads, err := sql.Open("sqlite", fileURI(files.path, "mode=ro&_pragma=query_only(1)&"+sqliteSettings))
	if err != nil {
		shared.stop()
		return nil, errors.Join(err, shared.close())
	}
	reads.SetMaxOpenConns(readers)
	reads.SetMaxIdleConns(readers)
	return &Ledger{
		reads:     readPool{reads, files.condition},
		writer:    shared,
		writes:    newWriteLog(),
		path:      files.path,
		unlock:    files.release,
		condition: files.condition,
		files:     files,
		unchecked: is.unchecked,
		notices:   is.notices(),
	}, nil
}

// Notices returns what the operator should know about how the ledger was found.
func (l *Ledger) Notices() []string { return l.notices }

// notices says what was found.
func (is findings) notices() (list []string) {
	switch {
	case is.replaced:
		list = append(list, "the ledger's file is not the one that notepay closed here, so it is treated as a "+
			"restored copy; the next time, use notepay restore COPY")
	case is.changed:
		list = append(list, "another program has written the ledger's file, or put a copy in its place; "+
			"for a copy, use notepay restore COPY")
	}
	if is.unchecked {
		list = append(list, "the ledger was not closed and is large; its check goes on while notepay runs")
	}
	return list
}
