// Package backup makes copies of the ledger on a schedule and keeps the newest.
//
// It promises that a copy with its final name is complete and was checked, and that it deletes only
// files that it has named itself. It raises problem.Backup while no recent copy exists. It does not
// know whether the copies are on another disk, which they should be.
package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"notepay/internal/message"
	"notepay/internal/problem"
)

// Config configures Run. All fields are required.
type Config struct {
	Dir      string
	Every    time.Duration
	Keep     int // how many copies stay, at least 1
	Copy     func(ctx context.Context, file string) error
	Problems *problem.Board
	Log      *slog.Logger
}

// maxRetryInterval is the longest wait after a copy that failed.
const maxRetryInterval = 15 * time.Minute

// Run makes a copy whenever the newest is older than Every, until ctx ends.
func Run(ctx context.Context, c Config) {
	for ctx.Err() == nil {
		wait := c.step(ctx)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// step makes a copy if one is due, and returns how long to wait.
func (c Config) step(ctx context.Context) time.Duration {
	now := time.Now()
	copies, err := List(c.Dir)
	if err == nil && len(copies) > 0 {
		// A copy that seems to come from the future does not delay the next.
		if age := now.Sub(copies[0].At); age >= 0 && age < c.Every {
			c.Problems.Clear(problem.Backup)
			return c.Every - age
		}
	}
	if err == nil {
		err = c.copy(ctx, now)
	}
	if ctx.Err() != nil {
		return 0
	}
	if err != nil {
		c.Log.Warn("backup failed", "dir", c.Dir, "err", err)
		if len(copies) == 0 || Overdue(now.Sub(copies[0].At), c.Every) {
			c.Problems.Raise(problem.Problem{
				Code: problem.Backup,
				Text: message.New("No recent backup of the ledger exists. " +
					"Check BACKUP_DIR: its owner and its free space."),
				Detail: err.Error(),
			})
		}
		return min(c.Every, maxRetryInterval)
	}
	c.Problems.Clear(problem.Backup)
	return c.Every
}

// Overdue reports whether a copy of this age is too old to rely on.
func Overdue(age, every time.Duration) bool { return age >= 2*every }

// copy makes a copy and then removes those that are too many.
func (c Config) copy(ctx context.Context, now time.Time) error {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return err
	}
	file := filepath.Join(c.Dir, now.UTC().Format(layout))
	if err := c.Copy(ctx, file); err != nil {
		return err
	}
	c.Log.Info("backup written", "file", file)
	copies, err := List(c.Dir)
	if err != nil {
		return err
	}
	// The new copy is complete before an old one goes.
	for _, old := range copies[min(c.Keep, len(copies)):] {
		if old.File == file {
			continue // the clock was set back, and the others seem newer
		}
		if err := os.Remove(old.File); err != nil {
			return fmt.Errorf("remove an old backup: %w", err)
		}
	}
	return nil
}

// Copy is a copy of the ledger.
type Copy struct {
	File string
	At   time.Time // by its name, because copying a file changes its time
}

// layout is the name of a copy, in UTC.
const layout = "notepay-20060102T150405Z.db"

var name = regexp.MustCompile(`^notepay-\d{8}T\d{6}Z\.db$`)

// List returns the copies in a directory, newest first. A missing directory has none.
func List(dir string) (copies []Copy, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !name.MatchString(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		if at, err := time.Parse(layout, e.Name()); err == nil {
			copies = append(copies, Copy{filepath.Join(dir, e.Name()), at})
		}
	}
	slices.SortFunc(copies, func(a, b Copy) int { return b.At.Compare(a.At) })
	return copies, nil
}
