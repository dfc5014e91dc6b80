package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"modernc.org/sqlite"
)

var (
	// errDamaged means that a check found a damaged database.
	errDamaged = errors.New("the database is damaged")
	// errMoved means that the next start would not find what this process writes.
	errMoved = errors.New("nothing more is recorded in this ledger; put its files back, " +
		"or stop notepay and run notepay restore COPY")
)

// isDamage reports whether err means a damaged SQLite file: SQLITE_CORRUPT or SQLITE_NOTADB
// (sqlite.org/rescode.html).
func isDamage(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return errors.Is(err, errDamaged) || (ok && (e.Code()&0xff == 11 || e.Code()&0xff == 26))
}

// condition holds what is wrong with an open ledger. Damage stays until the ledger is opened again.
// A nil *condition holds nothing.
type condition struct {
	changed chan struct{} // holds one element after a change

	mu             sync.Mutex
	damaged, moved error
}

func newCondition() *condition { return &condition{changed: make(chan struct{}, 1)} }

// note records err if it means damage, and returns err.
func (c *condition) note(err error) error {
	if err == nil || c == nil || !isDamage(err) {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.damaged == nil {
		c.damaged = err
		c.signal()
	}
	return err
}

// setMoved records whether the files are still the ones that were opened.
func (c *condition) setMoved(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if (c.moved == nil) != (err == nil) {
		c.signal()
	}
	c.moved = err
}

func (c *condition) isMoved() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.moved != nil
}

func (c *condition) signal() {
	select {
	case c.changed <- struct{}{}:
	default: // a change is signaled already
	}
}

func (c *condition) problem() error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.damaged != nil {
		return c.damaged
	}
	return c.moved
}

// Trouble returns what is wrong with the files of an open ledger: they are damaged or were moved
// away. Sales must stop meanwhile. It returns nil if nothing is wrong, and always for PostgreSQL.
func (l *Ledger) Trouble() error { return l.condition.problem() }

// Damaged reports whether an error of Trouble means a damaged file. Damage is permanent.
func Damaged(err error) bool { return isDamage(err) }

// watchInterval is how often Watch checks whether an idle ledger was moved away. Each write checks
// the same.
const watchInterval = time.Second

// Watch calls report after each change of Trouble until ctx ends. It also finishes the check of a
// large ledger that was not closed.
func (l *Ledger) Watch(ctx context.Context, report func(error)) {
	if l.files == nil {
		return
	}
	if l.unchecked {
		var check sync.WaitGroup
		check.Go(func() {
			_, err := quickCheck(ctx, l.reads, time.Hour)
			_ = l.condition.note(err)
		})
		defer check.Wait()
	}
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for was := error(nil); ; {
		if is := l.Trouble(); (is == nil) != (was == nil) || Damaged(is) != Damaged(was) {
			report(is)
			was = is
		}
		select {
		case <-ctx.Done():
			return
		case <-l.condition.changed:
		case <-tick.C:
			if _, err := inPlace(l.files.opened); err != nil || l.Trouble() != nil {
				l.condition.setMoved(err)
			}
		}
	}
}

// observedRows records damage that SQLite finds while rows are read.
type observedRows struct {
	*sql.Rows
	condition *condition
}

// Err returns the error that ended the rows early.
func (r observedRows) Err() error { return r.condition.note(r.Rows.Err()) }

// quickCheck checks a database's pages. It reports whether limit ended the check early.
func quickCheck(ctx context.Context, db queryer, limit time.Duration) (unfinished bool, err error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var verdict string
	err = db.QueryRowContext(limited, `PRAGMA quick_check(1)`).Scan(&verdict)
	switch {
	case err != nil && limited.Err() != nil && ctx.Err() == nil:
		return true, nil
	case err != nil:
		return false, err
	case verdict != "ok":
		return false, fmt.Errorf("%w: %s", errDamaged, verdict)
	}
	return false, nil
}

type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}
