package ledger

import "fmt"

// notepay makes the checkpoints itself, which move the log into the database, because the record
// must announce each: a database that was written since it was recorded is otherwise one that was
// replaced. SQLite makes none by itself (wal_autocheckpoint is 0).

// logFrames is the length of the log at which it is moved, as SQLite has it: 4 MB.
const logFrames = 1000

// minLogFrames is the same on the smallest disk.
const minLogFrames = 16

// maxFrames returns the length of the log at which it is moved. On a small disk that is a quarter
// of what the log and the free room are together: moving it makes the database grow, and a log that
// has taken the last room could never be moved.
func (f *ledgerFiles) maxFrames() int64 {
	header, ok := f.logHeader()
	space, err := SpaceAt(f.path)
	if !ok || err != nil {
		return logFrames
	}
	room := int64(min(space.Free, 1<<40))
	if info, err := f.log.Stat(); err == nil {
		room += info.Size()
	}
	return max(minLogFrames, min(logFrames, room/4/(frameHeaderSize+header.PageSize)))
}

// logCheckInterval is after how many commits the log's length is looked at.
const logCheckInterval = 16

// generationCursor names the cursor that holds the generation: which state of which ledger the
// database is. It changes at each start, at each checkpoint and at the end, so that a copy made in
// between is not mistaken for the ledger.
const generationCursor = "ledger_generation"

// enter stores the announced generation. A database that is not the one that was closed here is
// stamped as a copy.
func (w *sharedWriter) enter(generation string, replaced bool) error {
	err := w.alone(func(tx *Tx) error {
		if replaced {
			if err := tx.SetMeta(metaBackup, tx.Now); err != nil {
				return err
			}
		}
		return tx.SetCursor(generationCursor, generation)
	})
	if err == nil {
		w.files.entered()
	}
	return err
}

// moveLog moves the log into the database, by one of SQLite's modes of a checkpoint. Before and
// after, the ledger gets another generation, so that no copy made in between has that of the
// database. If we stop in between, the record says that the database may be written, and SQLite
// moves the same log again. Errors change nothing about what was acknowledged, and the next commit
// tries again. Until then, the record goes on saying so.
func (w *sharedWriter) moveLog(mode string) {
	switch {
	case mode == passive: // the disk is full
		if _, err := w.files.announce(false); err != nil {
			return
		}
	case !w.sealed:
		if w.mark(true) != nil {
			return
		}
		w.sealed = true
	}
	if !w.checkpoint(mode) || w.mark(false) != nil {
		return
	}
	w.sealed = false
	_ = w.files.settle()
}

// mark announces another generation and stores it.
func (w *sharedWriter) mark(end bool) error {
	generation, err := w.files.announce(end)
	if err != nil {
		return err
	}
	return w.enter(generation, false) // if it fails, the record names both generations
}

// passive is the mode of a checkpoint that needs no new room.
const passive = "PASSIVE"

// checkpoint moves the log into the database and reports whether the next transaction begins the
// log anew for certain. It does not, if another process reads from the log, or if the disk is full.
// checkpoint does not wait for readers, because all writers would wait with it.
func (w *sharedWriter) checkpoint(mode string) (whole bool) {
	if _, err := w.tx.exec("PRAGMA busy_timeout(0)"); err != nil {
		return false
	}
	rows, err := w.tx.db.query("PRAGMA wal_checkpoint(" + mode + ")")
	busy, err := one(rows, err, func(s scanner) (busy int64, err error) {
		var log, moved int64
		return busy, s.Scan(&busy, &log, &moved)
	})
	_, restoreErr := w.tx.exec(fmt.Sprintf("PRAGMA busy_timeout(%d)", busyTimeout.Milliseconds()))
	return err == nil && busy == 0 && restoreErr == nil && mode != passive
}

// leave gives the ledger the generation that it is closed with. If that fails, the record says what
// may be there.
func (w *sharedWriter) leave() { _ = w.mark(true) }
