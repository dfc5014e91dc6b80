package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"notepay/internal/vendortime"
)

const (
	// idlePingInterval is how often an idle writer checks its connection, and reconnects if it has
	// none.
	idlePingInterval = time.Second
	// idlePingTimeout bounds that check.
	idlePingTimeout = 2 * time.Second
	// batchTimeout bounds a transaction that several updates share.
	batchTimeout = 3 * time.Second
	// batchStatementTimeout bounds one statement of such a transaction. An update with a slower one
	// runs alone, for as long as its caller waits.
	batchStatementTimeout = 2 * time.Second
	// maxBatchTime is the time after which a batch takes no more updates, because the server is slow.
	maxBatchTime = 250 * time.Millisecond
	// loneTimeout bounds a transaction of one update.
	loneTimeout = 4 * time.Second
	// reconnectTimeout bounds an attempt to connect while an update waits.
	reconnectTimeout = 2 * time.Second
	// downTimeout is how long an update waits while the database cannot be reached.
	downTimeout = time.Second
	// lastMoment is how long before its deadline an update must have begun.
	lastMoment = 500 * time.Millisecond
	// maxCulprits is how many updates a batch runs again without before it is split into its parts.
	maxCulprits = 2
)

// errUnknownOutcome is returned for a transaction whose COMMIT was sent and not answered. Its
// changes may be on disk.
var errUnknownOutcome = errors.New("the reply to COMMIT was lost")

// postgresWriter is the only goroutine that writes to PostgreSQL. Waiting updates share one
// transaction, and so its round trips and its sync.
//
// The writers of several instances take turns: takeTurn waits for the transaction of another one. So
// each sees what all others have committed, and READ COMMITTED is enough. A writer that stands still
// in the middle of a transaction loses its turn after two seconds.
type postgresWriter struct {
	server  *postgresServer
	self    *instance
	updates chan *update
	closing chan struct{} // closed by stop, to reject new updates
	closed  chan struct{} // closed when the goroutine ends
	once    sync.Once
	clock   *vendortime.Clock

	down atomic.Bool // the last attempt to reach the database failed

	conn   *pgx.Conn // nil while there is none; only the goroutine uses it
	tx     postgresTx
	memory *memory
}

func newPostgresWriter(server *postgresServer, self *instance, clock *vendortime.Clock) *postgresWriter {
	return &postgresWriter{
		server:  server,
		self:    self,
		updates: make(chan *update), // unbuffered: the goroutine runs each update that it receives
		closing: make(chan struct{}),
		closed:  make(chan struct{}),
		clock:   clock,
		memory:  newMemory(),
	}
}

// update hands u to the writer. A caller that goes away, or has less than lastMoment left, leaves
// the queue. Once its update has begun, it waits for the result. Alone the update takes no longer
// than its deadline. A transaction that it shares may take up to loneTimeout, because it must not
// end the others' sooner, and a caller that did not wait would not know the outcome.
func (w *postgresWriter) update(ctx context.Context, u *update) error {
	if err := ctx.Err(); err != nil {
		return err // the select below picks a ready case at random
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(updateTimeout)
	}
	u.deadline = deadline
	left := time.Until(deadline)
	wait := max(left-lastMoment, left/2)
	if w.down.Load() {
		wait = min(wait, downTimeout)
	}
	queue := time.NewTimer(wait)
	defer queue.Stop()
	select {
	case w.updates <- u:
		<-u.done
		return u.err
	case <-w.closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	case <-queue.C:
		return fmt.Errorf("wait for the writer: %w", context.DeadlineExceeded)
	}
}

func (w *postgresWriter) stop() {
	w.once.Do(func() { close(w.closing) })
	<-w.closed
}

func (w *postgresWriter) close() error { return nil } // the goroutine has closed its connection

func (w *postgresWriter) run() {
	defer close(w.closed)
	defer w.disconnect()
	batch := make([]*update, 0, maxBatch)
	idle := time.NewTimer(idlePingInterval)
	defer idle.Stop()
	for {
		idle.Reset(idlePingInterval)
		select {
		case u := <-w.updates:
			batch = append(batch[:0], u)
		case <-idle.C:
			w.ping()
			continue
		case <-w.closing:
			return
		}
		w.commit(gather(batch, w.updates, w.closing))
	}
}

