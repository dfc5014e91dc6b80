package notehub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"notepay/internal/upstream"
)

// tokens keeps the access token. Calls that need a new one at the same time share one token call.
// After a token call that failed, or whose token was rejected at once, none is made for some
// seconds. So a wrong secret or project does not flood Notehub.
type tokens struct {
	fixed string // a personal access token, which is never replaced
	fetch func(context.Context) (*oauth2.Token, error)

	fetching chan struct{} // of size one: held during a token call

	mu       sync.Mutex // guards what follows
	current  string
	dead     string    // the token that was rejected last
	accepted bool      // Notehub has accepted current
	rejected int       // rejections in a row of tokens that were never accepted
	renew    time.Time // when current is replaced, before it expires
	until    time.Time // no token is fetched before
	failed   error     // returned until then; nil: the rejected token is tried again
}

const (
	// tokenBackoff is how long no token is fetched after a failed token call.
	tokenBackoff = 5 * time.Second
	// maxTokenBackoff limits how long no token is fetched after tokens that were rejected at once.
	maxTokenBackoff = 20 * time.Second
	// tokenMargin is how long before its expiry a token is renewed. A token that lives less than
	// twice as long is renewed after half its life.
	tokenMargin = 2 * time.Minute
	// defaultTokenLife applies if Notehub does not name an expiry. It documents 30 minutes.
	defaultTokenLife = 25 * time.Minute
)

// accept records that Notehub has accepted a token.
func (t *tokens) accept(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if token == t.current || t.fixed != "" {
		t.accepted, t.rejected = true, 0
	}
}

// reject records that Notehub has rejected a token. It returns whether another may be fetched at
// once, or else how long to make no calls. A token that was accepted before has merely expired. A
// token that was never accepted is replaced once, because the rejection may be an accident.
func (t *tokens) reject(token string) (another bool, hold time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	switch {
	case t.fixed == "" && token != t.current:
		return true, 0 // another call has replaced the token already
	case now.Before(t.until):
		return false, t.until.Sub(now) // another call has tried the token again
	case t.fixed == "" && token == t.dead:
		return true, 0 // another call is replacing the token
	}
	wasAccepted := t.accepted
	t.dead, t.accepted, t.renew = token, false, time.Time{}
	if t.fixed == "" && wasAccepted {
		return true, 0
	}
	if t.rejected++; t.rejected >= 2 {
		hold = min(tokenBackoff<<min(t.rejected-2, 10), maxTokenBackoff)
		t.failed, t.until = nil, now.Add(hold)
	}
	return t.fixed == "" && hold == 0, hold
}

// get returns a token. If it has to fetch one, the token call uses the slot.
func (t *tokens) get(ctx context.Context, slot *upstream.Slot) (string, error) {
	if t.fixed != "" {
		return t.fixed, nil
	}
	if token, known, err := t.known(time.Now()); known {
		return token, err
	}
	select { // a channel and not a mutex, so that a waiting call can give up
	case t.fetching <- struct{}{}:
	case <-ctx.Done():
		return "", &upstream.Error{Outcome: upstream.Retryable, Err: ctx.Err()}
	}
	defer func() { <-t.fetching }()
	if token, known, err := t.known(time.Now()); known {
		return token, err // another call has fetched it
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
			t.failed, t.until = classifyToken(err), now.Add(tokenBackoff)
			return "", t.failed
		}
		return "", &upstream.Error{Outcome: upstream.Retryable, Err: ctx.Err()}
	}
	life := defaultTokenLife
	if !token.Expiry.IsZero() && token.Expiry.After(now) {
		life = token.Expiry.Sub(now)
	}
	t.current, t.accepted, t.renew = token.AccessToken, false, now.Add(max(life-tokenMargin, life/2))
	return t.current, nil
}

// known returns the result of get if no token has to be fetched. Otherwise known is false.
func (t *tokens) known(now time.Time) (token string, known bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.current != "" && now.Before(t.renew):
		return t.current, true, nil
	case now.Before(t.until) && t.failed != nil:
		return "", true, t.failed
	case now.Before(t.until):
		return t.current, true, nil // Notehub may accept now what it rejected before
	}
	return "", false, nil
}

// classifyToken converts the error of a token call into an *upstream.Error. The error has OAuth's
// shape, not Notehub's. Whatever it is, the call that needs the token was not made.
func classifyToken(err error) error {
	e, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		return &upstream.Error{Outcome: upstream.Retryable, Err: fmt.Errorf("token: %w", err)}
	}
	out := &upstream.Error{
		Outcome: upstream.Retryable,
		Detail:  upstream.Excerpt([]byte("token: " + e.ErrorCode + " " + e.ErrorDescription)),
	}
	if e.Response != nil {
		out.Status, out.RetryAfter = e.Response.StatusCode, upstream.RetryAfter(e.Response.Header, time.Now())
	}
	switch {
	case out.Status == http.StatusTooManyRequests:
		out.Outcome = upstream.RateLimited
	case out.Status/100 == 4:
		out.Outcome = upstream.Misconfigured
	}
	return out
}

// rejectedToken is the error of a call that Notehub answered with 401. It holds the call's token.
type rejectedToken struct{ token string }

func (*rejectedToken) Error() string { return "token rejected" }

// notAccepted returns the error of a call whose token Notehub rejects.
func (t *tokens) notAccepted() error {
	why := "Notehub does not accept the token that it has just issued: see that the OAuth client is one of the " +
		"project NOTEHUB_PROJECT_UID, or make a new one in the project's settings under Programmatic API access"
	if t.fixed != "" {
		why = "Notehub does not accept the token in NOTEHUB_TOKEN: it has expired, was revoked, or is of another " +
			"project; make a new one"
	}
	return &upstream.Error{Outcome: upstream.Misconfigured, Status: http.StatusUnauthorized, Detail: why}
}
