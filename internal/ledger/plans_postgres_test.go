package ledger

import (
	"context"
	"database/sql"
	"errors"
	"regexp"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"notepay/internal/fixture"
	"notepay/internal/ledger/pgtest"
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
	database := pgtest.Database(t)
	first := open(t, database)
	copied := idle(testPayment("copied"))
	copied.HoldsDevice, copied.Delivery, copied.MaybeAccepted, copied.SentAt = false, payment.Done, true, noon()
	insert(t, first, copied)
	closeLedger(t, first)
	db := postgresDB(t, database)
	if err := fixture.GrowPostgres(t.Context(), db, "cs_copied", 0, payments, 10); err != nil {
		t.Fatal(err)
	}
	growing := growingTables(t, db, `SELECT table_name FROM information_schema.tables
		WHERE table_schema = current_schema()`)
	growTheRest(t, db, payments, growing)

	seen := &statementsSeen{}
	l := opensTraced(t, database, seen)
	rollBack := errors.New("roll back")
	tx := &Tx{}
	queries := append(frequentQueries(t.Context(), l, tx),
		asked{"what others did", func() error { return second(l.changesAfter(t.Context(), 1<<40)).err }, ""},
		asked{"the last change", func() error { return second(tx.lastChange()).err }, ""})
	for _, c := range queries {
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
				if !reads.MatchString(s.query) {
					continue
				}
				for _, step := range planOnPostgres(t, db, s) {
					if m := wholeTable.FindStringSubmatch(step); m != nil && slices.Contains(growing, m[1]) {
						t.Errorf("%s %v:\n%s", s.query, s.args, step)
					}
				}
			}
		})
	}
}

var (
	// reads matches a statement that EXPLAIN can explain.
	reads      = regexp.MustCompile(`^\s*(SELECT|WITH|UPDATE|DELETE|INSERT)\b`)
	wholeTable = regexp.MustCompile(`Seq Scan on ([a-z_]+)`)
)

// growTheRest fills the other tables that grow.
func growTheRest(t *testing.T, db *sql.DB, n int, growing []string) {
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
		`INSERT INTO movements (payment_id, at, kind, reason, amount, currency, net)
			SELECT id, created_at, 'refund', '', -350, 'eur', 0 FROM payments`,
		`INSERT INTO encrypted_notes (digest, payment_id, turn, payment_status, at)
			SELECT md5(id), id, 1, 'completed', paid_at FROM payments`,
		`INSERT INTO customer_reports (payment_id, at, reason, words, seen_at)
			SELECT id, paid_at, 'nothing', '', paid_at FROM payments`,
		`INSERT INTO changes (at, origin, kind, subject) SELECT paid_at, 'x', 'use', device_uid FROM payments`,
		`INSERT INTO requests (id, request, answer, at)
			SELECT 'r' || n, 'x', 'y', paid_at + 1e12::bigint FROM payments`,
		`INSERT INTO lookups (id, paid_at, facts, due_at, turn, failures)
			SELECT session_id, paid_at + 1e12::bigint, 0, paid_at, 0, 1 FROM payments`,
		`INSERT INTO goodwill_codes (digest, device_uid, site, price_id, payment_id, created_by, reason, created_at,
				expires_at)
			SELECT md5(id), device_uid, '', '', id, 'me', '', paid_at, paid_at FROM payments`,
		`INSERT INTO payouts (id, livemode, at, arrival_at, amount, currency, status)
			SELECT 'po_' || n, 1, paid_at, paid_at, 350, 'eur', 'paid' FROM payments`,
		`INSERT INTO revenue (scale, dim, start, livemode, device_uid, plan, currency, payments, credits, failed,
				used_s, captured, refunded, lost, fees, net, hours, reasons)
			SELECT 'day', 'machine', to_char(date '2000-01-01' + (n % 9000)::int, 'YYYY-MM-DD'), 1, device_uid, 'Warm',
				'eur', 1, 1, 0, 60, 350, 0, 0, 0, 0, '', '' FROM payments`,
		`VACUUM ANALYZE`,
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	for _, table := range growing {
		var there int
		err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM `+table).Scan(&there)
		if err != nil || there < n {
			t.Errorf("%d rows in %s, %v; want %d", there, table, err, n)
		}
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
