package checkout

import (
	"time"

	"golang.org/x/time/rate"

	"notepay/internal/ratelimit"
)

// limits bounds how often the pay button may be pressed and how many sessions may be created.
//
// Client addresses do not count. Behind a proxy all customers share one, and X-Forwarded-For is
// ignored because anyone can write one. A browser with a name from NewBrowser has loaded a page
// first, as every customer's does. All other browsers share separate limits. So a client that
// presses without loading a page holds up only others that do the same.
//
// Names are free. A client that loads a page for each press can still use up the sessions of one
// machine, but not those of another.
type limits struct {
	presses                *ratelimit.Keyed // by browser and machine
	devices, strangers     *ratelimit.Keyed // sessions by machine, for named browsers and for others
	everyone, allStrangers *rate.Limiter
}

func newLimits() limits {
	return limits{
		presses:      ratelimit.NewKeyed(rate.Every(10*time.Second), 6),
		devices:      ratelimit.NewKeyed(rate.Every(6*time.Second), 10),
		strangers:    ratelimit.NewKeyed(rate.Every(12*time.Second), 5),
		everyone:     rate.NewLimiter(sessionsPerSecond, sessionBurst),
		allStrangers: rate.NewLimiter(3, 10),
	}
}

const (
	// sessionsPerSecond and sessionBurst limit all sessions of all instances. Stripe accepts 25 a second
	// at one endpoint.
	sessionsPerSecond, sessionBurst = 10, 20
)

// divide makes this process use one of n equal parts of what Stripe limits.
func (l *limits) divide(n int) {
	l.everyone.SetLimit(rate.Limit(sessionsPerSecond) / rate.Limit(n))
	l.everyone.SetBurst(max(sessionBurst/n, 1))
}

// press returns how long a browser must wait before it may press the button of a machine again.
func (l *limits) press(browser, device string, now time.Time) time.Duration {
	return l.presses.Take(browser+" "+device, now)
}

// create returns how long the next session of a device must wait. named reports whether it is for a
// browser with a name from NewBrowser.
func (l *limits) create(device string, named bool, now time.Time) time.Duration {
	devices, all := l.devices, l.everyone
	if !named {
		devices, all = l.strangers, l.allStrangers
	}
	if wait := devices.Take(device, now); wait > 0 {
		return wait
	}
	return ratelimit.Take(all, now)
}
