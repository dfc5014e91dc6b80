package ledger

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/ledger/pgtest"
)

// listens waits until the hints of one instance reach another one, which does not follow yet.
func listens(t *testing.T, to, l *Ledger) {
	t.Helper()
	for len(l.instance.hinted) > 0 {
		<-l.instance.hinted
	}
	eventually(t, 10*time.Second, "hints arrive", func() bool {
		to.instance.hintOthers()
		time.Sleep(50 * time.Millisecond)
		return len(l.instance.hinted) > 0
	})
}

// The only other instance waits to migrate, so it cannot lead. A leader without vendors goes on.
func TestInstanceLeadsBesideAMigration(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	today, _, last := programs(t)
	old, err := openedBy(t, today, database)
	if err != nil {
		t.Fatal(err)
	}
	waits, opened := make(chan string, 100), make(chan error, 1)
	go func() {
		l, err := Opening{schema: last, Waiting: func(why string) { waits <- why }}.Open(t.Context(), database)
		if err == nil {
			t.Cleanup(func() { _ = l.Close() })
		}
		opened <- err
	}()
	<-waits
	eventually(t, aliveTime, "the old one sees the other", func() bool { return len(old.Peers()) == 1 })
	if !old.Leads() {
		t.Fatal("the old one does not lead")
	}
	old.Weak(true)
	for end := time.Now().Add(3 * beatInterval); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if !old.Leads() {
			t.Fatal("no instance leads, because the other one waits to migrate")
		}
	}
	closeLedger(t, old)
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

// The hint of an instance makes the others read the changes, and not this one.
func TestInstancesFollowHintsOfOthers(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	a, b := joins(t, database, 0), joins(t, database, 0)
	hinted := func(l *Ledger) bool {
		select {
		case <-l.instance.hinted:
			return true
		default:
			return false
		}
	}
	eventually(t, 10*time.Second, "hints arrive", func() bool {
		a.instance.hintOthers()
		b.instance.hintOthers()
		time.Sleep(50 * time.Millisecond)
		return hinted(a) && hinted(b)
	})
	time.Sleep(200 * time.Millisecond)
	for hinted(a) || hinted(b) {
		time.Sleep(50 * time.Millisecond)
	}
	for range 5 {
		a.instance.hintOthers()
		eventually(t, 5*time.Second, "b is hinted at", func() bool { return hinted(b) })
		if hinted(a) {
			t.Fatal("a reads the changes because of its own hint")
		}
	}
}

// A leader that resigns asks the others to campaign at once, instead of at their next report.
func TestInstancesHintAtAResignation(t *testing.T) {
	t.Parallel()
	for name, resigns := range map[string]func(*Ledger){
		"it has no more work": func(l *Ledger) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			l.Lead(ctx, func(context.Context) {})
		},
		"it is weak":   func(l *Ledger) { l.Weak(true) },
		"it is closed": func(l *Ledger) { _ = l.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := pgtest.Database(t)
			a, b := joins(t, database, 0), joins(t, database, 0)
			eventually(t, 10*time.Second, "a sees b", func() bool { return len(a.Peers()) == 1 })
			dies(b) // it reports no more, and only listens
			listening, stop := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { b.instance.listen(listening); close(ended) }()
			defer func() { stop(); <-ended }()
			listens(t, a, b)
			if len(b.instance.opens) > 0 {
				t.Error("b is asked to campaign while a leads")
			}
			resigns(a)
			eventually(t, 5*time.Second, "b is asked to campaign", func() bool { return len(b.instance.opens) > 0 })
		})
	}
}

// A process that was stopped must not work as the leader when it goes on, before its next report ends.
func TestLeadershipEndsByItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &Ledger{instance: &instance{leadership: leadership{changed: make(chan struct{})}}}
		lead := &l.instance.leadership
		lead.hold(7, time.Now().Add(trustTime))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		led := make(chan bool, 2)
		go l.Lead(ctx, func(ctx context.Context) {
			led <- true
			<-ctx.Done()
			led <- false
		})
		<-led
		time.Sleep(trustTime - time.Second)
		lead.hold(7, time.Now().Add(trustTime))
		time.Sleep(trustTime - time.Millisecond)
		synctest.Wait()
		if !l.Leads() || len(led) > 0 {
			t.Error("the lead ended before its time")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if len(led) == 0 || l.Leads() {
			t.Error("the instance leads, and its last report was too long ago")
		}
		stopped := &leadership{term: 7, trusted: time.Now(), changed: make(chan struct{})}
		if term, _ := stopped.watch(); term != 0 || stopped.leads() {
			t.Error("the instance leads until a timer has found out that the time is over")
		}
	})
}
