package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"notepay/internal/dsn"
)

// restoring is the suffix of the file in which Restore prepares a copy.
const restoring = ".restoring"

// Restore replaces a SQLite ledger that no process uses with a checked copy, and stamps it as a
// backup. It returns the new path of the earlier ledger, "" if there was none. Restore only reads
// the copy and the log beside it.
//
// Restore may stop at any point. Until the record says stateRestoring, the disk holds the earlier
// ledger unchanged, and perhaps a file that the next Restore replaces. After that, the disk holds
// the whole copy under its temporary name, and the next start or Restore does the rest.
func Restore(ctx context.Context, database, copied string) (kept string, err error) {
	if dsn.IsPostgres(database) {
		return "", ErrPostgres
	}
	files, err := lockFiles(database)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, files.release()) }()
	if err := files.mayRestore(copied); err != nil {
		return "", err
	}
	if err := files.mayReplace(ctx); err != nil {
		return "", err
	}
	prepared := files.path + restoring
	defer func() {
		if err != nil && files.record.State != stateRestoring {
			err = errors.Join(err, removeAll(prepared)) // the prepared copy is useless, and err says why
		}
	}()
	if err := removeAll(prepared); err != nil {
		return "", fmt.Errorf("remove what an earlier restore left: %w", err)
	}
	for _, suffix := range []string{"", "-wal"} {
		err := copyFile(copied+suffix, prepared+suffix)
		if err != nil && (suffix == "" || !errors.Is(err, fs.ErrNotExist)) {
			return "", fmt.Errorf("copy %s: %w", copied+suffix, err)
		}
	}
	if err := fitsTogether(ctx, prepared, copied); err != nil {
		return "", err
	}
	if err := runOn(ctx, prepared, "mode=rw&_pragma=synchronous(full)", stamp(ctx)); err != nil {
		return "", fmt.Errorf("check %s: %w", copied, err)
	}
	if _, err := os.Stat(prepared + "-wal"); err == nil {
		return "", fmt.Errorf("check %s: its log could not be closed", copied)
	}
	giveTo(files.path, prepared)
	giveTo(files.path, files.lock.Name())
	if err := errors.Join(syncFile(prepared), syncDirectory(filepath.Dir(prepared))); err != nil {
		return "", err
	}
	files.tighten()
	for _, suffix := range []string{"", "-wal"} {
		if _, err := os.Lstat(files.path + suffix); err == nil {
			kept = files.path
		}
	}
	before := files.record
	r := record{State: stateRestoring, Replaced: ".replaced-" + time.Now().UTC().Format("20060102T150405.000Z")}
	if err := files.write(r); err != nil {
		return "", err
	}
	if kept != "" {
		kept += r.Replaced
	}
	if err := files.replace(); err != nil {
		return "", errors.Join(err, files.undo(before))
	}
	return kept, nil
}

// fitsTogether returns an error if the copy's last page is cut off, because SQLite would fill it
// with zeros. It also returns an error if the log beside the copy belongs to another database.
// stamp finds all other damage.
func fitsTogether(ctx context.Context, prepared, copied string) error {
	files := &ledgerFiles{path: prepared}
	database, _, err := files.stat("")
	if err != nil {
		return err
	}
	if page := pageSize(readStart(prepared, 100)); page > 0 && database.Size%page != 0 {
		return fmt.Errorf("check %s: it is damaged, its end is cut off", copied)
	}
	_, err = files.admit(ctx)
	if _, foreign := errors.AsType[foreignLog](err); foreign {
		return fmt.Errorf("%s-wal is the log of another ledger than %s; move it away if %s is whole without it, "+
			"or make a new copy with notepay backup", copied, copied, copied)
	}
	return nil
}

// mayRestore returns an error if the copy is the ledger itself or in use by another process.
func (f *ledgerFiles) mayRestore(copied string) error {
	if _, names, err := f.stat(""); err != nil {
		return err
	} else if names > 1 {
		return fmt.Errorf("%s has %d names (hard links); remove the other names", f.path, names)
	}
	from, err := os.Stat(copied)
	if err != nil {
		return err
	}
	if !from.Mode().IsRegular() {
		return fmt.Errorf("%s is no file", copied)
	}
	if to, err := os.Stat(f.path); err == nil && os.SameFile(from, to) {
		return fmt.Errorf("%s is the ledger itself; move it to another directory first", copied)
	}
	if _, err := os.Stat(copied + "-journal"); err == nil {
		return fmt.Errorf("%s-journal is there, so another program was writing the copy; "+
			"make a new copy with notepay backup", copied)
	}
	path, err := resolve(copied)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path + ".lock"); err != nil {
		return nil // no notepay has ever used the copy
	}
	held, err := lock(path + ".lock")
	if errors.Is(err, ErrLocked) {
		return fmt.Errorf("%s is in use; make a copy with notepay backup: %w", copied, err)
	}
	if err != nil {
		return nil // a copy on a read-only medium has no notepay running on it
	}
	return unlock(held)
}

