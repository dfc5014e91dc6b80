package ledger

import (
	"context"
	"testing"
	"time"

	"notepay/internal/ledger/pgtest"
)

// dies stops the reports of an instance, as if its process was killed.
func dies(l *Ledger) {
	l.instance.stop()
	l.instance.ended.Wait()
}

// eventually waits until a condition is met.
func eventually(t *testing.T, within time.Duration, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%v later not yet: %s", within, what)
		}
	}
}

// An instance that starts when the database is back must not take the others for dead, whose reports
// are all old.
func TestInstancesStartAfterTheDatabaseWasAway(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	line := newLine(t, database)
	a, b := joins(t, line.url, 0), joins(t, line.url, 0)
	line.cut()
	pgtest.Exec(t, database, `UPDATE instances SET seen = seen - 8000`)
	started := make(chan *Ledger, 1)
	go func() {
		l, err := Open(context.Background(), database)
		if err != nil {
			t.Error(err)
		}
		started <- l
	}()
	time.Sleep(time.Second)
	line.repair()
	c := <-started
	if c == nil {
		return
	}
	t.Cleanup(func() { _ = c.Close() })
	if c.instance.alone {
		t.Error("the instance that starts believes that it is alone")
	}
	for name, l := range map[string]*Ledger{"a": a, "b": b} {
		eventually(t, 10*time.Second, name+" writes", func() bool {
			return l.Update(t.Context(), func(tx *Tx) error { return tx.SetMeta("x", tx.Now) }) == nil
		})
		select {
		case <-l.Lost():
			t.Errorf("%s was shut out", name)
		default:
		}
	}
}

// The database's clock was an hour ahead when an instance died. Its row must not keep the next one from
// starting, nor take a share of the limits.
func TestInstanceOfTheFuture(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	first := joins(t, database, 0)
	dies(first)
	pgtest.Exec(t, database, `UPDATE instances SET seen = seen + 3600000`)
	began := time.Now()
	second := joins(t, database, 0)
	if took := time.Since(began); !second.instance.alone || took > 3*aliveTime {
		t.Errorf("after %v it is alone: %v; want that soon", took, second.instance.alone)
	}
	third := joins(t, database, 0)
	eventually(t, 2*aliveTime, "the second sees the third", func() bool { return len(second.Peers()) == 1 })
	dies(third)
	pgtest.Exec(t, database, `UPDATE instances SET seen = seen + 3600000 WHERE id = '`+third.instance.id+`'`)
	eventually(t, 3*aliveTime, "the second is alone", func() bool { return len(second.Peers()) == 0 })
	if list, err := Instances(t.Context(), database); err != nil || len(list) != 1 {
		t.Errorf("instances %+v, %v; want the second alone", list, err)
	}
}

// A migration that older instances cannot use waits for them, even if they could not report for a while.
func TestInstancesMigrationAfterTheDatabaseWasAway(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	line := newLine(t, database)
	today, next, last := programs(t)
	old, err := openedBy(t, today, line.url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openedBy(t, next, database); err != nil { // so that the last is not alone
		t.Fatal(err)
	}
	line.cut()
	pgtest.Exec(t, database, `UPDATE instances SET seen = seen - 8000 WHERE id = '`+old.instance.id+`'`)
	waits, opened := make(chan string, 100), make(chan error, 1)
	go func() {
		l, err := Opening{schema: last, Waiting: func(why string) { waits <- why }}.Open(t.Context(), database)
		if err == nil {
			t.Cleanup(func() { _ = l.Close() })
		}
		opened <- err
	}()
	time.Sleep(2 * time.Second)
	line.repair()
	select {
	case <-waits:
	case err := <-opened:
		t.Fatalf("it does not wait for an instance that is alive: %v", err)
	}
	eventually(t, 10*time.Second, "the old one writes", func() bool {
		return old.Update(t.Context(), func(tx *Tx) error { return tx.SetMeta("x", tx.Now) }) == nil
	})
	closeLedger(t, old)
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

// An instance is alive if its report changes, whatever time it shows.
func TestSightings(t *testing.T) {
	t.Parallel()
	type look struct {
		at   time.Duration
		seen int64
		want liveness
	}
	for name, looks := range map[string][]look{
		"it reports": {
			{0, 1, undecided}, {900 * time.Millisecond, 1, undecided},
			{time.Second, 2, alive}, {2 * time.Second, 3, alive},
		},
		"it has died": {
			{0, 1, undecided}, {2 * time.Second, 1, undecided}, {4 * time.Second, 1, undecided},
			{aliveTime, 1, dead},
		},
		"it dies": {
			{0, 1, undecided}, {time.Second, 2, alive}, {3 * time.Second, 2, alive}, {5 * time.Second, 2, alive},
			{time.Second + aliveTime, 2, dead}, {2*time.Second + aliveTime, 2, dead},
			{3*time.Second + aliveTime, 3, alive},
		},
		"the clock was set back": {{0, 9, undecided}, {time.Second, 1, alive}},
		"the database was away": {
			{0, 1, undecided}, {time.Second, 2, alive}, {9 * time.Second, 2, alive}, {11 * time.Second, 2, alive},
			{13 * time.Second, 2, alive}, {9*time.Second + aliveTime, 2, dead},
		},
		"the database was away before it was known": {
			{0, 1, undecided}, {9 * time.Second, 1, undecided}, {10 * time.Second, 2, alive},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var s sightings
			for _, l := range looks {
				s.look(noon().Add(l.at))
				if got := s.judge("one", l.seen); got != l.want {
					t.Errorf("after %v: %v; want %v", l.at, got, l.want)
				}
			}
		})
	}
}
