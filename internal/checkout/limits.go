package checkout

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limits is how often the button may be pressed and how many sessions may be made. Addresses do not
// count: behind a proxy all customers share one, and X-Forwarded-For is not looked at, for anybody
// can write one. A browser that shows a name which we gave it has loaded a page first, as every
// customer's does. All others share limits of their own, so that whoever presses without loading a
// page holds up only their kind. Names are free, so whoever loads a page for each press can still
// use up the sessions of a machine, and of that one alone.
type limits struct {
	presses                *keyed // by browser and machine
	devices, strangers     *keyed // sessions by machine, for browsers that we named and for others
	everyone, allStrangers *rate.Limiter
}

func newLimits() limits {
	return limits{
		presses:      newKeyed(rate.Every(10*time.Second), 6),
		devices:      newKeyed(rate.Every(6*time.Second), 10),
		strangers:    newKeyed(rate.Every(12*time.Second), 5),
		everyone:     rate.NewLimiter(10, 20), // Stripe takes 25 a second at one endpoint
		allStrangers: rate.NewLimiter(3, 10),
	}
}

// press is how long somebody has to wait who presses the button of a machine; 0: not at all.
func (l *limits) press(browser, device string, now time.Time) time.Duration {
	return l.presses.wait(browser+" "+device, now)
}

// make is how long the next session for a device has to wait; 0: not at all. known says whether it
// is for a browser that we named.
func (l *limits) make(device string, known bool, now time.Time) time.Duration {
	devices, all := l.devices, l.everyone
	if !known {
		devices, all = l.strangers, l.allStrangers
	}
	if wait := devices.wait(device, now); wait > 0 {
		return wait
	}
	return spend(all, now)
}

// spend takes a token, or says how long it is until there is one.
func spend(l *rate.Limiter, now time.Time) time.Duration {
	r := l.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now)
	}
	return wait
}

// keyed is one limit for each of many keys, which anybody can make up.
type keyed struct {
	every rate.Limit
	burst int

	mu  sync.Mutex
	per map[string]*rate.Limiter
}

// mostKeys bounds the memory of a limit.
const mostKeys = 10_000

func newKeyed(every rate.Limit, burst int) *keyed {
	return &keyed{every: every, burst: burst, per: map[string]*rate.Limiter{}}
}

func (k *keyed) wait(key string, now time.Time) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.per[key]
	if l == nil {
		if len(k.per) >= mostKeys {
			k.tidy(now)
		}
		l = rate.NewLimiter(k.every, k.burst)
		k.per[key] = l
	}
	return spend(l, now)
}

// tidy forgets keys that have done nothing for so long that it makes no difference; if that are
// none, all of them: the limits for all hold.
func (k *keyed) tidy(now time.Time) {
	for key, l := range k.per {
		if l.TokensAt(now) >= float64(k.burst) {
			delete(k.per, key)
		}
	}
	if len(k.per) >= mostKeys {
		clear(k.per)
	}
}
