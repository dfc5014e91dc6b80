package bridge

import (
	"context"
	"reflect"
	"runtime/metrics"
	"testing"

	"notepay/internal/ledger"
)

// statementsOf returns how many statements SQLite's writer has executed.
func (h *house) statementsOf() (n uint64) {
	h.Helper()
	err := h.l.Update(context.Background(), func(tx *ledger.Tx) error {
		writer := reflect.ValueOf(tx).Elem().FieldByName("db").Elem().Elem()
		n = writer.FieldByName("uses").Uint()
		return nil
	})
	if err != nil {
		h.Fatal(err)
	}
	return n
}

// goroutinesCreated returns how many goroutines this process has started.
func goroutinesCreated(t *testing.T) uint64 {
	t.Helper()
	sample := []metrics.Sample{{Name: "/sched/goroutines-created:goroutines"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		t.Fatal("the runtime does not count goroutines")
	}
	return sample[0].Value.Uint64()
}

// TestWebhookCost counts the statements on SQLite and the goroutines of a payment. It is not parallel,
// so no other test starts goroutines meanwhile.
func TestWebhookCost(t *testing.T) {
	h := newHouse(t)
	idle := h.statementsOf()
	idle = h.statementsOf() - idle // of a transaction that does nothing
	step := func(what string, statements, goroutines uint64, do func()) {
		t.Helper()
		before, started := h.statementsOf(), goroutinesCreated(t)
		do()
		started = goroutinesCreated(t) - started
		if n := h.statementsOf() - before - idle; n != statements {
			t.Errorf("%s takes %d statements; want %d", what, n, statements)
		}
		if started != goroutines {
			t.Errorf("%s starts %d goroutines; want %d", what, started, goroutines)
		}
	}
	for n, session := range []string{"cs_test_1", "cs_test_2", "cs_test_3"} {
		e := h.pays(session, "dev:1")
		if n == 0 { // prepares statements, and reads what is kept in memory
			h.receive(e)
			h.b.execute(context.Background(), h.claim(h.b.notehub(), 1)[0])
			continue
		}
		step("the webhook", 6, 0, func() { h.receive(e) })
		claimed := h.payment(session)
		step("the claim", 5, 0, func() { claimed = h.claim(h.b.notehub(), 1)[0] })
		step("the call and its result", 4, 0, func() { h.b.execute(context.Background(), claimed) })
	}
}