// ping finds out that an idle connection is gone before the next update needs it.
func (w *postgresWriter) ping() {
	deadline := time.Now().Add(idlePingTimeout)
	if w.connect(deadline) != nil {
		return // the next ping or update tries again
	}
	w.setDeadline(deadline)
	if err := w.conn.Ping(context.Background()); err != nil {
		w.drop()
	}
}

// connect makes sure that there is a connection.
func (w *postgresWriter) connect(deadline time.Time) error {
	if err := w.self.held(); err != nil {
		return err
	}
	if w.conn != nil {
		return nil
	}
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, reconnectTimeout)
	defer cancel()
	conn, timeline, err := w.server.connect(ctx)
	w.down.Store(err != nil)
	if err != nil {
		return err
	}
	if w.self.otherServer(timeline) {
		hangUp(conn)
		return errLeaseLost
	}
	w.conn = conn
	return nil
}

// setDeadline bounds all calls on the connection. A context would cost a goroutine for each call.
func (w *postgresWriter) setDeadline(t time.Time) { _ = w.conn.PgConn().Conn().SetDeadline(t) }

func (w *postgresWriter) drop() {
	w.down.Store(true)
	w.server.drop(w.conn)
	w.conn = nil
}

func (w *postgresWriter) disconnect() {
	if w.conn != nil {
		hangUp(w.conn)
		w.conn = nil
	}
}

// commit runs a batch in as few transactions as possible.
//
// If one update fails, the others run again without it, and it runs alone. If that happens again,
// each runs alone. If a statement for several updates fails, they first run again with statements of
// their own. A transaction that certainly left nothing because its connection was gone runs
// once more on a new one.
func (w *postgresWriter) commit(batch []*update) {
	culprits, repeated, timed, how := 0, false, false, combining
	for len(batch) > 0 {
		if !time.Now().Before(batch[0].deadline) { // the transactions before it took long
			batch[0].finish(context.DeadlineExceeded)
			batch = batch[1:]
			continue
		}
		part := batch
		if culprits > maxCulprits {
			part, how = batch[:1], apart
		}
		r := w.transact(part, how)
		if len(r.joined) > 0 { // only with combining, when part is the whole batch
			batch = append(batch, r.joined...)
			part = batch
		}
		switch {
		case r.err == nil:
		case r.untimed && !timed:
			timed = true
			w.setClock()
			continue
		case r.combined && r.culprit == nil && keepsConnection(r.err):
			how = apart
			continue
		case r.culprit != nil && (len(part) > 1 || r.late):
			culprits++
			r.culprit.finish(w.transact([]*update{r.culprit}, careful).err)
			batch = without(batch, r.culprit)
			continue
		case len(part) > 1 && keepsConnection(r.err): // a COMMIT that was rejected, for example
			culprits = maxCulprits + 1
			continue
		case r.dropped && !repeated && !errors.Is(r.err, errUnknownOutcome) && w.self.held() == nil:
			repeated = true
			continue
		}
		for _, u := range part[:r.ran] {
			u.finish(r.err)
		}
		batch = batch[r.ran:]
	}
}

func without(batch []*update, gone *update) []*update {
	kept := batch[:0]
	for _, u := range batch {
		if u != gone {
			kept = append(kept, u)
		}
	}
	return kept
}

// result describes a transaction. If it failed, nothing of it is in the database unless err is
// errUnknownOutcome.
type result struct {
	ran      int       // how many updates it included or tried to
	joined   []*update // those that came while it waited for its turn, included behind the others
	culprit  *update   // whose function or statement failed; nil if none did
	late     bool      // the culprit's function had gone on when its statement failed
	combined bool      // a statement may have failed that wrote for several updates
	dropped  bool      // the connection was dropped
	untimed  bool      // the transaction's time was wrong
	err      error
}

