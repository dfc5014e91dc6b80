package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"modernc.org/sqlite"

	"notepay/internal/vendortime"
)

// busyTimeout is how long SQLite waits while another process has the file locked.
const busyTimeout = 5 * time.Second

// sqliteSettings is part of the DSN, so that it applies to every connection of a pool. A PRAGMA
// statement reaches only one connection. synchronous=FULL makes a commit survive a power cut.
// journal_size_limit cuts a log that grew because of a slow reader to 36 MiB. That is above
// logFrames, because a log that shrinks has to grow again.
const sqliteSettings = "_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)&_pragma=synchronous(full)" +
	"&_pragma=foreign_keys(1)&_pragma=journal_size_limit(37748736)"

// maxReaders is the size of the read-only pool. More connections cost memory and bring no speed.
const maxReaders = 4

func (o Opening) openSQLite(ctx context.Context, path string) (*Ledger, error) {
	files, err := lockFiles(path)
	if err != nil {
		return nil, err
	}
	l, err := o.openHeld(ctx, files)
	if err != nil {
		return nil, errors.Join(err, files.release())
	}
	return l, nil
}

// openHeld opens a ledger whose lock the caller holds. When it returns an error, SQLite has closed
// all files.
func (o Opening) openHeld(ctx context.Context, files *ledgerFiles) (*Ledger, error) {
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
	shared, err := startSharedWriter(ctx, writes, files, o)
	if err != nil {
		return nil, errors.Join(err, writes.Close())
	}
	if is.logged {
		shared.moveLog("RESTART") // each log begins with its own generation
	} else {
		err = shared.enter(generation, is.replaced)
	}
	if err == nil {
		err = files.watch()
	}
	if err != nil {
		shared.conn().close()
		return nil, errors.Join(err, shared.close())
	}
	go shared.run(shared.conn())
	reads, err := sql.Open("sqlite", fileURI(files.path, "mode=ro&_pragma=query_only(1)&"+sqliteSettings))
	if err != nil {
		shared.stop()
		return nil, errors.Join(err, shared.close())
	}
	reads.SetMaxOpenConns(maxReaders)
	reads.SetMaxIdleConns(maxReaders)
	return &Ledger{
		reads:     readPool{reads, files.condition, &preparedReads{statements: map[string]*sql.Stmt{}}},
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

// sharedWriter is the only goroutine that writes to SQLite. Waiting updates share one commit, and
// so one sync of the disk.
type sharedWriter struct {
	db      *sql.DB
	updates chan *update
	shrinks chan chan struct{} // requests for shrinkLog; each channel is closed when it is done
	closing chan struct{}      // closed by stop, to reject new updates
	closed  chan struct{}      // closed when the goroutine ends
	once    sync.Once
	tx      Tx
	files   *ledgerFiles
	sealed  bool // the log already has the generation of its end
	clock   *vendortime.Clock

	mover     *mover
	commits   int   // since the start
	maxFrames int64 // ledgerFiles.maxFrames as of the last look
}

// notAnothers returns an error for a database that has tables of another program and none of ours.
// A wrong path must not add notepay's tables to it.
func notAnothers(ctx context.Context, db *sql.DB, path string) error {
	rows, err := db.QueryContext(ctx, `SELECT name FROM sqlite_schema WHERE type = 'table'`)
	if err != nil {
		return err
	}
	tables, err := all(rows, nil, func(s scanner) (name string, err error) { return name, s.Scan(&name) })
	if err != nil || slices.Contains(tables, "migrations") {
		return err
	}
	for _, name := range tables {
		if !strings.HasPrefix(name, "sqlite_") && !strings.HasPrefix(name, "_litestream_") {
			return fmt.Errorf("%s is the database of another program, with a table %q; "+
				"set DATABASE_URL to a file of notepay's own", path, name)
		}
	}
	return nil
}

func startSharedWriter(
	ctx context.Context,
	db *sql.DB,
	files *ledgerFiles,
	o Opening,
) (*sharedWriter, error) {
	if err := notAnothers(ctx, db, files.path); err != nil {
		return nil, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	mover, err := openMover(files.path)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	prepared := newPreparedConn(conn, files.condition)
	w := &sharedWriter{
		db:      db,
		updates: make(chan *update), // unbuffered: the goroutine runs each update that it receives
		shrinks: make(chan chan struct{}),
		closing: make(chan struct{}),
		closed:  make(chan struct{}),
		tx:      Tx{db: prepared, memory: newMemory()},
		files:   files,
		clock:   o.Clock,
		mover:   mover,
	}
	same := func(statement string) string { return statement }
	if err := (migrator{schema: o.schema, begin: w.alone, dialect: same}).run(ctx); err != nil {
		prepared.close()
		return nil, errors.Join(err, mover.close())
	}
	return w, nil
}

func (w *sharedWriter) update(ctx context.Context, u *update) error {
	if err := ctx.Err(); err != nil {
		return err // the select below picks a ready case at random
	}
	select {
	case w.updates <- u:
		<-u.done
		return u.err
	case <-w.closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *sharedWriter) stop() {
	w.once.Do(func() { close(w.closing) })
	<-w.closed
}

// close closes the database, except one that was overwritten. That one stays open until the process
// ends, because SQLite would move the log into it on close.
func (w *sharedWriter) close() error {
	err := errors.Join(w.mover.close(), w.files.closeLog())
	if w.files.abandoned {
		return err
	}
	return errors.Join(err, w.db.Close())
}

func (w *sharedWriter) run(conn *preparedConn) {
	defer close(w.closed)
	defer conn.close()
	defer w.leave()
	batch := make([]*update, 0, maxBatch)
	for {
		select {
		case u := <-w.updates:
			batch = append(batch[:0], u)
		case shrunk := <-w.shrinks:
			w.shrinkLog()
			close(shrunk)
			continue
		case <-w.mover.done:
			w.mover.underWay = false
			w.moveLog("RESTART")
			continue
		case <-w.closing:
			return
		}
		batch = gather(batch, w.updates, w.closing)
		w.commit(batch)
		for _, u := range batch {
			close(u.done)
		}
		w.keepLogShort()
	}
}

// commit runs the batch in one transaction. If an update fails, commit runs each in its own
// transaction.
func (w *sharedWriter) commit(batch []*update) {
	if len(batch) == 1 {
		batch[0].err = w.alone(batch[0].fn)
		return
	}
	err := w.alone(func(tx *Tx) error {
		for _, u := range batch {
			if err := w.conn().call(u.fn, tx); err != nil {
				return &closureError{err}
			}
		}
		return nil
	})
	if _, ok := errors.AsType[*closureError](err); ok {
		for _, u := range batch {
			u.err = w.alone(u.fn)
		}
		return
	}
	for _, u := range batch {
		u.err = err
	}
}

// alone runs fn in its own transaction. If notepay stops before COMMIT returns, the disk holds all
// of the transaction or nothing. The caller has not been told of success in either case.
func (w *sharedWriter) alone(fn func(*Tx) error) error {
	w.tx.Now = w.clock.Now()
	if _, err := w.tx.exec("BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	conn := w.conn()
	conn.inUpdate, conn.failed = true, nil
	err := conn.call(fn, &w.tx)
	conn.inUpdate, conn.failed = false, nil
	if err != nil {
		_, rollbackErr := w.tx.exec("ROLLBACK")
		w.tx.memory.rollback()
		w.reuseLog(err)
		return joinIf(err, rollbackErr)
	}
	if _, err := w.tx.exec("COMMIT"); err != nil {
		// A failed COMMIT may leave the transaction open. If it does not, the ROLLBACK fails, and
		// its error adds nothing.
		_, _ = w.tx.exec("ROLLBACK")
		w.tx.memory.rollback()
		w.reuseLog(err)
		return fmt.Errorf("commit: %w", err)
	}
	w.tx.memory.commit()
	if err := w.files.verify(); err != nil {
		return fmt.Errorf("commit: %w", err) // the change is on disk, but the next start will not find it
	}
	return nil
}

func (w *sharedWriter) conn() *preparedConn { return w.tx.db.(*preparedConn) }

// reuseLog moves SQLite's log into the file after a write failed for lack of space. The next write
// then starts at the beginning of the log and needs no new space. Otherwise the log is moved only
// after some thousand pages, and a small disk is full before. If notepay stops in between, file and
// log are as valid as before.
func (w *sharedWriter) reuseLog(err error) {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok || e.Code()&0xff != sqliteFull && e.Code() != sqliteWriteFailed {
		return
	}
	w.moveLog(passive)
	w.maxFrames = 0 // the free space has changed
}

// shrinkLog moves SQLite's log into the file and truncates it, unless a reader uses the log.
func (w *sharedWriter) shrinkLog() { w.moveLog("TRUNCATE") }

// SQLite's result codes (sqlite.org/rescode.html).
const (
	sqliteFull        = 13
	sqliteWriteFailed = 778 // for example a limit on file sizes
)
