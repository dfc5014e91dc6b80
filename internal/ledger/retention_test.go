package ledger

import (
	"fmt"
	"strings"
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

// Old rows of all kinds go in portions, because payments wait for a statement that deletes.
func testPrunedInPortions(t *testing.T, database string) {
	l := open(t, database)
	const changes, others = 2*changesBatch + 7, 2*pruneBatch + 7
	mustUpdate(t, l, func(tx *Tx) error {
		insert := func(table, columns, values string, rows int) error {
			for n := 0; n < rows; n += 250 {
				list := make([]string, min(250, rows-n))
				for k := range list {
					list[k] = fmt.Sprintf("("+values+")", n+k)
				}
				insert := `INSERT INTO ` + table + ` (` + columns + `) VALUES ` + strings.Join(list, ", ")
				if err := tx.run(insert); err != nil {
					return err
				}
			}
			return nil
		}
		for _, s := range []struct {
			table, columns, values string
			rows                   int
		}{
			{"changes", "at, origin, kind, subject", "%d, 'x', 'use', 'dev:1'", changes},
			{"requests", "at, id, request, answer", "%[1]d, 'key:%[1]d', 'x', ''", others},
			{"sign_in_attempts", "until, id", "%[1]d, 'id:%[1]d'", others},
			{
				"sessions",
				"ends_at, id, livemode, device_uid, manual, price_id, plan, amount, currency, duration_s, " +
					"delayed_start_s, description, image, access_code",
				"%[1]d, 'cs_%[1]d', 0, 'dev:1', 0, 'price_1', '', 1, 'eur', 0, 0, '', '', 0",
				others,
			},
		} {
			if err := insert(s.table, s.columns, s.values, s.rows); err != nil {
				return err
			}
		}
		return tx.run(`INSERT INTO changes (at, origin, kind, subject) VALUES ($1, 'x', 'use', 'dev:new')`,
			tx.Now.UnixMilli())
	})
	count := func(table string) (n int) {
		t.Helper()
		if err := l.reads.QueryRow(`SELECT count(*) FROM ` + table).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	update := func(fn func(*Tx) error) func(int) bool {
		return func(int) bool { mustUpdate(t, l, fn); return true }
	}
	for table, s := range map[string]struct {
		portion, left int
		prune         func(n int) (more bool)
	}{
		"changes": {changesBatch, 1, func(int) bool {
			more, err := l.PruneChanges(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return more
		}},
		"requests": {pruneBatch, 1, update(func(tx *Tx) error {
			// Its key was used long ago, and is free again.
			if _, repeated, err := tx.BeginRequest("key:400", "y"); err != nil || repeated {
				return fmt.Errorf("repeated %v, %w", repeated, err)
			}
			return tx.run(`UPDATE requests SET at = 399 WHERE id = 'key:400'`)
		})},
		"sign_in_attempts": {pruneBatch, 1, update(func(tx *Tx) error {
			return errOnly(tx.TakeAttempt("new", time.Hour, 3))
		})},
		"sessions": {pruneBatch, 3, nil},
	} {
		if table == "sessions" {
			s.prune = func(n int) bool {
				mustUpdate(t, l, func(tx *Tx) error {
					return tx.AddSession(session(fmt.Sprint("cs_new", n), tx.Now.Add(time.Hour)))
				})
				return true
			}
		}
		before, portions := count(table), 0
		for more := true; more && portions < 3; portions++ {
			more = s.prune(portions)
			now := count(table)
			if now < before-s.portion || now > max(before-s.portion+1, s.left) {
				t.Errorf("%s: %d rows after %d; want %d less at once", table, now, before, s.portion)
			}
			before = now
		}
		if before > s.left || portions != 3 {
			t.Errorf("%s: %d rows after %d portions; want %d", table, before, portions, s.left)
		}
	}
}
