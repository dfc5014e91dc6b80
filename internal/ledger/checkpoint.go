package ledger

import (
	"errors"
	"fmt"
)

// notepay makes the checkpoints itself, which move the log into the database, because the record
// must announce each: a database that was written since it was recorded is otherwise one that was
// replaced. SQLite makes none by itself (wal_autocheckpoint is 0).

// logFrames is the length of the log at which it is moved, as SQLite has it: 4 MB.
const logFrames = 1000

// logLook is after how many commits the log's length is looked at.
const logLook = 16

// generationName names the cursor that holds the generation: which state of which ledger the
// database is. It changes at each start, at each checkpoint and at the end, so that a copy made in
// between is not mistaken for the ledger.
const generationName = "ledger_generation"

// enter stores the announced generation. A database that is not the one that was closed here is stamped as a copy.
func (w *sharedWriter) enter(generation string, replaced bool) error {
	err := w.alone(func(tx *Tx) error {
		if replaced {
			if err := tx.SetFact(factBackup, tx.Now); err != nil {
				return err
			}
		}
		return tx.SetCursor(generationName, generation)
	})
	if err == nil {
		w.files.entered()
	}
	return err
}

// moveLog moves the log into the database and begins it anew. If we stop in between, the record
// says that the database may be written, and SQLite moves the same log again. Errors change nothing
// about what was acknowledged, and the next commit tries again.
func (w *sharedWriter) moveLog() {
	generation, err := w.files.announce()
	if err != nil {
		return
	}
	whole, err := w.checkpoint()
	w.limit = logFrames
	if err != nil || !whole {
		// Somebody reads from the log, so it cannot begin anew. Trying again at each commit would
		// cost as much as the commits.
		for w.files.logHas(w.limit) {
			w.limit += logFrames
		}
	}
	_ = errors.Join(w.enter(generation, false), w.files.settle())
}

// checkpoint reports whether the whole log is in the database now and no reader needs it any more.
// It does not wait for readers: all writers would wait with it.
func (w *sharedWriter) checkpoint() (whole bool, err error) {
	if _, err := w.tx.exec("PRAGMA busy_timeout(0)"); err != nil {
		return false, err
	}
	rows, err := w.tx.db.query("PRAGMA wal_checkpoint(RESTART)")
	busy, err := one(rows, err, func(s scanner) (busy int64, err error) {
		var log, moved int64
		return busy, s.Scan(&busy, &log, &moved)
	})
	if _, e := w.tx.exec(fmt.Sprintf("PRAGMA busy_timeout(%d)", busyTimeout.Milliseconds())); e != nil {
		err = errors.Join(err, e)
	}
	return err == nil && busy == 0, err
}

// leave gives the ledger the generation that it is closed with, so that a copy made until now is
// none that was closed here.
func (w *sharedWriter) leave() {
	if generation, err := w.files.announce(); err == nil {
		_ = w.enter(generation, false) // if it fails, the record names both generations
	}
}
