package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"notepay/internal/dsn"
	"notepay/internal/payment"
)

// MetaEventsRead names the time up to which Stripe's events have been read, by Stripe's clock.
const MetaEventsRead = "events_read"

const (
	// metaBackup is the stamp of a backup: the time when it was made. A ledger with this stamp has
	// been restored, and the original may have continued.
	metaBackup = "backup_taken"
	// metaRestored is the time since when a restored backup is in use. It exists until the backup's
	// open payments have been quarantined. See RestoredPayments.
	metaRestored = "restored"
)

// ErrPostgres is returned by Backup and Restore for a PostgreSQL database, which has its own tools.
var ErrPostgres = errors.New("a PostgreSQL database is copied with pg_dump; " +
	"stamp a restored copy before its first start: INSERT INTO facts (name, value) VALUES ('backup_taken', 0)")

// Backup writes a consistent copy of a SQLite ledger to a new file. The ledger may be in use.
// Backup checks the copy and stamps it, so that a ledger restored from it knows that it may have
// missed events.
func Backup(ctx context.Context, database, file string) (err error) {
	if dsn.IsPostgres(database) {
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
			_ = os.Remove(partial) // the partial copy is useless, and err says why
		}
	}()
	// SQLite writes into an existing empty file, so its mode keeps other users out.
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
	// If notepay stops here, the complete copy has its partial name, and the next backup starts
	// over.
	if err := os.Rename(partial, file); err != nil {
		return fmt.Errorf("name the copy: %w", err)
	}
	return syncDirectory(filepath.Dir(file))
}

// runOn opens a SQLite file, calls f, and closes the file.
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

// runOnLedger opens a ledger, which may be in use, and calls f. If no process uses the ledger, this
// one may replay and remove its log, so it first checks that the log belongs to the ledger.
func runOnLedger(ctx context.Context, path string, f func(*sql.DB) error) error {
	files, err := lockFiles(path)
	if errors.Is(err, ErrLocked) {
		return runOn(ctx, path, "mode=rw&_pragma=busy_timeout(5000)", f) // the running service has checked the log
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

// stamp checks every page of a copy, records in it when it was made, and gives it a generation that
// differs from the ledger's.
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
		const set = `INSERT INTO %s (name, value) VALUES ($1, $2)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value`
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

// adoptBackup makes a stamped copy the current ledger, with a birth at the given time. The original
// delivers the earlier payments.
func (tx *Tx) adoptBackup(at time.Time) error {
	n, err := tx.exec(`DELETE FROM facts WHERE name = $1`, metaBackup)
	if err != nil || n == 0 {
		return err
	}
	born, err := tx.Meta(metaBorn)
	if err != nil {
		return err
	}
	// Events are read from where the original had stopped, not from the new birth.
	return errors.Join(tx.SetMetaOnce(MetaEventsRead, born), tx.SetMeta(metaBorn, at), tx.SetMeta(metaRestored, at))
}

// RestoredPayments reads the open payments of a restored backup. The original may have finished them since.
// It returns none for any other ledger. The caller decides each payment, and then calls
// SetQuarantined.
func (tx *Tx) RestoredPayments() ([]payment.Payment, error) {
	since, err := tx.Meta(metaRestored)
	if restored, err := Found(err); !restored || err != nil {
		return nil, err
	}
	// This ledger may have recorded payments of its own before the others are quarantined. Their
	// recording times lie between the restore and now. A clock that was ahead has stored later ones.
	now := tx.Now
	if tx.self != "" {
		now = now.Add(birthSlack) // by the clock of another instance
	}
	rows, err := tx.db.query(`SELECT `+paymentColumns+` FROM payments WHERE step <> '' AND paid_at < $1
		AND (created_at < $2 OR created_at > $3)`,
		since.Truncate(time.Second).UnixMilli(), since.UnixMilli(), now.UnixMilli())
	return all(rows, err, scanPayment)
}

// SetQuarantined records that the caller has handled all payments of RestoredPayments.
func (tx *Tx) SetQuarantined() error {
	_, err := tx.exec(`DELETE FROM facts WHERE name = $1`, metaRestored)
	return errors.Join(err, tx.clampCreated())
}

// clampCreated moves recording times that lie in the future to now.
func (tx *Tx) clampCreated() error {
	_, err := tx.exec(`UPDATE payments SET rev = rev + 1, created_at = $1 WHERE created_at > $1`, tx.Now.UnixMilli())
	return err
}
