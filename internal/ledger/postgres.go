package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"notepay/internal/vendortime"
)

// postgresWriter runs each update in a serializable transaction of its own, and again when PostgreSQL could not order it among others.
type postgresWriter struct {
	db *sql.DB

	underWay sync.RWMutex // held for reading by each update, for writing by stop
	stopped  bool         // guarded by underWay

	clock *vendortime.Clock
}

// lockKey is the advisory lock that stands for "a notepay is running on this database" (the letters "notepay").
const lockKey = 0x6e6f7465706179

// longestTransaction bounds what a connection that went dead can hold up.
const longestTransaction = 15 * time.Second

// mostRetries bounds how often a transaction is run again after a serialization failure; the caller then sees the error.
const mostRetries = 20

func openPostgres(ctx context.Context, url string, clock *vendortime.Clock) (*Ledger, error) {
	db, err := sql.Open("pgx", url)
	if err != nil {
		return nil, errors.New("DATABASE_URL is no valid postgres:// URL") // the driver's words would print the password
	}
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect: %w", err), db.Close())
	}
	// The lock is the session's: PostgreSQL gives it back when this connection ends, however it ends.
	var locked bool
	if err := conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, int64(lockKey)).Scan(&locked); err != nil {
		return nil, errors.Join(fmt.Errorf("lock: %w", err), conn.Close(), db.Close())
	}
	if !locked {
		return nil, errors.Join(ErrLocked, conn.Close(), db.Close())
	}
	w := &postgresWriter{db: db, clock: clock}
	if err := migrate(ctx, func(fn func(*Tx) error) error { return w.update(ctx, fn) }, toPostgres); err != nil {
		return nil, errors.Join(err, conn.Close(), db.Close())
	}
	return &Ledger{reads: db, writer: w, unlock: func() error { return unlockPostgres(conn) }}, nil
}

// unlockPostgres gives the lock back before it closes the connection: the server takes a while to notice the latter.
func unlockPostgres(conn *sql.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err := conn.ExecContext(ctx, `SELECT pg_advisory_unlock($1)`, int64(lockKey))
	return errors.Join(err, conn.Close())
}

// toPostgres changes the few words in which the dialects differ.
func toPostgres(statement string) string {
	return strings.NewReplacer(") STRICT", ")", " INTEGER", " BIGINT").Replace(statement)
}

func (w *postgresWriter) update(ctx context.Context, fn func(*Tx) error) error {
	w.underWay.RLock()
	defer w.underWay.RUnlock()
	if w.stopped {
		return ErrClosed
	}
	for n := 0; ; n++ {
		err := w.once(ctx, fn)
		if n == mostRetries || !orderFailure(err) {
			return err
		}
		time.Sleep(rand.N(time.Millisecond << min(n, 6))) // those who meet at once would only meet again
	}
}

func (w *postgresWriter) once(ctx context.Context, fn func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), longestTransaction)
	defer cancel()
	t, err := w.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable})
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := call(fn, &Tx{db: postgresTx{ctx, t}, Now: w.clock.Now()}); err != nil {
		return joinIf(err, t.Rollback())
	}
	if err := t.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// orderFailure: serialization_failure and deadlock_detected (PostgreSQL, appendix A). Two inserts of the same new key may
// also meet as unique_violation before the order is checked; run again, the second one finds the first.
func orderFailure(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "40001" || e.Code == "40P01" || e.Code == "23505")
}

// unstorable: character_not_in_repertoire (PostgreSQL, appendix A), for a zero byte or what is not UTF-8. SQLite just finds nothing.
func unstorable(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "22021"
}

func (w *postgresWriter) stop() {
	w.underWay.Lock()
	defer w.underWay.Unlock()
	w.stopped = true
}

func (w *postgresWriter) close() error { return nil } // the pool is Ledger.reads, closed there

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

func (t postgresTx) query(query string, args ...any) (*sql.Rows, error) {
	return t.tx.QueryContext(t.ctx, query, args...)
}
