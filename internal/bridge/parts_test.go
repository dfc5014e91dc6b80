package bridge

import (
	"testing"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

// Reading confirmations takes at most a third of what this process may call, of which several have a part
// each.
func TestConfirmationsAreReadWithAThirdOfThePart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limit, number, n int
		want             time.Duration
	}{
		"no limit":                       {0, 0, 1, 5 * time.Second},
		"the smallest plan":              {7, 0, 1, 3 * time.Minute / 7},
		"the smallest plan of three":     {7, 0, 3, time.Minute},
		"another part of the same":       {7, 2, 3, 90 * time.Second},
		"a limit that leaves enough":     {600, 1, 3, 5 * time.Second},
		"no call of its own, as of four": {2, 3, 4, 3 * time.Minute},
	} {
		limiter := upstream.NewWindow(c.limit)
		limiter.Divide(c.number, c.n)
		b := &Bridge{c: Config{NotehubLimiter: limiter, ListenEvery: 5 * time.Second}}
		if got := b.listenInterval(); got != c.want {
			t.Errorf("%s: read every %v; want %v", name, got, c.want)
		}
	}
}

// A payment that another instance has stored may wait for a call of this one, if calls are limited.
func TestFollowWakesTheQueueOfALimit(t *testing.T) {
	t.Parallel()
	for limit, want := range map[int]bool{0: false, 60: true} {
		h := newHouse(t)
		h.b.c.NotehubLimiter = upstream.NewWindow(limit)
		woken := func() bool {
			select {
			case <-h.b.notehubDue.wake:
				return true
			default:
				return false
			}
		}
		woken() // by the start
		h.b.Follow(t.Context(), []ledger.Change{{Kind: ledger.ChangedPayment, Subject: "token cs_test_1"}})
		if got := woken(); got != want {
			t.Errorf("with a limit of %d the queue is woken: %v; want %v", limit, got, want)
		}
	}
}
