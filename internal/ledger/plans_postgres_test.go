package ledger

import (
	"context"
	"database/sql"
	"errors"
	"regexp"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"notepay/internal/fixture"
	"notepay/internal/payment"
)

// statementsSeen records the statements that a test sends to PostgreSQL.
type statementsSeen struct {
	mu   sync.Mutex
	list []sent
}

type sent struct {
	query string
	args  []any
}

func (s *statementsSeen) add(query string, args []any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, sent{query, args})
}

// take returns what was sent since the last call.
func (s *statementsSeen) take() (list []sent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list, s.list = s.list, nil
	return list
}

// TraceQueryStart implements pgx.QueryTracer.
func (s *statementsSeen) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	s.add(d.SQL, d.Args)
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer.
func (s *statementsSeen) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TraceBatchStart implements pgx.BatchTracer.
func (s *statementsSeen) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}

// TraceBatchQuery implements pgx.BatchTracer.
func (s *statementsSeen) TraceBatchQuery(_ context.Context, _ *pgx.Conn, d pgx.TraceBatchQueryData) {
	s.add(d.SQL, d.Args)
}

// TraceBatchEnd implements pgx.BatchTracer.
func (s *statementsSeen) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// opensTraced opens a ledger whose statements are seen.
func opensTraced(t *testing.T, database string, seen pgx.QueryTracer) *Ledger {
	t.Helper()
	server, err := parsePostgres(database)
	if err != nil {
		t.Fatal(err)
	}
	server.config.Tracer = seen
	known := programMigrations(t)
	l, err := Opening{schema: known, Identity: Identity{level: known.level()}}.openServer(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// Each query of a path reads a table that grows through an index, as PostgreSQL plans it with many
// rows.
func TestPostgresQueriesUseIndexes(t *testing.T) {
	t.Parallel()
	const payments = 20_000
	database := postgresURL(t)
	first := open(t, database)
	copied := idle(testPayment("copied"))
	copied.HoldsDevice, copied.Delivery, copied.MaybeAccepted, copied.SentAt = false, payment.Done, true, noon()
	insert(t, first, copied)
	closeLedger(t, first)
	db := postgresDB(t, database)
	if err := fixture.GrowPostgres(t.Context(), db, "cs_copied", 0, payments, 10); err != nil {
		t.Fatal(err)
	}
	growTheRest(t, db, payments)

	seen := &statementsSeen{}
	l := opensTraced(t, database, seen)
	rollBack := errors.New("roll back")
	tx := &Tx{}
	for _, c := range frequentQueries(t.Context(), l, tx) {
		t.Run(c.name, func(t *testing.T) {
			seen.take()
			var failed error
			err := l.Update(t.Context(), func(own *Tx) error {
				*tx = *own
				if failed = c.ask(); errors.Is(failed, ErrNotFound) {
					failed = nil
				}
				return errors.Join(rollBack, failed)
			})
			if failed != nil || !errors.Is(err, rollBack) {
				t.Fatalf("%v; %v", err, failed)
			}
			for _, s := range seen.take() {
				if !readsAGrowingTable.MatchString(s.query) {
					continue
				}
				for _, step := range planOnPostgres(t, db, s) {
					if wholeTable.MatchString(step) {
						t.Errorf("%s %v:\n%s", s.query, s.args, step)
					}
				}
			}
		})
	}
}

// growingTables are the tables that have a row for each payment, or for some of them, and keep it.
const growingTables = `(payments|attempts|stripe_events|confirmations|audit|links|sessions|disputes)`

var (
	readsAGrowingTable = regexp.MustCompile(`(?s)^\s*(SELECT|WITH|UPDATE|DELETE|INSERT)\b.*\b` + growingTables + `\b`)
	wholeTable         = regexp.MustCompile(`Seq Scan on ` + growingTables + `\b`)
)

// growTheRest fills the other tables that grow.
func growTheRest(t *testing.T, db *sql.DB, n int) {
	t.Helper()
	for _, statement := range []string{
		`INSERT INTO confirmations (id, device_uid, credit_id, state, code, at, received, outcome)
			SELECT 'c' || n, device_uid, id, 'started', '', paid_at, paid_at, 'applied' FROM payments`,
		`INSERT INTO audit (id, at, who, what, subject, why, before, after)
			SELECT 'a' || n, paid_at, 'me', 'pause', device_uid, '', '', '' FROM payments`,
		`INSERT INTO links (id, livemode, device_uid, price_id, url, return_url, active, manual, plan, amount, currency,
				duration_s, delayed_start_s, description, image, access_code)
			SELECT 'plink_' || n, 0, 'dev:' || n, 'price_1', 'https://x', '', 1, 0, 'Warm', 350, 'eur', 60, 0, '', '', 0
			FROM payments`,
		`INSERT INTO sessions (id, livemode, device_uid, manual, ends_at, price_id, plan, amount, currency, duration_s,
				delayed_start_s, description, image, access_code)
			SELECT session_id, 0, device_uid, 0, paid_at, 'price_1', 'Warm', 350, 'eur', 60, 0, '', '', 0
			FROM payments`,
		`INSERT INTO disputes (id, payment_intent, status, amount, currency, refundable, told_at)
			SELECT 'dp_' || n, payment_intent, 'lost', 50, 'eur', 0, 5 FROM payments WHERE payment_intent IS NOT NULL`,
		`VACUUM ANALYZE`,
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	var there int
	if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM audit`).Scan(&there); err != nil || there < n {
		t.Fatalf("%d rows, %v; want %d", there, err, n)
	}
}

// planOnPostgres returns PostgreSQL's plan for a statement with its arguments.
func planOnPostgres(t *testing.T, db *sql.DB, s sent) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `EXPLAIN `+s.query, s.args...)
	steps, err := all(rows, err, func(s scanner) (step string, err error) { return step, s.Scan(&step) })
	if err != nil {
		t.Fatalf("explain %s: %v", s.query, err)
	}
	return steps
}
