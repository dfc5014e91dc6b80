package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"notepay/internal/dsn"
)

// CheckWritable checks whether payments could be recorded at a DATABASE_URL, even while another
// process uses it. It keeps no lock, creates no table and changes no row. It does not create a
// missing SQLite ledger, whose directory has to be writable.
func CheckWritable(ctx context.Context, database string) error {
	if dsn.IsPostgres(database) {
		return inspectPostgres(ctx, database)
	}
	path, err := resolve(database)
	if err != nil {
		return fmt.Errorf("write beside the ledger: %w", err)
	}
	// SQLite keeps its log beside the file, so the directory has to be writable, too. Only SQLite
	// may open the ledger itself: closing a file drops the locks that this process holds on it
	// (sqlite.org/howtocorrupt.html, 2.2).
	probe, err := os.CreateTemp(filepath.Dir(path), ".notepay-check-*")
	if err != nil {
		return fmt.Errorf("write beside the ledger: %w", err)
	}
	_, err = probe.WriteString("written by notepay check")
	if err = errors.Join(err, probe.Sync(), probe.Close(), os.Remove(probe.Name())); err != nil {
		return fmt.Errorf("write beside the ledger: %w", err)
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := runOnLedger(ctx, path, writable(ctx)); err != nil {
		return fmt.Errorf("write to the ledger: %w", err)
	}
	return nil
}

// writable begins a write transaction and rolls it back.
func writable(ctx context.Context) func(*sql.DB) error {
	return func(db *sql.DB) error {
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
			return errors.Join(err, conn.Close())
		}
		var migrated bool
		const hasMigrations = `SELECT count(*) > 0 FROM sqlite_schema WHERE name = 'migrations'`
		err = conn.QueryRowContext(ctx, hasMigrations).Scan(&migrated)
		if err == nil && migrated {
			err = readableSchema(ctx, conn)
		}
		_, rollbackErr := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		return errors.Join(err, rollbackErr, conn.Close())
	}
}

func inspectPostgres(ctx context.Context, url string) error {
	server, err := parsePostgres(url)
	if err != nil {
		return err
	}
	db := server.readers()
	ctx, cancel := context.WithTimeout(ctx, 2*connectTimeout)
	defer cancel()
	var readOnly string
	var mayCreate, migrated bool
	err = db.QueryRowContext(ctx, `SELECT current_setting('transaction_read_only'),
		has_schema_privilege(current_schema(), 'CREATE'), to_regclass('migrations') IS NOT NULL`,
	).Scan(&readOnly, &mayCreate, &migrated)
	switch {
	case err != nil:
		err = fmt.Errorf("connect: %w", err)
	case readOnly == "on":
		err = errors.New("the database is read-only")
	case !mayCreate:
		err = errors.New("the user may not make tables in the current schema")
	case migrated:
		err = readableSchema(ctx, db)
	}
	return errors.Join(err, db.Close())
}

// readableSchema returns why this program may not work on a ledger with its schema, such as ErrNewer
// or ErrMoved, or nil.
func readableSchema(ctx context.Context, db interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}) error {
	known, err := programSchema()
	if err != nil {
		return err
	}
	seen, err := seenMigrations(func(q string) (resultRows, error) { return db.QueryContext(ctx, q) })
	if err != nil {
		return err
	}
	return known.admits(seen)
}
