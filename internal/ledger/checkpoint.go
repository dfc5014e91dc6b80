package ledger

import (
	"database/sql"
	"fmt"
)

// A checkpoint moves the log into the database. notepay runs the checkpoints itself
// (wal_autocheckpoint is 0), because the record must announce each of them. Without an
// announcement, a database that has changed counts as replaced.
//
// A long log is moved in two steps. First a goroutine with its own connection moves what the log
// holds, while the writer appends to it. Then the writer moves the short rest and restarts the log.
// So payments wait for the rest alone. The writer does not let the log grow beyond maxFrames while
// the goroutine works: it waits for the goroutine.

// logFrames is the length at which notepay restarts the log: 32 MB. A longer log saves writes,
// because a page that changed often is moved once. But the start after a crash takes longer.
const logFrames = 8000

// minLogFrames is the same limit on the smallest disk.
const minLogFrames = 16

// maxFrames returns the length at which the writer restarts the log. On a small disk that is a
// quarter of the log and the free space together. Moving the log makes the database grow, so a log
// that fills the disk could never be moved.
func (f *ledgerFiles) maxFrames() int64 {
	header, ok := f.logHeader()
	space, err := SpaceAt(f.path)
	if !ok || err != nil {
		return f.logFrames
	}
	room := int64(min(space.Free, 1<<40))
	if info, err := f.log.Stat(); err == nil {
		room += info.Size()
	}
	return max(minLogFrames, min(f.logFrames, room/4/(frameHeaderSize+header.PageSize)))
}

// spaceCheckInterval is the number of commits between two looks at the free space.
const spaceCheckInterval = 16

// mover moves the log beside the writer, through a connection of its own. The writer's goroutine
// calls its methods.
type mover struct {
	db       *sql.DB
	done     chan struct{} // receives one element at the end of each move
	underWay bool
}

// openMover prepares the connection. It is opened by the first move.
func openMover(path string) (*mover, error) {
	db, err := sql.Open("sqlite", fileURI(path, sqliteSettings+"&_pragma=wal_autocheckpoint(0)"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return &mover{db: db, done: make(chan struct{}, 1)}, nil
}

// start moves the log into the database as far as its readers allow. The caller has announced that
// the database changes.
func (m *mover) start(condition *condition) {
	m.underWay = true
	go func() {
		defer func() { m.done <- struct{}{} }()
		// The log keeps what was not moved, and the writer's own checkpoint follows.
		_, err := m.db.Exec("PRAGMA wal_checkpoint(" + passive + ")")
		_ = condition.note(err)
	}()
}

// wait blocks until no move is under way.
func (m *mover) wait() {
	if m.underWay {
		<-m.done
		m.underWay = false
	}
}

// close waits for the move under way and closes the connection. The writer's connection is still
// open, so SQLite does not move the log.
func (m *mover) close() error {
	m.wait()
	return m.db.Close()
}

// keepLogShort follows each commit. It starts a move of the log when three quarters of the longest
// log are used, and restarts the log when it is full or a checkpoint could not be finished before.
func (w *sharedWriter) keepLogShort() {
	if w.commits++; w.maxFrames == 0 || w.commits%spaceCheckInterval == 0 {
		w.maxFrames = w.files.maxFrames()
	}
	switch {
	case w.files.logHas(w.maxFrames):
		w.moveLog("RESTART") // waits for the mover
	case w.mover.underWay:
	case w.files.busy() && w.files.logHas(w.maxFrames/8):
		w.moveLog("RESTART") // a reader was in the way, or the disk was full
	case w.files.logHas(w.maxFrames / 4 * 3):
		if _, err := w.files.announce(false); err == nil {
			w.mover.start(w.files.condition)
		}
	}
}

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
	w.mover.wait()
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
func (w *sharedWriter) leave() {
	w.mover.wait()
	_ = w.mark(true)
}
