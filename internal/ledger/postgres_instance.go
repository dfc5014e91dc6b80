package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"notepay/internal/vendortime"
)

const (
	// beatInterval is how often an instance reports that it is alive.
	beatInterval = time.Second
	// beatTimeout bounds one report.
	beatTimeout = 2 * time.Second
	// aliveTime is how long an instance counts as alive without a new report. A process that starts after
	// a crash waits for that time. If the database was away, it is enough for a report that fails when the
	// database is back, the wait after it, and one that succeeds.
	aliveTime = beatTimeout + beatInterval + beatTimeout
	// maxLookBreak is the longest time between two looks at the others that is no break.
	maxLookBreak = beatTimeout
	// aliveInterval is how often a process that starts looks whether others are alive.
	aliveInterval = 200 * time.Millisecond
	// startTimeout is how long a process waits while another one starts and has nothing to share yet.
	startTimeout = 30 * time.Second
	// releaseTimeout bounds the farewell at shutdown.
	releaseTimeout = time.Second
	// goneTime is how long the row of an instance that is not seen stays.
	goneTime = 10 * time.Minute
)

const (
	// olderLock is the advisory lock of a running notepay of before there were instances (the letters
	// "notepay").
	olderLock = 0x6e6f7465706179
	// writersLock is the advisory lock of a transaction that writes. See postgresWriter.
	writersLock = olderLock + 1
)

// errLeaseLost is returned by updates after the instance is replaced. It wraps ErrClosed, because
// retries are useless.
var errLeaseLost = fmt.Errorf("the lease on the database was lost: %w", ErrClosed)

// ErrLeaseLost tells the operator why notepay stops after Lost is closed.
var ErrLeaseLost = errors.New(
	"the lease on the database was lost, because another notepay or another server has taken over; " +
		"start notepay again, it joins the others or takes over from them")

// createInstances creates the tables of the instances and of the leader, which has one row. They are
// no migration, because a process has to know the others before it migrates. All times are of the
// database's clock, in milliseconds.
//
// The id is a key so that a transaction can lock it against deletion with FOR KEY SHARE, while
// reports, which change no key, go on.
const createInstances = `CREATE TABLE IF NOT EXISTS instances (
	id TEXT NOT NULL PRIMARY KEY,
	seen BIGINT NOT NULL,
	ready BIGINT NOT NULL,
	timeline TEXT NOT NULL,
	level TEXT NOT NULL,
	livemode TEXT NOT NULL,
	project TEXT NOT NULL,
	settings TEXT NOT NULL,
	name TEXT NOT NULL DEFAULT '',
	weak BIGINT NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS leader (
	one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
	holder TEXT NOT NULL,
	term BIGINT NOT NULL,
	until BIGINT NOT NULL,
	ahead BIGINT NOT NULL,
	woke BIGINT NOT NULL);
INSERT INTO leader (one, holder, term, until, ahead, woke) VALUES (1, '', 0, 0, 0, 0) ON CONFLICT (one) DO NOTHING`

const databaseTime = `(extract(epoch FROM clock_timestamp()) * 1000)::bigint`

// Identity is what an instance tells the others of itself.
type Identity struct {
	Name     string // for operators, such as the host's
	Livemode string // of the Stripe key, "live" or "test"
	Project  string // app:... at Notehub
	Settings string // NAME=DIGEST of each setting that must be the same, separated by spaces

	level string // the newest migration that this program knows
}

// instance is this process among those that work on a database. It is a row that says when the
// process was last alive, by the database's clock. No session keeps it, so it outlives lost
// connections and restarts of the server.
//
// Safety does not depend on time: each transaction of the writer locks the row. A process that
// starts and finds no other alive deletes the rows of all others. So a process that stood still for
// long can write nothing once others have taken its work over.
type instance struct {
	server      *postgresServer
	id          string
	identity    Identity
	clock       *vendortime.Clock
	timeline    string // of the server at the start, "" if unknown
	alone       bool   // at the start no other instance was alive
	began       time.Time
	lost        chan struct{}
	once        sync.Once     // closes lost
	resigns     chan struct{} // asks the goroutine to give up the lead
	opens       chan struct{} // asks the goroutine to report and campaign at once
	stop        context.CancelFunc
	ended       sync.WaitGroup
	conn        *pgx.Conn    // nil while there is none; used by the goroutine, then by release
	steadySince atomic.Int64 // since when each report has succeeded, in Unix nanoseconds; 0: it has not

	told     chan Change   // what the others have to know
	hinted   chan struct{} // another instance has committed something
	hints    chan struct{} // asks the goroutine to hint that this one has
	deaf     atomic.Bool   // notifications do not arrive
	followed int64         // the last change that was read; used by Follow

	leadership
	others sightings // used by join, then by the goroutine
	peers  atomic.Pointer[[]Peer]
}

