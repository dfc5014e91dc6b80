package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Space is how much room a file system has, in bytes.
type Space struct{ Free, Total uint64 }

const (
	// spaceFloor is how much must be free for sales to go on. Payments that are under way when
	// sales stop still need room: about 4 KiB each in the file, and up to 4 MiB in SQLite's log
	// before SQLite moves it into the file.
	spaceFloor = 16 << 20
	// spaceWarning is how much should be free, so that the operator has time.
	spaceWarning = 256 << 20
)

// Floor returns how much must be free for sales to go on: 16 MiB, but at most a twentieth of a
// small disk.
func (s Space) Floor() uint64 { return min(spaceFloor, s.Total/20) }

// Enough returns how much must be free for sales to begin again: half as much again as the floor,
// so that they do not begin and end all the time.
func (s Space) Enough() uint64 { return s.Floor() + s.Floor()/2 }

// Tight reports whether the operator should make room soon.
func (s Space) Tight() bool { return s.Free < min(spaceWarning, s.Total/5) }

// Space returns the room on the ledger's disk, or errors.ErrUnsupported where the system does not
// tell or the ledger is in PostgreSQL.
func (l *Ledger) Space() (Space, error) {
	if l.path == "" {
		return Space{}, errors.ErrUnsupported
	}
	return SpaceAt(l.path)
}

// LogSize returns the size of SQLite's log, in bytes; 0 where there is none.
func (l *Ledger) LogSize() int64 {
	if l.path == "" {
		return 0
	}
	path := l.path
	if target, err := filepath.EvalSymlinks(path); err == nil { // SQLite keeps the log beside the target
		path = target
	}
	info, err := os.Stat(path + "-wal")
	if err != nil {
		return 0
	}
	return info.Size()
}

// ShrinkLog makes SQLite's log empty, to gain room on a small disk. It does nothing while a reader
// uses the log.
func (l *Ledger) ShrinkLog(ctx context.Context) {
	w, ok := l.writer.(*sharedWriter)
	if !ok {
		return
	}
	shrunk := make(chan struct{})
	select {
	case w.shrinks <- shrunk:
		<-shrunk
	case <-w.closing:
	case <-ctx.Done():
	}
}

// probeRows and probePadding make ProbeRoom need more room than any one payment does.
const (
	probeRows    = 12
	probePadding = 1000 // bytes; PostgreSQL allows 2,704 in an index
)

// ProbeRoom finds out whether payments can be recorded, as Probe does, but with rows that need new
// room: on a full disk a small change of an existing row may still succeed. It removes the rows at
// once, and what they used stays free in the file.
func (l *Ledger) ProbeRoom(ctx context.Context) error {
	remove := func(tx *Tx) error {
		_, err := tx.exec(`DELETE FROM facts WHERE name LIKE 'probe/%'`)
		return err
	}
	err := l.Update(ctx, func(tx *Tx) error {
		if err := remove(tx); err != nil { // left by a process that was stopped in between
			return err
		}
		for n := range probeRows {
			if err := tx.SetMeta(fmt.Sprintf("probe/%d/%s", n, strings.Repeat("x", probePadding)), tx.Now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	// If we stop here, the rows stay until the next call.
	return l.Update(ctx, remove)
}
