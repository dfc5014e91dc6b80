package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"notepay/internal/dsn"
	"notepay/internal/vendortime"
)

// postgresWriter runs each update in its own serializable transaction. It retries when PostgreSQL
// reports a serialization failure.
type postgresWriter struct {
	db   *sql.DB
	lock *postgresLock

	underWay sync.RWMutex // held for reading by each update, for writing by stop
	stopped  bool         // guarded by underWay

	clock *vendortime.Clock
}

// maxConnections is the size of the pool. One connection holds the lock.
const maxConnections = 16

// maxRetries bounds the retries after serialization failures. The caller then gets the error.
const maxRetries = 20

// sessionSettings are not part of the URL, because poolers reject unknown settings at connection
// start. They let the server notice within seconds that this process or its host is gone. The
// server then releases the lock and the locked rows.
const sessionSettings = `SET idle_in_transaction_session_timeout = '15s';
	SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 2`

// connectPostgres prepares a pool, which connects on first use.
func connectPostgres(url string) (*sql.DB, error) {
	if err := dsn.Check(url); err != nil {
		return nil, fmt.Errorf("DATABASE_URL %w", err)
	}
	config, err := pgx.ParseConfig(url)
	if err != nil {
		// The driver's error may contain the password.
		return nil, errors.New("DATABASE_URL names a file that cannot be read any more")
	}
	if config.ConnectTimeout <= 0 || config.ConnectTimeout > connectTimeout {
		config.ConnectTimeout = connectTimeout
	}
	keepAlive := net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 5 * time.Second, Count: 2}
	dialer := &net.Dialer{Timeout: connectTimeout, KeepAliveConfig: keepAlive}
	config.DialFunc = dialer.DialContext
	db := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		ctx, cancel := context.WithTimeout(ctx, connectTimeout)
		defer cancel()
		_, err := conn.PgConn().Exec(ctx, sessionSettings).ReadAll()
		if err != nil {
			return errors.Join(err, conn.Close(ctx))
		}
		return nil
	}))
	db.SetMaxOpenConns(maxConnections)
	db.SetMaxIdleConns(maxConnections)
	return db, nil
}

func openPostgres(ctx context.Context, url string, clock *vendortime.Clock) (*Ledger, error) {
	db, err := connectPostgres(url)
	if err != nil {
		return nil, err
	}
	locking, cancel := context.WithTimeout(ctx, 2*connectTimeout)
	defer cancel()
	lock, err := takeLock(locking, db)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	w := &postgresWriter{db: db, lock: lock, clock: clock}
	unlock := func() error { lock.release(); return nil }
	l := &Ledger{reads: readPool{DB: db}, writer: w, writes: newWriteLog(), lost: lock.lost, unlock: unlock}
	opened := time.Now().Truncate(time.Millisecond)
	migrating := func(fn func(*Tx) error) error {
		ctx, cancel := context.WithTimeout(ctx, migrationTimeout)
		defer cancel()
		return w.update(ctx, fn)
	}
	err = migrate(ctx, migrating, toPostgres)
	if err == nil {
		err = l.Update(ctx, func(tx *Tx) error { return tx.SetMeta(metaOpened, opened) })
	}
	if err != nil {
		lock.release()
		return nil, errors.Join(err, db.Close())
	}
	lock.keep(opened, func(err error) { l.writes.add(time.Now(), err) })
	return l, nil
}

// toPostgres replaces the few words in which the dialects differ.
func toPostgres(statement string) string {
	return strings.NewReplacer(") STRICT", ")", " INTEGER", " BIGINT").Replace(statement)
}

// goneGrace is how long a running transaction may continue after its caller has gone.
const goneGrace = 2 * time.Second

// update runs fn and retries it while PostgreSQL reports serialization failures. When the caller
// goes away, a running transaction gets goneGrace to finish. Ending it at once would leave unknown
// whether it was committed.
func (w *postgresWriter) update(ctx context.Context, fn func(*Tx) error) error {
	w.underWay.RLock()
	defer w.underWay.RUnlock()
	if w.stopped {
		return ErrClosed
	}
	inside, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	if deadline, ok := ctx.Deadline(); ok {
		inside, cancel = context.WithDeadline(inside, deadline)
		defer cancel()
	}
	defer context.AfterFunc(ctx, func() { time.AfterFunc(goneGrace, cancel) })()
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.lock.held(); err != nil {
			return err
		}
		err := w.once(inside, fn)
		if n == maxRetries || !orderFailure(err) {
			return err
		}
		// A random wait, so that the same transactions do not collide again.
		time.Sleep(rand.N(time.Millisecond << min(n, 6)))
	}
}

func (w *postgresWriter) once(ctx context.Context, fn func(*Tx) error) error {
	t, err := w.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable})
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := call(fn, &Tx{db: postgresTx{ctx, t}, Now: w.clock.Now()}); err != nil {
		rollbackErr := t.Rollback()
		if errors.Is(rollbackErr, sql.ErrTxDone) {
			rollbackErr = nil // the deadline has already ended the transaction
		}
		return joinIf(err, rollbackErr)
	}
	if err := t.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// orderFailure reports whether err is serialization_failure or deadlock_detected (PostgreSQL,
// appendix A). It includes unique_violation, because two concurrent inserts of one key may fail
// with it before the order is checked. On retry the second insert finds the first row.
func orderFailure(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "40001" || e.Code == "40P01" || e.Code == "23505")
}

// unstorable reports whether err is character_not_in_repertoire (PostgreSQL, appendix A), for a
// zero byte or invalid UTF-8. SQLite finds no row instead.
func unstorable(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "22021"
}

func (w *postgresWriter) stop() {
	w.underWay.Lock()
	defer w.underWay.Unlock()
	w.stopped = true
}

func (w *postgresWriter) close() error { return nil } // Ledger.Close closes the pool, which is Ledger.reads

type postgresTx struct {
	ctx context.Context
	tx  *sql.Tx
}

func (t postgresTx) exec(query string, args ...any) (int64, error) {
	result, err := t.tx.ExecContext(t.ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (t postgresTx) query(query string, args ...any) (resultRows, error) {
	rows, err := t.tx.QueryContext(t.ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return rows, nil
}
