// Package ratelimit limits how often something may happen for each of many keys.
//
// It promises that a rejected request costs nothing and returns the wait until the next one.
// Invented keys cannot fill the memory. It does not know what a key is. Callers also need a limit
// for all keys, because anyone can invent a new key.
package ratelimit

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxKeys bounds the memory of a Keyed.
const maxKeys = 10_000

// Keyed holds one token bucket for each key. It is safe for concurrent use.
type Keyed struct {
	limit rate.Limit
	burst int

	mu      sync.Mutex
	buckets map[string]*rate.Limiter
}

// NewKeyed returns a limit of burst requests at once for each key. Tokens return at the rate limit.
func NewKeyed(limit rate.Limit, burst int) *Keyed {
	return &Keyed{limit: limit, burst: burst, buckets: map[string]*rate.Limiter{}}
}

// Take takes a token of key. It returns 0 on success, and otherwise the wait until there is one.
func (k *Keyed) Take(key string, now time.Time) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.buckets[key]
	if l == nil {
		if len(k.buckets) >= maxKeys {
			k.prune(now)
		}
		l = rate.NewLimiter(k.limit, k.burst)
		k.buckets[key] = l
	}
	return Take(l, now)
}

// prune removes the full buckets. If none is full it clears the map: the caller's limit for all
// keys still applies.
func (k *Keyed) prune(now time.Time) {
	for key, l := range k.buckets {
		if l.TokensAt(now) >= float64(k.burst) {
			delete(k.buckets, key)
		}
	}
	if len(k.buckets) >= maxKeys {
		clear(k.buckets)
	}
}

// Take takes a token of l. It returns 0 on success, and otherwise the wait until there is one.
func Take(l *rate.Limiter, now time.Time) time.Duration {
	r := l.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now)
	}
	return wait
}
