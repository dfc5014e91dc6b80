package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// begin starts a transaction. READ COMMITTED is written out because an operator may have changed
// the default.
const begin = `BEGIN ISOLATION LEVEL READ COMMITTED`

// fence is the first statement of each transaction. It locks the row of this instance against
// deletion until the end of the transaction, and divides by zero if another process has deleted the
// row already. It takes the root of a negative number if the transaction's time differs from the
// time of all instances by more than maxClockDifference.
//
// It also sets what would be settings of the session if poolers kept sessions: a commit waits for
// the disk even if an operator has turned that off, and the server ends a transaction whose client
// is gone, and a statement that takes too long.
var fence = `SELECT set_config('synchronous_commit',
		CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END,
		true),
	set_config('idle_in_transaction_session_timeout', '2s', true), set_config('statement_timeout', $2, true),
	1 / (SELECT count(*) FROM (SELECT 1 FROM instances WHERE id = $1 FOR KEY SHARE) AS held),
	sqrt((abs($3::bigint - ` + databaseTime + ` - (SELECT ahead FROM leader)) <= ` +
	strconv.FormatInt(maxClockDifference.Milliseconds(), 10) + `)::int - 1)`

// maxClockDifference is how far the time of a transaction may differ from the time of all instances:
// a claim's lease ends that much too early or too late.
const maxClockDifference = 2 * time.Second

// takeTurn lets one transaction of all instances write at a time. The statements after it see what
// all transactions before it have committed, so what a transaction reads stays true until it commits.
var takeTurn = `SELECT pg_advisory_xact_lock(` + strconv.FormatInt(writersLock, 10) + `)`

// postgresTx is a transaction of the writer. It sends statements whose results are not needed together
// with the next one, or with COMMIT, so a transaction that reads nothing is one round trip.
type postgresTx struct {
	conn   *pgx.Conn
	mode   mode
	batch  *pgx.Batch
	queued []queued // one for each statement of batch
	sent   bool     // BEGIN was sent
	owner  *update  // whose function runs

	groups       map[string]*rowGroup // the rows that wait, by the statement for one of them
	order        []*rowGroup          // the same, in their order
	about        map[string]bool      // what these rows are about
	combinations map[string]combined  // by the statement for one row; kept for all transactions
	combined     bool                 // a statement wrote the rows of several updates
	planned      bool                 // nestedLoops was sent

	// err is the first error of a statement. The transaction can only be rolled back then.
	err       error
	committed bool    // COMMIT was answered. What goes wrong afterwards is no error
	broken    bool    // it went wrong, so the connection cannot be used any more
	culprit   *update // whose statement failed; nil if it was no update's
	late      bool    // the function of the culprit had gone on when its statement failed
	fenced    bool    // another process has replaced this one
	told      bool    // it tells the other instances of a change
	untimed   bool    // the time of the transaction is not that of the other instances
}

type queued struct {
	owner *update // nil for the writer's own statements
	kind  kind
}

// mode says how a transaction sends statements whose results its updates do not wait for.
type mode int

const (
	combining mode = iota // together, and the rows of a table in few statements
	apart                 // together, one statement for each row, so that an error has a culprit
	careful               // each at once
)

type kind int

const (
	deferred  kind = iota // its function has gone on
	oneRow                // the same, and the server fails unless it changes exactly one row
	immediate             // its function waits for the result
	opening               // BEGIN
	fencing               // fence
	turning               // takeTurn
	ending                // COMMIT
)

// errAssumed is the error of an update whose assumption was wrong. No caller sees it, because the
// update runs again.
var errAssumed = errors.New("the row is not as it was assumed")

// begin queues the statements that begin a transaction. now is its time, nil if nothing compares it.
func (t *postgresTx) begin(conn *pgx.Conn, m mode, id string, statement time.Duration, now *int64) {
	if t.combinations == nil {
		t.groups, t.about, t.combinations = map[string]*rowGroup{}, map[string]bool{}, map[string]combined{}
	}
	clear(t.groups)
	clear(t.about)
	*t = postgresTx{
		conn:         conn,
		mode:         m,
		batch:        &pgx.Batch{},
		queued:       t.queued[:0],
		groups:       t.groups,
		about:        t.about,
		combinations: t.combinations,
	}
	t.add(opening, begin)
	t.add(fencing, fence, id, fmt.Sprint(statement.Milliseconds()), now)
	t.add(turning, takeTurn)
}

// add queues a statement behind those that wait.
func (t *postgresTx) add(k kind, query string, args ...any) {
	t.ungroup()
	t.queue(t.owner, k, query, storable(args))
}

func (t *postgresTx) queue(owner *update, k kind, query string, args []any) {
	t.batch.Queue(query, args...)
	t.queued = append(t.queued, queued{owner, k})
}

// storable returns the arguments of a statement without what PostgreSQL stores in no text: a zero
// byte and invalid UTF-8. An event with them would fail, and everything behind it would wait for
// it.
func storable(args []any) []any {
	for i, arg := range args {
		text, ok := arg.(string)
		if !ok || strings.IndexByte(text, 0) < 0 && utf8.ValidString(text) {
			continue
		}
		args = slices.Clone(args)
		args[i] = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	}
	return args
}

