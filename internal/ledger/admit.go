package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// findings describe a ledger before it is opened.
type findings struct {
	exists     bool
	logged     bool // a log with content exists
	generation string
	stamped    bool // a copy that was not in use yet
	replaced   bool // the record describes another database
	unchecked  bool // the check was cut short and has to be finished later
	changed    bool // another program has written to the database
}

// checkTimeout bounds how long a start checks a ledger that was not closed. It is enough for about
// half a gigabyte.
const checkTimeout = 5 * time.Second

// admit decides whether the ledger may be opened. SQLite may not write before that. admit opens the
// database read-only, so a log of another database changes nothing. The log that a kill or a power
// cut leaves behind always belongs to its database.
func (f *ledgerFiles) admit(ctx context.Context) (findings, error) {
	database, names, err := f.stat("")
	if err != nil {
		return findings{}, err
	}
	log, _, err := f.stat("-wal")
	if err != nil {
		return findings{}, err
	}
	base := filepath.Base(f.path)
	switch {
	case names > 1:
		return findings{}, fmt.Errorf("%s has %d names (hard links), and a log beside each could be lost; "+
			"remove the other names", f.path, names)
	case database.Size == 0 && log.Size > 0:
		return findings{}, fmt.Errorf("%s-wal is the log of a ledger, but %s is missing; "+
			"put the ledger back (notepay restore COPY), or move %s-wal away to begin a new one", f.path, f.path, base)
	case database.Size == 0:
		return findings{}, nil
	}
	doubt := false
	if log.Size > 0 {
		if doubt, err = f.checkLog(database, log); err != nil {
			return findings{}, err
		}
	}
	var alone findings // the database without its log
	if log.Size > 0 {
		if alone, err = f.inspect(ctx, "immutable=1", false); err != nil {
			alone = findings{} // it may be unreadable in the middle of a checkpoint
		}
	}
	unclean := log.Size > 0 || (f.known && f.record.State != stateClosed)
	is, err := f.inspect(ctx, "mode=ro&_pragma=busy_timeout(5000)", unclean)
	broken := alone.exists && !follows(is.generation, alone.generation)
	if err != nil && (doubt || broken) {
		return findings{}, errors.Join(f.foreign(), err)
	}
	if err != nil {
		return findings{}, err
	}
	is.logged = log.Size > 0
	name := generationName(is.generation)
	same := !f.known || f.record.Generation == "" || name == generationName(f.record.Generation) ||
		name == generationName(f.record.Next)
	unused := alone.stamped && is.generation == alone.generation // an unused backup has no log
	if (doubt && (!same || unused)) || broken {
		return findings{}, f.foreign()
	}
	is.replaced = !same
	is.changed = same && f.known && f.record.Database.Inode != 0 && f.record.State != stateWriting && log.Size == 0 &&
		!f.record.Database.unchanged(database)
	return is, nil
}

// checkLog decides whether a log belongs to the database beside it. It returns an error if it does
// not, and doubt if only the contents can tell. SQLite cannot decide this, because a log does not
// name its database.
func (f *ledgerFiles) checkLog(database, log fileID) (doubt bool, err error) {
	r := f.record
	switch sameLog := r.Log != 0 && r.Log == log.Inode; {
	case !f.known || r.Database.Inode == 0:
		return true, nil // first start of this version, no lock file, or no inodes on this system
	case r.Database.unchanged(database):
		return false, nil
	case r.Database.Inode == database.Inode && r.State == stateWriting:
		return false, nil // a write by SQLite was interrupted
	case r.Database.Inode != database.Inode && sameLog:
		return false, f.foreign() // the database was replaced by another file
	case r.Database.Inode != database.Inode:
		return true, nil // all files were moved here together
	case r.State == stateQuiet && f.checkpointed():
		return true, nil // another program ran a checkpoint
	case r.State == stateClosed:
		return true, nil // another program has used the database since
	}
	return false, f.foreign() // a copy was written over the database
}

// foreign returns the error for a log of another database.
func (f *ledgerFiles) foreign() error {
	base := filepath.Base(f.path)
	return foreignLog{fmt.Errorf("%s-wal is the log of another ledger than %s, which was put in its place; "+
		"SQLite would mix the two. Nothing was changed. To use %s: move it to another directory and run "+
		"notepay restore on it there. To use the earlier ledger, put its file back. "+
		"If that was done by copying, or if all of the files were copied here together, delete %s.lock as well",
		f.path, base, base, base)}
}

// foreignLog marks the error for a log that belongs to another database than the one beside it.
type foreignLog struct{ error }

// checkpointed reports whether SQLite has run a checkpoint since the record was written, according
// to the log or its index. notepay records its own checkpoints, so this one was another program's.
func (f *ledgerFiles) checkpointed() bool {
	log := readStart(f.path+"-wal", logHeaderSize)
	header, ok := parseLogHeader(log)
	if !ok || header.Salts != f.record.Salts {
		return ok // the log was restarted after a complete checkpoint
	}
	salts, written, ok := parseIndex(readStart(f.path+"-shm", indexSize))
	return ok && written && salts == header.Salts
}

// readStart reads up to n bytes from the start of a file that SQLite does not have open.
func readStart(path string, n int) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	content := make([]byte, n)
	n, _ = f.ReadAt(content, 0)
	return content[:n]
}

// inspect reads what identifies the database. It also checks the pages if check is set or the
// database is a stamped backup.
func (f *ledgerFiles) inspect(ctx context.Context, settings string, check bool) (is findings, err error) {
	is.exists = true
	err = runOn(ctx, f.path, settings, func(db *sql.DB) error {
		tables := 0
		const count = `SELECT count(*) FROM sqlite_schema WHERE name IN ('facts', 'cursors')`
		err := db.QueryRowContext(ctx, count).Scan(&tables)
		if err != nil {
			return err
		}
		if tables == 2 {
			const what = `SELECT EXISTS (SELECT 1 FROM facts WHERE name = $1),
				coalesce((SELECT value FROM cursors WHERE name = $2), '')`
			err = db.QueryRowContext(ctx, what, metaBackup, generationCursor).Scan(&is.stamped, &is.generation)
		}
		if err == nil && (check || is.stamped) {
			is.unchecked, err = quickCheck(ctx, db, checkTimeout)
		}
		return err
	})
	if isDamage(err) {
		err = fmt.Errorf("%s is damaged; put a copy in its place with notepay restore COPY: %w", f.path, err)
	}
	return is, err
}

// notices returns the findings that concern the operator, as sentences.
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
