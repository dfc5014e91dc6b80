package notehub

import (
	"context"
	"net/http"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"notepay/internal/upstream"
)

// tokens keeps the access token. Those who need a new one at the same time share one token call. A
// token call that failed, or whose token was rejected at once, is not repeated for a moment: a
// wrong secret or a wrong project must not become a storm.
type tokens struct {
	fixed string // a personal access token: there is no other to get
	fetch func(context.Context) (*oauth2.Token, error)

	fetching chan struct{} // holds one: all wait for one token call

	mu       sync.Mutex // guards what follows
	current  string
	dead     string    // that was rejected last
	accepted bool      // Notehub has accepted current
	rejected int       // rejections in a row of tokens that were never accepted
	renew    time.Time // when current is replaced, some time before its end
	failed   error
	until    time.Time // no token is fetched before; failed is answered, or a rejected token tried again
}

const (
	TokenFailureHolds = 5 * time.Second
	// MaxRejectedHold limits how long no token is fetched after tokens that were rejected at once.
	MaxRejectedHold = 20 * time.Second
	// TokenSpare is how long before its end a token is renewed, at the most; a very short-lived one
	// is used for half its life.
	TokenSpare = 2 * time.Minute
	// TokenLife is assumed where Notehub does not say (it documents 30 minutes).
	TokenLife = 25 * time.Minute
)

// accept notes that Notehub has accepted a token.
func (t *tokens) accept(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if token == t.current || t.fixed != "" {
		t.accepted, t.rejected = true, 0
	}
}

// reject notes that Notehub has rejected a token, and returns whether another may be had at once,
// and otherwise how long to leave Notehub alone. A token that was accepted before has merely died.
// One that never was is replaced once: that may be an accident.
func (t *tokens) reject(token string) (another bool, hold time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	switch {
	case t.fixed == "" && token != t.current:
		return true, 0 // another call has replaced it already
	case now.Before(t.until):
		return false, t.until.Sub(now) // it was tried again meanwhile
	case t.fixed == "" && token == t.dead:
		return true, 0 // it is being replaced
	}
	wasAccepted := t.accepted
	t.dead, t.accepted, t.renew = token, false, time.Time{}
	if t.fixed == "" && wasAccepted {
		return true, 0
	}
	if t.rejected++; t.rejected >= 2 {
		hold = min(TokenFailureHolds<<min(t.rejected-2, 10), MaxRejectedHold)
		t.failed, t.until = nil, now.Add(hold)
	}
	return t.fixed == "" && hold == 0, hold
}

// get returns a token. If it has to be fetched, that uses the slot.
func (t *tokens) get(ctx context.Context, slot *upstream.Slot) (string, error) {
	if t.fixed != "" {
		return t.fixed, nil
	}
	if token, known, err := t.known(time.Now()); known {
		return token, err
	}
	select { // no mutex: who waits here may give up
	case t.fetching <- struct{}{}:
	case <-ctx.Done():
		return "", &upstream.Error{Outcome: upstream.Retryable, Err: ctx.Err()}
	}
	defer func() { <-t.fetching }()
	if token, known, err := t.known(time.Now()); known {
		return token, err // another call has fetched it meanwhile
	}
	if err := slot.Use(ctx); err != nil {
		return "", err
	}
	token, err := t.fetch(ctx)
	slot.Ended()
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			t.failed, t.until = ClassifyToken(err), now.Add(TokenFailureHolds)
			return "", t.failed
		}
		return "", &upstream.Error{Outcome: upstream.Retryable, Err: ctx.Err()}
	}
	life := TokenLife
	if !token.Expiry.IsZero() && token.Expiry.After(now) {
		life = token.Expiry.Sub(now)
	}
	t.current, t.accepted, t.renew = token.AccessToken, false, now.Add(max(life-TokenSpare, life/2))
	return t.current, nil
}

// known returns what get returns while no token is to be fetched. known is false if one is.
func (t *tokens) known(now time.Time) (token string, known bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.current != "" && now.Before(t.renew):
		return t.current, true, nil
	case now.Before(t.until) && t.failed != nil:
		return "", true, t.failed
	case now.Before(t.until):
		return t.current, true, nil // Notehub may accept by now what it has rejected
	}
	return "", false, nil
}

// notAccepted is the error of a call whose token Notehub rejects.
func (t *tokens) notAccepted() error {
	why := "Notehub does not accept the token that it has just issued: see that the OAuth client is one of the project " +
		"NOTEHUB_PROJECT_UID, or make a new one in the project's settings under Programmatic API access"
	if t.fixed != "" {
		why = "Notehub does not accept the token in NOTEHUB_TOKEN: it has expired, was revoked, or is of another project; make a new one"
	}
	return &upstream.Error{Outcome: upstream.Misconfigured, Status: http.StatusUnauthorized, Detail: why}
}
