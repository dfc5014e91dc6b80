package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"modernc.org/sqlite"

	"notepay/internal/vendortime"
)

// busyTimeout is how long SQLite waits while another process has the file locked.
const busyTimeout = 5 * time.Second

// sqliteSettings is part of the DSN, so that it applies to every connection of a pool. A PRAGMA
// statement reaches only one connection. synchronous=FULL makes a commit survive a power cut.
// journal_size_limit cuts a log that grew because of a slow reader to 16 MiB.
const sqliteSettings = "_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)&_pragma=synchronous(full)" +
	"&_pragma=foreign_keys(1)&_pragma=journal_size_limit(16777216)"

// maxReaders is the size of the read-only pool. More connections cost memory and bring no speed.
const maxReaders = 4

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

// openHeld opens a ledger whose lock the caller holds. When it returns an error, SQLite has closed
// all files.
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
		shared.moveLog("RESTART") // each log begins with its own generation
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
	reads.SetMaxOpenConns(maxReaders)
	reads.SetMaxIdleConns(maxReaders)
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
}

type update struct {
	fn   func(*Tx) error
	err  error
	done chan struct{}
}

// maxBatch bounds how long the first update of a batch waits for the others.
const maxBatch = 256

func startSharedWriter(
	ctx context.Context,
	db *sql.DB,
	files *ledgerFiles,
	clock *vendortime.Clock,
) (*sharedWriter, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	prepared := newPreparedConn(conn, files.condition)
	w := &sharedWriter{
		db:      db,
		updates: make(chan *update), // unbuffered: the goroutine runs each update that it receives
		shrinks: make(chan chan struct{}),
		closing: make(chan struct{}),
		closed:  make(chan struct{}),
		tx:      Tx{db: prepared},
		files:   files,
		clock:   clock,
	}
	if err := migrate(ctx, w.alone, func(statement string) string { return statement }); err != nil {
		prepared.close()
		return nil, err
	}
	return w, nil
}

func (w *sharedWriter) update(ctx context.Context, fn func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err // the select below picks a ready case at random
	}
	u := &update{fn: fn, done: make(chan struct{})}
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
	err := w.files.closeLog()
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
	for n := 0; ; {
		select {
		case u := <-w.updates:
			batch = append(batch[:0], u)
		case shrunk := <-w.shrinks:
			w.shrinkLog()
			close(shrunk)
			continue
		case <-w.closing:
			return
		}
		for more := true; more && len(batch) < maxBatch; {
			select {
			case u := <-w.updates:
				batch = append(batch, u)
			default:
				more = false
			}
		}
		w.commit(batch)
		for _, u := range batch {
			close(u.done)
		}
		if n++; (n%logCheckInterval == 0 || w.files.busy()) && w.files.logHas(w.files.maxFrames()) {
			w.moveLog("RESTART")
		}
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
			if err := call(u.fn, tx); err != nil {
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

type closureError struct{ error }

// alone runs fn in its own transaction. If notepay stops before COMMIT returns, the disk holds all
// of the transaction or nothing. The caller has not been told of success in either case.
func (w *sharedWriter) alone(fn func(*Tx) error) error {
	w.tx.Now = w.clock.Now()
	if _, err := w.tx.exec("BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := call(fn, &w.tx); err != nil {
		_, rollbackErr := w.tx.exec("ROLLBACK")
		w.reuseLog(err)
		return joinIf(err, rollbackErr)
	}
	if _, err := w.tx.exec("COMMIT"); err != nil {
		// A failed COMMIT may leave the transaction open. If it does not, the ROLLBACK fails, and
		// its error adds nothing.
		_, _ = w.tx.exec("ROLLBACK")
		w.reuseLog(err)
		return fmt.Errorf("commit: %w", err)
	}
	if err := w.files.verify(); err != nil {
		return fmt.Errorf("commit: %w", err) // the change is on disk, but the next start will not find it
	}
	return nil
}

// reuseLog moves SQLite's log into the file after a write failed for lack of space. The next write
// then starts at the beginning of the log and needs no new space. SQLite itself moves the log only
// after 1,000 pages, and a small disk is full before. If notepay stops in between, file and log are
// as valid as before.
func (w *sharedWriter) reuseLog(err error) {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok || e.Code()&0xff != sqliteFull && e.Code() != sqliteWriteFailed {
		return
	}
	w.moveLog(passive)
}

// shrinkLog moves SQLite's log into the file and truncates it, unless a reader uses the log.
func (w *sharedWriter) shrinkLog() { w.moveLog("TRUNCATE") }

// SQLite's result codes (sqlite.org/rescode.html).
const (
	sqliteFull        = 13
	sqliteWriteFailed = 778 // for example a limit on file sizes
)

// joinIf returns err unchanged, so that callers can compare it, unless there is a second error.
func joinIf(err, second error) error {
	if second == nil {
		return err
	}
	return errors.Join(err, second)
}

// call runs fn and returns a panic as an error, so that the writer survives.
func call(fn func(*Tx) error, tx *Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in a transaction: %v", p)
		}
	}()
	return fn(tx)
}
