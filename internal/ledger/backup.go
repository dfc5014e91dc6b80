package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"notepay/internal/payment"
)

// MetaEventsRead is until when Stripe's events were read, by Stripe's clock.
const MetaEventsRead = "events_read"

const (
	// metaBackup stamps a copy with when it was made. A ledger that carries it was restored: others
	// may have gone on since.
	metaBackup = "backup_taken"
	// metaRestored is since when a restored copy is in use, until what it holds was judged
	// (Restored).
	metaRestored = "restored"
)

// ErrPostgres is returned by Backup for a PostgreSQL database, which has tools of its own.
var ErrPostgres = errors.New("a PostgreSQL database is copied with pg_dump; " +
	"stamp a restored copy before its first start: INSERT INTO facts (name, value) VALUES ('backup_taken', 0)")

// Backup writes a consistent copy of a SQLite ledger, also of one that is in use, to a file that
// does not exist yet. The copy is checked and stamped: as a ledger of its own, later, it knows that
// it may have missed something.
func Backup(ctx context.Context, database, file string) (err error) {
	if IsPostgres(database) {
		return ErrPostgres
	}
	if _, err := os.Stat(database); err != nil {
		return fmt.Errorf("there is no ledger to copy: %w", err)
	}
	if _, err := os.Stat(file); err == nil {
		return fmt.Errorf("%s is there already; name a new file", file)
	}
	partial := file + ".partial"
	if err := os.Remove(partial); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove what an earlier backup left: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(partial) // it is of no use, and the error says why
		}
	}()
	// SQLite writes into an empty file, which nobody else can read.
	empty, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("copy the ledger: %w", err)
	}
	if err := empty.Close(); err != nil {
		return err
	}
	if err := runOnLedger(ctx, database, func(db *sql.DB) error {
		_, err := db.ExecContext(ctx, `VACUUM INTO $1`, partial)
		return err
	}); err != nil {
		return fmt.Errorf("copy the ledger: %w", err)
	}
	if err := runOn(ctx, partial, "mode=rw&_pragma=synchronous(full)", stamp(ctx)); err != nil {
		return fmt.Errorf("check the copy: %w", err)
	}
	// If we stop here, the copy is complete under its other name, and the next backup begins anew.
	if err := os.Rename(partial, file); err != nil {
		return fmt.Errorf("name the copy: %w", err)
	}
	return syncDirectory(filepath.Dir(file))
}

// runOn opens a SQLite file for one purpose.
func runOn(ctx context.Context, path, settings string, f func(*sql.DB) error) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	db, err := sql.Open("sqlite", fileURI(path, settings))
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	return errors.Join(f(db), db.Close())
}

// runOnLedger opens a ledger that may be in use, for one purpose. If nobody uses it, this process
// may replay the log and remove it, so the log has to belong to the ledger.
func runOnLedger(ctx context.Context, path string, f func(*sql.DB) error) error {
	files, err := lockFiles(path)
	if errors.Is(err, ErrLocked) {
		return runOn(ctx, path, "mode=rw&_pragma=busy_timeout(5000)", f) // a running service has checked it
	}
	if err != nil {
		return err
	}
	_, err = files.admit(ctx)
	if err == nil {
		err = runOn(ctx, files.path, "mode=rw&_pragma=busy_timeout(5000)", f)
	}
	return errors.Join(err, files.release())
}

// stamp checks a copy from its first page to its last, says in it when it was made, and makes it
// another generation than the ledger's.
func stamp(ctx context.Context) func(*sql.DB) error {
	return func(db *sql.DB) error {
		var verdict string
		if err := db.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&verdict); err != nil {
			return err
		}
		if verdict != "ok" {
			return fmt.Errorf("%w: %s", errDamaged, verdict)
		}
		if err := isLedger(ctx, db); err != nil {
			return err
		}
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		const set = `INSERT INTO %s (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value`
		_, err = tx.ExecContext(ctx, fmt.Sprintf(set, "facts"), metaBackup, time.Now().UnixMilli())
		if err == nil {
			_, err = tx.ExecContext(ctx, fmt.Sprintf(set, "cursors"), generationCursor, newGeneration(""))
		}
		if err != nil {
			return errors.Join(err, tx.Rollback())
		}
		return tx.Commit()
	}
}

func syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// adoptBackup makes a restored copy a ledger of its own that is born at a time: what was paid
// before was another's to deliver.
func (tx *Tx) adoptBackup(at time.Time) error {
	n, err := tx.exec(`DELETE FROM facts WHERE name = $1`, metaBackup)
	if err != nil || n == 0 {
		return err
	}
	born, err := tx.Meta(metaBorn)
	if err != nil {
		return err
	}
	// What it missed is read from where it had read to, not from its new birth.
	return errors.Join(tx.SetMetaOnce(MetaEventsRead, born), tx.SetMeta(metaBorn, at), tx.SetMeta(metaRestored, at))
}

// Restored reads the payments that a restored copy believes to be under way, and that the ledger
// which it was copied from may have ended since. It returns none for any other ledger. The caller
// judges each, and then calls SetJudged.
func (tx *Tx) Restored() ([]payment.Payment, error) {
	since, err := tx.Meta(metaRestored)
	if restored, err := Found(err); !restored || err != nil {
		return nil, err
	}
	// What was paid since is this ledger's own. It may have been recorded before the rest is
	// judged.
	rows, err := tx.db.query(`SELECT `+paymentColumns+` FROM payments WHERE step <> '' AND paid_at < $1`,
		since.Truncate(time.Second).UnixMilli())
	return all(rows, err, scanPayment)
}

// SetQuarantined ends what Restored began.
func (tx *Tx) SetQuarantined() error {
	_, err := tx.exec(`DELETE FROM facts WHERE name = $1`, metaRestored)
	return err
}