// transact runs updates in one transaction.
func (w *postgresWriter) transact(batch []*update, how mode) (r result) {
	timeout, statement := batchTimeout, batchStatementTimeout
	if len(batch) == 1 {
		timeout = max(min(loneTimeout, time.Until(batch[0].deadline)), lastMoment)
		statement = timeout
	}
	return w.transactWithin(limits{time.Now().Add(timeout), statement}, batch, how)
}

// limits bound a transaction.
type limits struct {
	deadline  time.Time     // the connection is closed if the server is silent until then
	statement time.Duration // the server ends a statement that takes longer; 0 for no limit
}

func (w *postgresWriter) transactWithin(limits limits, batch []*update, how mode) (r result) {
	if err := w.connect(limits.deadline); err != nil {
		return result{ran: len(batch), err: err}
	}
	w.setDeadline(limits.deadline)
	t := &w.tx
	w.memory.begin()
	defer func() {
		if r.err != nil {
			w.memory.rollback()
		} else {
			w.memory.commit()
		}
	}()
	tx := Tx{Now: w.clock.Now(), db: t, memory: w.memory, self: w.self.id}
	var now *int64
	if w.clock != nil {
		ms := tx.Now.UnixMilli()
		now = &ms
	}
	t.begin(w.conn, how, w.self.id, limits.statement, now)
	shareable := how == combining && time.Until(limits.deadline) > batchStatementTimeout
	if shareable && len(*w.self.peers.Load()) > 0 && tx.readCalls(w.memory) == nil {
		r.joined = w.join(maxBatch - len(batch))
		batch = append(batch[:len(batch):len(batch)], r.joined...)
	}
	began := time.Now()
	var err error
	for _, u := range batch {
		r.ran++
		t.owner = u
		if err = call(u.fn, &tx); err != nil || t.err != nil {
			break
		}
		if time.Since(began) > maxBatchTime {
			break
		}
	}
	own := err // what the last function returned
	if err == nil && t.err == nil {
		t.commit()
	}
	switch {
	case t.err == nil && own == nil:
		if t.told && len(*w.self.peers.Load()) > 0 {
			w.self.hintOthers()
		}
		if t.broken {
			w.drop()
		}
		return r
	case t.err == nil: // the update's function returned an error, and no statement failed
		r.culprit, r.err = t.owner, own
		w.rollBack()
		return r
	}
	r.culprit, r.late, r.combined, r.untimed, r.err = t.culprit, t.late, t.combined, t.untimed, t.err
	if own != nil && t.culprit == t.owner {
		r.err = own // it may say more than the statement's error
	}
	if t.fenced {
		w.self.lose()
		r.err = errLeaseLost
	}
	if keepsConnection(t.err) {
		w.rollBack()
		return r
	}
	r.ran, r.culprit, r.dropped = len(batch), nil, true
	w.drop()
	return r
}

// join returns up to n updates that wait, without waiting for more. An update that arrives while
// another instance writes would else wait for one more turn.
func (w *postgresWriter) join(n int) (joined []*update) {
	for len(joined) < n {
		select {
		case u := <-w.updates:
			joined = append(joined, u)
			continue
		default:
		}
		break
	}
	return joined
}

// setClock reads the time of all instances on the writer's connection, because this host stood still
// or has not reported for long.
func (w *postgresWriter) setClock() {
	if w.conn == nil {
		return
	}
	began := time.Now()
	var now, ahead int64
	err := w.conn.QueryRow(context.Background(), `SELECT `+databaseTime+`, ahead FROM leader`).Scan(&now, &ahead)
	if err != nil {
		w.drop()
		return
	}
	w.clock.Follow(time.UnixMilli(now), began, time.Now(), time.Duration(ahead)*time.Millisecond)
}

// rollBack ends a failed transaction.
func (w *postgresWriter) rollBack() {
	if !w.tx.sent {
		return
	}
	if _, err := w.conn.Exec(context.Background(), `ROLLBACK`); err != nil {
		w.drop()
	}
}

// migrate runs fn in a transaction without a limit for its statements, because one may index all
// payments. The caller has not started the goroutine yet.
func (w *postgresWriter) migrate(ctx context.Context, fn func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	u := newUpdate(fn, false)
	return w.transactWithin(limits{deadline: time.Now().Add(migrationTimeout)}, []*update{u}, careful).err
}
