package ledger

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"notepay/internal/ledger/pgtest"
	"notepay/internal/payment"
)

// roundTrips counts how often a writer waits for the server.
type roundTrips struct {
	statementsSeen
	writer atomic.Pointer[pgx.Conn] // the connection that begins transactions with updates
	count  atomic.Int64
}

// TraceQueryStart implements pgx.QueryTracer.
func (r *roundTrips) TraceQueryStart(ctx context.Context, c *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	if c == r.writer.Load() && d.SQL != "-- ping" {
		r.count.Add(1)
	}
	return ctx
}

// TraceBatchQuery implements pgx.BatchTracer.
func (r *roundTrips) TraceBatchQuery(_ context.Context, c *pgx.Conn, d pgx.TraceBatchQueryData) {
	if d.SQL == begin {
		r.writer.Store(c)
	}
}

// TraceBatchStart implements pgx.BatchTracer.
func (r *roundTrips) TraceBatchStart(ctx context.Context, c *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	if c == r.writer.Load() {
		r.count.Add(1)
	}
	return ctx
}

// Recording a payment and settling its call take few round trips, because the database may be on
// another host.
func TestPostgresRoundTrips(t *testing.T) {
	t.Parallel()
	trips := &roundTrips{}
	l := opensTraced(t, pgtest.Database(t), trips)
	mustUpdate(t, l, func(tx *Tx) error { return tx.SaveLink(link("plink_0")) })
	step := func(name string, want int64, fn func(*Tx) error) {
		t.Helper()
		trips.count.Store(0)
		mustUpdate(t, l, fn)
		if n := trips.count.Load(); n != want {
			t.Errorf("%s takes %d round trips; want %d", name, n, want)
		}
	}
	for n := range 3 {
		s := newSale(n, 1)
		var claimed payment.Payment
		// It reads the link's terms once, and the calls that are running. The rest goes with COMMIT.
		step("record", 2+int64(bit(n == 0)), func(tx *Tx) (err error) {
			p := s.payment
			p.CreatedAt, p.DueAt, p.DeliveryAt, p.FundsAt = tx.Now, tx.Now, tx.Now, tx.Now
			s.event.Received = tx.Now
			claimed, err = benchRecord(tx, s, p)
			return err
		})
		step("settle", 1, func(tx *Tx) error {
			return benchSettle(tx, claimed, payment.Outcome{Action: payment.StepPostNote, Began: tx.Now})
		})
	}
}