// send sends the queued statements and reads the results of all but the last after.
func (t *postgresTx) send() pgx.BatchResults {
	results := t.conn.SendBatch(context.Background(), t.batch)
	t.batch, t.sent = &pgx.Batch{}, true
	return results
}

// check records the result of a queued statement. It reports whether the transaction can go on.
func (t *postgresTx) check(q queued, tag pgconn.CommandTag, err error) bool {
	switch {
	case err != nil:
		t.fail(q, err)
	case q.kind == ending && tag.String() != "COMMIT":
		t.fail(q, fmt.Errorf("COMMIT ended as %s", tag))
	case q.kind == ending:
		t.committed = true
	}
	return t.err == nil
}

func (t *postgresTx) fail(q queued, err error) {
	if t.err != nil {
		return
	}
	if q.kind == oneRow && isPostgres(err, divisionByZero) {
		err = fmt.Errorf("%w: %w", errAssumed, err)
	}
	t.err, t.culprit = err, q.owner
	t.late = q.kind == deferred || q.kind == oneRow
	t.fenced = q.kind == fencing && isPostgres(err, divisionByZero)
	t.untimed = q.kind == fencing && isPostgres(err, rootOfNegative)
}

// flush sends all queued statements and checks their results. It returns the result of the last.
func (t *postgresTx) flush() (tag pgconn.CommandTag, err error) {
	if t.err != nil { // not all statements could be queued
		return tag, t.err
	}
	results := t.send()
	for _, q := range t.queued {
		if tag, err = results.Exec(); !t.check(q, tag, err) {
			break
		}
	}
	t.finish(results)
	return tag, t.err
}

// finish ends a round trip. A server that is stopped during a commit first replies to it, and then
// ends the connection with an error.
func (t *postgresTx) finish(results pgx.BatchResults) {
	switch err := results.Close(); {
	case err == nil:
	case t.committed:
		t.broken = true
	default:
		t.fail(queued{t.owner, immediate}, err)
	}
	t.queued = t.queued[:0]
}

// exec implements statements.
func (t *postgresTx) exec(query string, args ...any) (int64, error) {
	if t.err != nil {
		return 0, t.err
	}
	if len(args) == 0 { // a migration has several statements, which a batch cannot hold
		t.ungroup()
		if _, err := t.flush(); err != nil {
			return 0, err
		}
		tag, err := t.conn.Exec(context.Background(), query)
		t.check(queued{t.owner, immediate}, tag, err)
		return tag.RowsAffected(), err
	}
	t.add(immediate, query, args...)
	tag, err := t.flush()
	return tag.RowsAffected(), err
}

// run implements statements.
func (t *postgresTx) run(query string, args ...any) error {
	if t.mode == careful {
		return errOnly(t.exec(query, args...))
	}
	return t.later(deferred, query, args)
}

// expect implements statements. COMMIT may travel with the statement, so the server itself has to
// fail the transaction if the statement did not change one row. It then divides by zero.
func (t *postgresTx) expect(query string, args ...any) (bool, error) {
	if t.mode == careful {
		n, err := t.exec(query, args...)
		return n == 1, err
	}
	err := t.later(oneRow, exactly(query, "1"), args)
	return err == nil, err
}

func (t *postgresTx) later(k kind, query string, args []any) error {
	if t.err == nil {
		t.add(k, query, args...)
	}
	return t.err
}

// commit sends COMMIT. The outcome is unknown if the reply is neither COMMIT nor proof of a rollback.
// All replies of a round trip arrive together, so that holds for an error of any statement in it.
func (t *postgresTx) commit() {
	t.owner = nil
	if t.add(ending, `COMMIT`); t.err != nil {
		return // nothing of it was sent
	}
	if _, err := t.flush(); err != nil && !provesRollback(err) {
		t.err = fmt.Errorf("%w: %w", errUnknownOutcome, err)
	}
}

// query implements statements. Its rows have to be closed before the next statement.
func (t *postgresTx) query(query string, args ...any) (resultRows, error) {
	if t.err != nil {
		return nil, t.err
	}
	if t.add(immediate, query, args...); t.err != nil {
		return nil, t.err
	}
	results := t.send()
	last := len(t.queued) - 1
	for _, q := range t.queued[:last] {
		if tag, err := results.Exec(); !t.check(q, tag, err) {
			t.finish(results)
			return nil, t.err
		}
	}
	rows, err := results.Query()
	if err != nil {
		t.check(t.queued[last], pgconn.CommandTag{}, err)
		t.finish(results)
		return nil, t.err
	}
	return postgresRows{rows, results, t}, nil
}

type postgresRows struct {
	pgx.Rows
	results pgx.BatchResults
	tx      *postgresTx
}

// Close closes the rows and ends the round trip.
func (r postgresRows) Close() error {
	r.Rows.Close()
	if err := r.Rows.Err(); err != nil {
		r.tx.fail(queued{r.tx.owner, immediate}, err)
	}
	r.tx.finish(r.results)
	return r.tx.err
}
