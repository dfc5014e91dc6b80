package ledger

import (
	"fmt"
	"testing"
	"time"
)

func testPrunedEvents(t *testing.T, database string) {
	l := open(t, database)
	const events = 2*pruneBatch + 7
	insert(t, l, testPayment("kept"))
	mustUpdate(t, l, func(tx *Tx) error {
		for n := range events { // one an hour, two at the same time
			at := noon().Add(time.Duration(n/2) * time.Hour)
			e := StripeEvent{Created: at, Received: at, Outcome: "ignored", Body: "{}"}
			e.ID = fmt.Sprintf("evt_%04d", n)
			if _, err := tx.AddEvent(e); err != nil {
				return err
			}
		}
		return nil
	})
	bodies, rows := noon().Add(150*time.Hour), noon().Add(20*time.Hour)
	prune := func() (batches int) {
		t.Helper()
		for more := true; more; batches++ {
			var err error
			if more, err = l.PruneEvents(t.Context(), rows, bodies); err != nil || batches > 10 {
				t.Fatalf("after %d batches: %v", batches, err)
			}
		}
		return batches
	}
	if n := prune(); n < 2 {
		t.Errorf("%d batches; want several short transactions", n)
	}
	list, err := l.Events(t.Context(), 2*events)
	if err != nil || len(list) != events-40 {
		t.Fatalf("%d events, %v; want the %d that are younger", len(list), err, events-40)
	}
	for _, e := range list {
		if young := !e.Received.Before(bodies); (e.Body != "") != young || e.Received.Before(rows) {
			t.Errorf("%s of %s has body %q", e.ID, e.Received, e.Body)
		}
	}
	if payments, _, err := l.Payments(t.Context(), Filter{Limit: 10}); err != nil || len(payments) != 1 {
		t.Errorf("%+v, %v; want the payment kept", payments, err)
	}
	bodies = bodies.Add(time.Hour) // later, only what has become old is read
	prune()
	if list, err = l.Events(t.Context(), 2*events); err != nil || list[len(list)-1].Body != "" {
		t.Errorf("%v", err)
	}
}