// mayReplace returns ErrMoved if the ledger was moved, because the database works in its place. A
// ledger that cannot be read may be replaced.
func (f *ledgerFiles) mayReplace(ctx context.Context) error {
	settings := "immutable=1" // SQLite then creates no files beside it
	if log, _, err := f.stat("-wal"); err != nil || log.Size > 0 {
		settings = "mode=ro"
	}
	if database, _, err := f.stat(""); err != nil || database.Size == 0 {
		return nil
	}
	err := runOn(ctx, f.path, settings, func(db *sql.DB) error { return readableSchema(ctx, db) })
	if errors.Is(err, ErrMoved) {
		return err
	}
	return nil
}

// replace puts the prepared copy in the ledger's place, as the record announces. It may run again
// after any interruption.
func (f *ledgerFiles) replace() error {
	prepared, ending := f.path+restoring, f.record.Replaced
	if _, err := os.Stat(prepared); err == nil {
		// The log is moved first. If notepay stops after this, the old database lacks its log. But
		// no process opens that database, because the record sends each start to replace.
		for _, suffix := range []string{"-wal", ""} {
			if err := rename(f.path+suffix, f.path+ending+suffix); err != nil {
				if errors.Is(err, syscall.EBUSY) {
					err = fmt.Errorf("%w; mount the ledger's directory and not that file alone", err)
				}
				return fmt.Errorf("keep the earlier ledger: %w", err)
			}
		}
		if err := os.Remove(f.path + "-shm"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err // SQLite rebuilds it from the log
		}
		if err := syncDirectory(filepath.Dir(f.path)); err != nil {
			return err
		}
		if err := os.Rename(prepared, f.path); err != nil {
			return fmt.Errorf("put the copy in the ledger's place: %w", err)
		}
		// If notepay stops after this, the copy is in its place, and only the record is outdated.
		if err := syncDirectory(filepath.Dir(f.path)); err != nil {
			return err
		}
	}
	database, _, err := f.stat("")
	if err != nil {
		return err
	}
	// The first start on the copy learns its stamp and its generation.
	return f.write(record{State: stateClosed, Database: database})
}

// undo restores the earlier state if replace could not move the earlier database, for example
// because that file is a bind mount. Otherwise each start would fail to finish the restore.
func (f *ledgerFiles) undo(before record) error {
	ending := f.record.Replaced
	if _, err := os.Lstat(f.path + ending); err == nil {
		return nil // the earlier database was moved, and the next start finishes the restore
	}
	if _, err := os.Lstat(f.path + restoring); err != nil {
		return nil // the copy is in its place
	}
	if _, err := os.Lstat(f.path + ending + "-wal"); err == nil {
		if err := rename(f.path+ending+"-wal", f.path+"-wal"); err != nil {
			return err
		}
	}
	if err := syncDirectory(filepath.Dir(f.path)); err != nil {
		return err
	}
	// If notepay stops here, the next start tries the restore again.
	return f.write(before)
}

// rename moves a file if it exists, unless the new name is taken.
func rename(from, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return nil // moved before an interruption; from is no longer the earlier file
	}
	if err := os.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// copyFile copies a file to a new one with mode 0600, and syncs it.
func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Sync(), target.Close())
}

func syncFile(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// removeAll removes a database and SQLite's files beside it.
func removeAll(path string) (err error) {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if e := os.Remove(path + suffix); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// isLedger returns an error if a database is not a ledger, or belongs to a newer version.
func isLedger(ctx context.Context, db *sql.DB) error {
	var tables int
	err := db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema
		WHERE type = 'table' AND name IN ('migrations', 'facts', 'cursors', 'payments')`).Scan(&tables)
	if err != nil {
		return err
	}
	if tables != 4 {
		return errors.New("it is no ledger of notepay")
	}
	return readableSchema(ctx, db)
}