// Peer is another instance that is alive.
type Peer struct {
	ID       string
	Name     string // as in Identity
	Settings string // as in Identity
	Weak     bool   // see Ledger.Weak
}

// join makes this process an instance of the database, and starts to report that it is alive. It
// returns ErrLocked if another process works on it that does not share its work.
func join(ctx context.Context, server *postgresServer, identity Identity, clock *vendortime.Clock) (*instance, error) {
	i := &instance{
		server:     server,
		id:         rand.Text(),
		identity:   identity,
		clock:      clock,
		lost:       make(chan struct{}),
		resigns:    make(chan struct{}, 1),
		opens:      make(chan struct{}, 1),
		told:       make(chan Change, maxTold),
		hinted:     make(chan struct{}, 1),
		hints:      make(chan struct{}, 1),
		leadership: leadership{changed: make(chan struct{})},
	}
	i.peers.Store(&[]Peer{})
	ctx, cancel := context.WithTimeout(ctx, 2*connectTimeout+aliveTime+startTimeout)
	defer cancel()
	conn, timeline, err := server.connect(ctx)
	if err != nil {
		return nil, err
	}
	i.conn, i.timeline = conn, timeline
	if err := i.enter(ctx); err != nil {
		hangUp(conn)
		return nil, err
	}
	running, stop := context.WithCancel(context.Background())
	i.stop = stop
	i.beat()
	i.ended.Go(func() { i.listen(running) })
	i.ended.Go(func() {
		due := time.NewTimer(beatInterval)
		defer due.Stop()
		for {
			select {
			case <-running.Done():
				return
			case <-i.resigns:
				i.giveUpLead()
			case <-i.hints:
				i.sendHint()
			case <-i.opens:
				i.beat()
			case <-due.C:
				i.beat()
				due.Reset(beatInterval)
			}
		}
	})
	return i, nil
}

// enter waits until it is known whether other instances are alive, and then adds this one.
func (i *instance) enter(ctx context.Context) error {
	for began := time.Now(); ; {
		entered, err := i.tryEnter(ctx)
		switch {
		case isPostgres(err, lockTimeout):
			return ErrLocked
		case errors.Is(err, ErrLocked):
			return err
		case err != nil:
			return fmt.Errorf("join the instances: %w", err)
		case entered:
			return nil
		case time.Since(began) > startTimeout:
			return ErrLocked
		}
		select {
		case <-ctx.Done():
			return ErrLocked
		case <-time.After(aliveInterval):
		}
	}
}

// tryEnter adds this instance if it is known whether others are alive, and if one of them is ready.
func (i *instance) tryEnter(ctx context.Context) (entered bool, err error) {
	tx, err := i.conn.Begin(ctx)
	if err != nil {
		return false, err
	}
	defer func() {
		if err != nil || !entered {
			_ = tx.Rollback(ctx) // err says more
		}
	}()
	var older bool // whether a version of before the instances runs
	err = tx.QueryRow(ctx, `SELECT NOT pg_try_advisory_xact_lock($1)`, int64(olderLock)).Scan(&older)
	if err != nil {
		return false, err
	}
	if older { // or another process starts: it holds the lock for some milliseconds
		return false, nil
	}
	if _, err := tx.Exec(ctx, `SELECT set_config('lock_timeout', '3s', true)`); err != nil {
		return false, err
	}
	if _, err := tx.Exec(ctx, createInstances); err != nil {
		return false, err
	}
	known, open, ready, err := i.look(ctx, tx)
	if err != nil || known && !ready || !known && open {
		return false, err
	}
	i.alone = !known
	if i.alone {
		// From here on the others can write nothing. Their calls may still run at the vendors, so
		// their leases stay.
		_, err := tx.Exec(ctx, `DELETE FROM instances`)
		if err == nil {
			_, err = tx.Exec(ctx, `UPDATE leader SET woke = `+databaseTime+`, until = 0`)
		}
		if err != nil {
			return false, err
		}
	}
	_, err = tx.Exec(ctx, `INSERT INTO instances
		(id, seen, ready, timeline, level, livemode, project, settings, name, weak)
		VALUES ($1, `+databaseTime+`, $2, $3, $4, $5, $6, $7, $8, 1)`, i.id, bit(!i.alone), i.timeline,
		i.identity.level, i.identity.Livemode, i.identity.Project, i.identity.Settings, i.identity.Name)
	if err != nil {
		return false, err
	}
	var ago float64
	err = tx.QueryRow(ctx, `SELECT (`+databaseTime+` - woke)::float8 FROM leader`).Scan(&ago)
	i.began = time.Now().Add(-time.Duration(ago) * time.Millisecond)
	if err != nil {
		return false, err
	}
	return true, tx.Commit(ctx)
}

