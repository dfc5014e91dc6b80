package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// lockKey identifies the advisory lock of a running notepay (the letters "notepay").
const lockKey = 0x6e6f7465706179

// metaOpened names the time when a process last opened this database. It shows whether another
// process has had the lock since.
const metaOpened = "opened"

const (
	// lockInterval is how often notepay checks the session that holds the lock.
	lockInterval = time.Second
	// lockTimeout is how long that session may be silent before notepay rejects updates. The server
	// notices a lost client only after 20 seconds (keepalive). So updates stop long before another
	// process can get the lock.
	lockTimeout = 3 * time.Second
	// connectTimeout bounds one attempt to connect.
	connectTimeout = 4 * time.Second
	// releaseTimeout bounds the release of the lock at shutdown.
	releaseTimeout = time.Second
)

// errLockUnknown is returned by updates while the session with the lock does not respond.
var errLockUnknown = errors.New("the database does not answer on the connection that holds the lock")

// errLockLost is returned by updates after the lock is lost. It wraps ErrClosed, because retries
// are useless.
var errLockLost = fmt.Errorf("the lock on the database was lost: %w", ErrClosed)

// ErrLockLost tells the operator why notepay stops after Lost is closed.
var ErrLockLost = errors.New(
	"the lock on the database was lost, because PostgreSQL ended the connection that held it " +
		"or another notepay or another server has taken over; " +
		"start notepay again, it refuses to run beside another one",
)

// postgresLock is an advisory lock, which belongs to a session. PostgreSQL releases it when the
// session ends, in whatever way.
//
// A restart of the server ends all sessions. notepay then takes the lock again on two conditions.
// No other process may have opened the database since. The server must be the same one, not a
// replica or a restored backup. If the session ends while the server keeps running, an operator
// ended it or the network failed. Another process may then get the lock at any moment, so the lock
// counts as lost.
type postgresLock struct {
	db       *sql.DB
	conn     *sql.Conn
	server   time.Time // start time of the server
	timeline string    // timeline of the server's history, "" if unknown
	opened   time.Time // the time that this process stored as metaOpened

	state atomic.Int32 // lockHeld, lockUnknown or lockLost
	lost  chan struct{}
	stop  context.CancelFunc
	ended sync.WaitGroup
}

const (
	lockHeld int32 = iota
	lockUnknown
	lockLost
)

// takeLock takes the lock, or returns ErrLocked.
func takeLock(ctx context.Context, db *sql.DB) (*postgresLock, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	k := &postgresLock{db: db, conn: conn, lost: make(chan struct{})}
	var locked bool
	row := conn.QueryRowContext(ctx, `SELECT pg_postmaster_start_time(), pg_try_advisory_lock($1)`, int64(lockKey))
	err = row.Scan(&k.server, &locked)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock: %w", err), conn.Close())
	}
	if !locked {
		return nil, errors.Join(ErrLocked, conn.Close())
	}
	k.timeline = timelineOf(ctx, conn)
	return k, nil
}

// timelineOf returns the timeline of the server's history. It changes when a replica is promoted or
// a backup restored. timelineOf returns "" if the server does not report it.
func timelineOf(ctx context.Context, conn *sql.Conn) (timeline string) {
	row := conn.QueryRowContext(ctx, `SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)`)
	if row.Scan(&timeline) != nil {
		return ""
	}
	return timeline
}

// keep starts the checks. It calls failed when updates begin to be rejected.
func (k *postgresLock) keep(opened time.Time, failed func(error)) {
	k.opened = opened
	ctx, stop := context.WithCancel(context.Background())
	k.stop = stop
	k.ended.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(lockInterval):
			}
			if !k.check(ctx, failed) {
				return
			}
		}
	})
}

// check checks the session that holds the lock, and takes the lock again if it can. It reports
// whether the lock is held.
func (k *postgresLock) check(ctx context.Context, failed func(error)) bool {
	unknown := func() {
		k.state.Store(lockUnknown)
		failed(errLockUnknown)
	}
	// The query has no deadline: pgx would close the session and lose the lock just because the
	// server is slow.
	answered := make(chan error, 1)
	conn := k.conn
	go func() {
		_, err := conn.ExecContext(context.Background(), `SELECT 1`)
		answered <- err
	}()
	timeout := time.NewTimer(lockTimeout)
	defer timeout.Stop()
	var err error
	for waiting := true; waiting; {
		select {
		case err = <-answered:
			waiting = false
		case <-timeout.C:
			unknown()
		case <-ctx.Done():
			return false
		}
	}
	if err == nil {
		k.state.Store(lockHeld)
		return true
	}
	unknown()
	for { // the server may be down for long
		err := k.retake(ctx)
		switch {
		case err == nil:
			k.state.Store(lockHeld)
			return true
		case ctx.Err() != nil:
			return false
		case errors.Is(err, errLockLost):
			k.state.Store(lockLost)
			close(k.lost)
			failed(errLockLost)
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(lockInterval):
		}
	}
}

// retake takes the lock again after a restart of the server. It returns errLockLost if that is not
// allowed, and another error if the server cannot be reached.
func (k *postgresLock) retake(ctx context.Context) error {
	_ = k.conn.Close() // the session has ended
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := k.db.Conn(ctx)
	if err != nil {
		return err
	}
	k.conn = conn
	var started time.Time
	if err := conn.QueryRowContext(ctx, `SELECT pg_postmaster_start_time()`).Scan(&started); err != nil {
		return err
	}
	if started.Equal(k.server) {
		return errLockLost
	}
	var locked bool
	if err := conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, int64(lockKey)).Scan(&locked); err != nil {
		return err
	}
	if !locked {
		return errLockLost
	}
	var opened time.Time
	row := conn.QueryRowContext(ctx, `SELECT value FROM facts WHERE name = $1`, metaOpened)
	if err := row.Scan(instant{&opened}); err != nil {
		if errors.Is(err, sql.ErrNoRows) {
			return errLockLost // another database
		}
		return err
	}
	// A promoted replica or a restored backup may lack updates that this process has acknowledged.
	if timeline := timelineOf(ctx, conn); !opened.Equal(k.opened) || timeline != k.timeline {
		return errLockLost
	}
	k.server = started
	return nil
}

// held returns why updates are rejected, or nil.
func (k *postgresLock) held() error {
	switch k.state.Load() {
	case lockUnknown:
		return errLockUnknown
	case lockLost:
		return errLockLost
	}
	return nil
}

// release releases the lock before it closes the connection, because the server is slow to notice a
// closed connection. A failure does no harm: the session has ended, or ends with this process.
func (k *postgresLock) release() {
	if k.stop != nil {
		k.stop()
		k.ended.Wait()
	}
	released := make(chan struct{})
	go func() {
		defer close(released)
		if k.state.Load() == lockHeld {
			ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
			defer cancel()
			_, _ = k.conn.ExecContext(ctx, `SELECT pg_advisory_unlock($1)`, int64(lockKey))
		}
		_ = k.conn.Close()
	}()
	select {
	case <-released:
	case <-time.After(releaseTimeout): // a running check uses the connection, and the server may never respond
	}
}
