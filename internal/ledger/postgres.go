package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"notepay/internal/dsn"
)

const (
	// maxPostgresReaders is the size of the pool for reads. The writer and the lease have one
	// connection each besides.
	maxPostgresReaders = 10
	// connectTimeout bounds one attempt to connect.
	connectTimeout = 4 * time.Second
)

// errReadOnly is returned for a connection to a replica, or to a server that an operator made
// read-only.
var errReadOnly = errors.New("the database is read-only")

// postgresServer opens connections. It keeps no state in their sessions, because a pooler may give
// each transaction another session.
type postgresServer struct {
	config *pgx.ConnConfig
	// epoch grows when a connection fails. Readers then replace the connections of earlier epochs,
	// which may lead to a server that is gone, silent or not the primary any more.
	epoch atomic.Int64
}

func parsePostgres(url string) (*postgresServer, error) {
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
	return &postgresServer{config: config}, nil
}

// readers returns a pool for reads, which connects on first use.
func (s *postgresServer) readers() *sql.DB {
	const epoch = "epoch"
	outdated := func(conn *pgx.Conn) bool { return conn.PgConn().CustomData()[epoch] != s.epoch.Load() }
	db := stdlib.OpenDB(*s.config,
		stdlib.OptionAfterConnect(func(_ context.Context, conn *pgx.Conn) error {
			conn.PgConn().CustomData()[epoch] = s.epoch.Load()
			return nil
		}),
		// A ping of an outdated connection could wait for a silent server.
		stdlib.OptionShouldPing(func(_ context.Context, p stdlib.ShouldPingParams) bool {
			return p.IdleDuration > time.Second && !outdated(p.Conn)
		}),
		stdlib.OptionResetSession(func(_ context.Context, conn *pgx.Conn) error {
			if outdated(conn) {
				return driver.ErrBadConn
			}
			return nil
		}),
	)
	db.SetMaxOpenConns(maxPostgresReaders)
	db.SetMaxIdleConns(maxPostgresReaders)
	return db
}

// connect opens a connection that accepts writes. timeline names the history of the server's data:
// it changes when a replica is promoted or a backup restored. It is "" if the server does not
// report it.
func (s *postgresServer) connect(ctx context.Context) (conn *pgx.Conn, timeline string, err error) {
	conn, err = pgx.ConnectConfig(ctx, s.config)
	if err != nil {
		return nil, "", fmt.Errorf("connect: %w", err)
	}
	var readOnly string
	err = conn.QueryRow(ctx, `SELECT current_setting('transaction_read_only')`).Scan(&readOnly)
	if err == nil && readOnly == "on" {
		err = errReadOnly
	}
	if err != nil {
		s.drop(conn)
		return nil, "", fmt.Errorf("connect: %w", err)
	}
	err = conn.QueryRow(ctx, `SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)`).Scan(&timeline)
	if err != nil && conn.IsClosed() {
		return nil, "", fmt.Errorf("connect: %w", err)
	}
	return conn, timeline, nil // without the timeline, if the server does not report it
}

// drop closes a connection at once and makes the readers replace theirs.
func (s *postgresServer) drop(conn *pgx.Conn) {
	s.epoch.Add(1)
	hangUp(conn)
}

// hangUp closes a connection without waiting for the server.
func hangUp(conn *pgx.Conn) {
	_ = conn.PgConn().Conn().SetDeadline(time.Now()) // the server may be silent, and the farewell is not needed
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

func (o Opening) openPostgres(ctx context.Context, url string) (*Ledger, error) {
	server, err := parsePostgres(url)
	if err != nil {
		return nil, err
	}
	return o.openServer(ctx, server)
}

// openServer opens the ledger of a server that was parsed.
func (o Opening) openServer(ctx context.Context, server *postgresServer) (*Ledger, error) {
	i, err := join(ctx, server, o.Identity, o.Clock)
	if err != nil {
		return nil, err
	}
	w := newPostgresWriter(server, i, o.Clock)
	err = migrator{
		schema:  o.schema,
		begin:   func(fn func(*Tx) error) error { return w.migrate(ctx, fn) },
		dialect: toPostgres,
		waiting: o.Waiting,
	}.run(ctx)
	if err != nil {
		w.disconnect()
		i.release()
		return nil, err
	}
	l := &Ledger{
		reads:    readPool{DB: server.readers()},
		writer:   w,
		writes:   newWriteLog(),
		lost:     i.lost,
		instance: i,
		unlock:   func() error { i.release(); return nil },
	}
	go w.run()
	return l, nil
}

// toPostgres replaces the few words in which the dialects differ.
func toPostgres(statement string) string {
	return strings.NewReplacer(
		") STRICT, WITHOUT ROWID", ")",
		") STRICT", ")",
		" INTEGER PRIMARY KEY", " BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
		" INTEGER", " BIGINT",
	).Replace(statement)
}

// provesRollback reports whether err shows that a transaction was rolled back, though its COMMIT was
// sent: the server rejected a statement and goes on. An error that ends the connection, or that is
// about connections or the system, may be that of a pooler after the server has committed.
func provesRollback(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || !goesOn(e) {
		return false
	}
	switch e.Code[:min(2, len(e.Code))] {
	case "08", "58":
		return false
	}
	return true
}

// goesOn reports whether the connection lasts after an error of the server.
func goesOn(e *pgconn.PgError) bool { return cmp.Or(e.SeverityUnlocalized, e.Severity) == "ERROR" }

// keepsConnection reports whether a connection can be used after err: the server rejected a value,
// a row, an order or a statement, or ended a statement that took too long (PostgreSQL, appendix A).
// After all other errors the server stops, starts, is read-only or lacks something, and the next
// connection may reach a better one.
func keepsConnection(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || !goesOn(e) {
		return false
	}
	switch e.Code[:min(2, len(e.Code))] {
	case "22", "23", "40", "42":
		return true
	}
	return e.Code == statementTimeout
}

const (
	statementTimeout = "57014" // query_canceled
	lockTimeout      = "55P03" // lock_not_available
	divisionByZero   = "22012"
	rootOfNegative   = "2201F" // invalid_argument_for_power_function
	uniqueViolation  = "23505"
)

// isPostgres reports whether err is PostgreSQL's error with this code.
func isPostgres(err error, code string) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == code
}

// unstorable reports whether err is character_not_in_repertoire (PostgreSQL, appendix A), for a
// zero byte or invalid UTF-8. SQLite finds no row instead.
func unstorable(err error) bool { return isPostgres(err, "22021") }