// fits returns why this process cannot work beside another instance, or nil. Whether their schemas
// fit together is decided by the migrations that the database has seen.
func (i *instance) fits(livemode, project string) error {
	differ := func(a, b string) bool { return a != b && a != "" && b != "" }
	switch {
	case differ(livemode, i.identity.Livemode):
		return fmt.Errorf("%w with a Stripe key of %s mode, and this one has a key of %s mode",
			ErrLocked, livemode, i.identity.Livemode)
	case differ(project, i.identity.Project):
		return fmt.Errorf("%w for the Notehub project %s, and this one is for %s",
			ErrLocked, project, i.identity.Project)
	}
	return nil
}

// report writes that the instance is alive, and reads the time of all instances.
const report = `WITH clock AS (SELECT ` + databaseTime + ` AS ms),
	own AS (UPDATE instances SET seen = (SELECT ms FROM clock), weak = $3 WHERE id = $1 RETURNING 1),
	proposed AS (UPDATE leader SET ahead = $2 WHERE $2::bigint IS NOT NULL RETURNING ahead)
	SELECT (SELECT count(*) FROM own), ms, coalesce((SELECT ahead FROM proposed), (SELECT ahead FROM leader))
	FROM clock`

// beat reports that the instance is alive, reads the clock, and takes or keeps the lead. It notices
// when another process has replaced this one, or when another server without the latest updates may
// have taken over.
func (i *instance) beat() {
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), beatTimeout)
	defer cancel()
	err := i.tryBeat(ctx, began)
	if err != nil && i.conn != nil {
		i.server.drop(i.conn)
		i.conn = nil
	}
	if err != nil {
		i.steadySince.Store(0)
		return
	}
	i.steadySince.CompareAndSwap(0, began.UnixNano())
}

func (i *instance) tryBeat(ctx context.Context, began time.Time) error {
	if i.held() != nil {
		return nil // it may not lead any more
	}
	if i.conn == nil {
		conn, timeline, err := i.server.connect(ctx)
		if err != nil {
			return err // the next beat tries again
		}
		if i.conn = conn; i.otherServer(timeline) {
			return nil
		}
	}
	var proposal *int64
	if d, ok := i.clock.Proposal(); ok {
		ms := d.Milliseconds()
		proposal = &ms
	}
	asked := time.Now() // without the time to connect
	var own, now, ahead int64
	if err := i.conn.QueryRow(ctx, report, i.id, proposal, bit(i.unfit())).Scan(&own, &now, &ahead); err != nil {
		return err
	}
	if own == 0 {
		i.lose()
		return nil
	}
	if i.clock.Follow(time.UnixMilli(now), asked, time.Now(), time.Duration(ahead)*time.Millisecond) {
		i.steadySince.Store(0) // the rows of all others look old
	}
	if err := i.findPeers(ctx); err != nil {
		return err
	}
	return i.campaign(ctx, began)
}

// otherServer reports whether a connection leads to a server with another history. A promoted
// replica or a restored backup may lack updates that this process has acknowledged, so a new start
// has to read again what follows from them.
func (i *instance) otherServer(timeline string) bool {
	if timeline == i.timeline {
		return false
	}
	i.lose()
	return true
}

func (i *instance) lose() {
	i.once.Do(func() { close(i.lost) })
	i.leadership.end()
}

// held returns errLeaseLost after the instance was replaced.
func (i *instance) held() error {
	select {
	case <-i.lost:
		return errLeaseLost
	default:
		return nil
	}
}

// release takes the instance's row away, so that the next process starts at once. A failure does no
// harm: the row ends by itself.
func (i *instance) release() {
	i.stop()
	i.ended.Wait()
	if i.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	_, _ = i.conn.Exec(ctx, `WITH gone AS (DELETE FROM instances WHERE id = $1), `+resign,
		i.id, hintChannel, i.id+" "+leadHint)
	hangUp(i.conn)
}
