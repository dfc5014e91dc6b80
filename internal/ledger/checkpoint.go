package ledger

import "fmt"

// A checkpoint moves the log into the database. notepay runs the checkpoints itself
// (wal_autocheckpoint is 0), because the record must announce each of them. Without an
// announcement, a database that has changed counts as replaced.

// logFrames is the length of the log at which notepay moves it: 4 MB, SQLite's own default.
const logFrames = 1000

// minLogFrames is the same limit on the smallest disk.
const minLogFrames = 16

// maxFrames returns the length of the log at which notepay moves it. On a small disk that is a
// quarter of the log and the free space together. Moving the log makes the database grow, so a log
// that fills the disk could never be moved.
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

// logCheckInterval is the number of commits between two checks of the log's length.
const logCheckInterval = 16

// generationCursor names the cursor that holds the generation, which identifies one state of one
// ledger. The generation changes at each start, at each checkpoint and at the end. A copy made in
// between therefore differs from the ledger.
const generationCursor = "ledger_generation"

// enter stores the announced generation. If the database was replaced, enter stamps it as a backup.
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

// moveLog runs a checkpoint in one of SQLite's modes. The ledger gets a new generation before and
// after it, so no copy made in between has the generation of the database.
//
// If notepay stops in between, the record says that the database may be partly written, and SQLite
// moves the same log again. An error does not affect acknowledged updates: the record keeps its
// state, and the next commit tries again.
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

// mark announces a new generation and stores it.
func (w *sharedWriter) mark(end bool) error {
	generation, err := w.files.announce(end)
	if err != nil {
		return err
	}
	return w.enter(generation, false) // after an error the record names both generations
}

// passive is the checkpoint mode that needs no new space.
const passive = "PASSIVE"

// checkpoint moves the log into the database. It reports whether the next transaction is certain to
// restart the log. That is not so if another process reads from the log or the disk is full.
// checkpoint does not wait for readers, because all updates would wait with it.
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

// leave gives the ledger its final generation. If that fails, the record names both possible
// generations.
func (w *sharedWriter) leave() { _ = w.mark(true) }
