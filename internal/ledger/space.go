package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Space is the free and the total space of a file system, in bytes.
type Space struct{ Free, Total uint64 }

const (
	// spaceFloor is the free space below which sales stop. Open payments still need space: about 4
	// KiB each in the file, and up to a quarter of the free space in SQLite's log.
	spaceFloor = 16 << 20
	// spaceWarning is the free space below which the operator gets a warning.
	spaceWarning = 256 << 20
)

// Floor returns the free space below which sales stop: 16 MiB, or a twentieth of a small disk.
func (s Space) Floor() uint64 { return min(spaceFloor, s.Total/20) }

// Enough returns the free space above which sales resume. It is 1.5 times the floor, so that sales
// do not stop and resume all the time.
func (s Space) Enough() uint64 { return s.Floor() + s.Floor()/2 }

// Tight reports whether the operator should free space soon.
func (s Space) Tight() bool { return s.Free < min(spaceWarning, s.Total/5) }

// Space returns the space on the ledger's disk. It returns errors.ErrUnsupported if the system does
// not report it or the ledger is in PostgreSQL.
func (l *Ledger) Space() (Space, error) {
	if l.path == "" {
		return Space{}, errors.ErrUnsupported
	}
	return SpaceAt(l.path)
}

// LogSize returns the size of SQLite's log in bytes, 0 if there is none.
func (l *Ledger) LogSize() int64 {
	if l.path == "" {
		return 0
	}
	info, err := os.Stat(l.path + "-wal")
	if err != nil {
		return 0
	}
	return info.Size()
}

// ShrinkLog truncates SQLite's log, to free space on a small disk. It does nothing while a reader
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

// probeRows and probePadding make ProbeRoom need more space than any one payment.
const (
	probeRows    = 12
	probePadding = 1000 // bytes; PostgreSQL allows 2,704 in an index
)

// ProbeRoom checks whether payments can be recorded, with rows that need new space. On a full disk
// a small change of an existing row, as by Probe, may still succeed. ProbeRoom deletes the rows at
// once, and their space stays free inside the file.
func (l *Ledger) ProbeRoom(ctx context.Context) error {
	remove := func(tx *Tx) error {
		_, err := tx.exec(`DELETE FROM facts WHERE name LIKE 'probe/%'`)
		return err
	}
	err := l.Update(ctx, func(tx *Tx) error {
		if err := remove(tx); err != nil { // left by a process that stopped in between
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
	// If notepay stops here, the rows stay until the next call.
	return l.Update(ctx, remove)
}
