package checkout

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limits is how often the button may be pressed and how many sessions may be made. Behind a proxy all customers share one address, so what an
// address may do is generous: X-Forwarded-For is not looked at, for anybody can write one. A browser without cookies, or with cookies of its own
// making, is held by the other limits.
type limits struct {
	browsers, addresses, devices *keyed
	all                          *rate.Limiter
}

func newLimits() limits {
	return limits{
		browsers:  newKeyed(rate.Every(10*time.Second), 6),
		addresses: newKeyed(rate.Every(time.Second), 60),
		devices:   newKeyed(rate.Every(6*time.Second), 10),
		all:       rate.NewLimiter(10, 20), // Stripe takes 25 a second at one endpoint
	}
}

// press is how long somebody has to wait who presses the button; 0: not at all.
func (l *limits) press(browser, address string, now time.Time) time.Duration {
	if wait := l.browsers.wait(browser, now); wait > 0 {
		return wait
	}
	return l.addresses.wait(address, now)
}

// make is how long the next session for a device has to wait; 0: not at all.
func (l *limits) make(device string, now time.Time) time.Duration {
	if wait := l.devices.wait(device, now); wait > 0 {
		return wait
	}
	return spend(l.all, now)
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

// tidy forgets keys that have done nothing for so long that it makes no difference; if that are none, all of them: the limits for all hold.
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
