package alert

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"notepay/internal/notify"
)

// next returns the most important message that a target should get now.
func (a *Alerter) next(ctx context.Context, t *target, now time.Time) (j job, due bool) {
	for _, kind := range Kinds() {
		if kind != Storage && !a.loaded || !a.led {
			continue
		}
		if j, due = a.nextOf(t, kind, now); due {
			return j, true
		}
	}
	if !a.loaded {
		return j, false
	}
	return a.nextDigest(ctx, t, now)
}

// nextOf returns the message about a kind that a target should get now.
func (a *Alerter) nextOf(t *target, kind Kind, now time.Time) (j job, due bool) {
	was := t.toldOf(kind, now)
	for key := range was.keys {
		if a.items[kind][key] == nil { // over; if it comes again, it is reported again
			delete(was.keys, key)
			was.dirty = true
		}
	}
	if now.Before(was.at.Add(minInterval)) {
		return j, false
	}
	var fresh []*item
	keys, waiting := map[string]bool{}, false
	for key, i := range a.items[kind] {
		switch {
		case was.keys[key]:
			keys[key] = true
		case !i.last.Equal(a.looked):
			// over, and never told
		case now.Sub(i.first) >= kind.patience():
			waiting = true
			fallthrough
		default:
			fresh, keys[key] = append(fresh, i), true
		}
	}
	switch {
	case waiting:
		if !kind.inLedger() { // each problem must last for itself
			fresh = lasting(fresh, keys, kind, now)
		}
		return job{kind, true, keys, a.compose(t, kind, was.number, fresh, keys, now)}, true
	case was.open && len(a.items[kind]) == 0:
		m := a.message(t, kind, was.number, notify.Resolved, nil, now)
		m.Title, m.Text = a.c.Name+": "+kind.over(), "There is nothing left to do."
		return job{kind, false, map[string]bool{}, m}, true
	}
	return j, false
}

// lasting removes the items that have not lasted long enough from both lists.
func lasting(fresh []*item, keys map[string]bool, kind Kind, now time.Time) (kept []*item) {
	for _, i := range fresh {
		if now.Sub(i.first) >= kind.patience() {
			kept = append(kept, i)
			continue
		}
		delete(keys, i.Key)
	}
	return kept
}

// nextDigest returns the digest, if it is due.
func (a *Alerter) nextDigest(ctx context.Context, t *target, now time.Time) (j job, due bool) {
	at := a.c.DigestAt(now)
	was := t.toldOf(digest, now)
	since := was.at
	if since.IsZero() {
		since = t.began // the first one comes with the first full day
	}
	const late = 6 * time.Hour // later it would only confuse
	if at.IsZero() || now.Before(at) || now.Sub(at) > late || !since.Before(at) {
		return j, false
	}
	reading, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	text, err := a.c.Digest(reading, at.AddDate(0, 0, -1), at)
	if err != nil {
		if ctx.Err() == nil {
			a.c.Log.Warn("digest not made", "err", err)
		}
		return j, false
	}
	m := a.message(t, digest, was.number, notify.Digest, nil, now)
	m.Title, m.Text, m.Link = a.c.Name+": the last 24 hours", text, pageLink(a.c.Link, "/operator")
	return job{digest, false, map[string]bool{}, m}, true
}

// toldOf returns what a target was told of a kind. A time in the future is of a clock that was ahead.
func (t *target) toldOf(kind Kind, now time.Time) *told {
	if t.told[kind] == nil {
		t.told[kind] = &told{keys: map[string]bool{}}
	}
	was := t.told[kind]
	if was.at.After(now) {
		was.at = now
	}
	return was
}

// retryAfter returns how long to wait after the n-th failure in a row: 30 s, doubled up to half an
// hour.
func retryAfter(n int) time.Duration {
	return min(30*time.Second<<min(n-1, 6), 30*time.Minute)
}

// messageID returns the id of a message. It is the same for a repeat after a failure or a crash, if
// nothing changed in between.
func messageID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\n")))
	return "msg_" + hex.EncodeToString(sum[:12])
}
