package checkout

import (
	"testing"
	"time"

	"golang.org/x/time/rate"

	"notepay/internal/ledger"
	"notepay/internal/ledger/pgtest"
)

// Each of two instances creates half of the sessions that Stripe may be asked for in a second.
func TestInstancesShareTheSessionsOfASecond(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	var ledgers []*ledger.Ledger
	for range 2 {
		l, err := ledger.Open(t.Context(), database)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ledgers = append(ledgers, l)
	}
	for _, l := range ledgers {
		for end := time.Now().Add(15 * time.Second); len(l.Peers()) == 0; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("an instance does not see the other one")
			}
		}
		k := &Checkout{c: Config{Ledger: l}, limits: newLimits(), open: map[string]ledger.Session{}}
		k.learnOthers(t.Context())
		limit, burst := k.limits.everyone.Limit(), k.limits.everyone.Burst()
		if limit != rate.Limit(sessionsPerSecond)/2 || burst != sessionBurst/2 {
			t.Errorf("an instance creates %v sessions a second, and %d at once; want half of all", limit, burst)
		}
	}
}
