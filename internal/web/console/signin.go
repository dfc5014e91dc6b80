package console

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"notepay/internal/bridge"
	"notepay/internal/clientaddr"
	"notepay/internal/ledger"
	"notepay/internal/ratelimit"
	"notepay/internal/web"
)

const (
	cookieName = "notepay_operator"
	// signInLifetime is the time after which a sign-in ends.
	signInLifetime = 12 * time.Hour
	// maxSignIns bounds the memory. A new sign-in replaces the oldest.
	maxSignIns = 100

	// After some failures, from one address or in total, a wrong token is answered late, with 429.
	// The right token is always accepted at once. Behind a proxy, all clients share an address, and
	// a stranger must not lock out the operator. The token's length prevents guessing.
	failuresPerAddress, intervalPerAddress = 5, 30 * time.Second
	failuresTotal, intervalTotal           = 50, 2 * time.Second
	// failureDelay is the delay of such an answer, and maxDelayed the maximum number of delayed
	// answers.
	failureDelay, maxDelayed = 2 * time.Second, 100
)

// signIns holds the sign-ins and the recent failures. It is lost with the process. Instances that
// share a ledger keep the sign-ins there.
type signIns struct {
	mu        sync.Mutex
	until     map[[sha256.Size]byte]time.Time // by the hash of the cookie's value
	all       *rate.Limiter
	addresses *ratelimit.Keyed
	delayed   chan struct{} // one for each answer that is held back
}

func newSignIns() *signIns {
	return &signIns{
		until:     map[[sha256.Size]byte]time.Time{},
		all:       rate.NewLimiter(rate.Every(intervalTotal), failuresTotal),
		addresses: ratelimit.NewKeyed(rate.Every(intervalPerAddress), failuresPerAddress),
		delayed:   make(chan struct{}, maxDelayed),
	}
}

// failed counts a failure. It returns how long the next attempt must wait, 0 if not.
func (s *signIns) failed(address string, now time.Time) time.Duration {
	return max(ratelimit.Take(s.all, now), s.addresses.Take(address, now))
}

// delay holds back the answer to a wrong token, unless too many answers are held back.
func (s *signIns) delay(ctx context.Context) {
	select {
	case s.delayed <- struct{}{}:
	default:
		return
	}
	defer func() { <-s.delayed }()
	timer := time.NewTimer(failureDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// add records a sign-in, and returns the value of its cookie.
func (s *signIns) add(now time.Time) string {
	value := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	var oldest [sha256.Size]byte
	for id, until := range s.until {
		if now.After(until) {
			delete(s.until, id)
		} else if u, ok := s.until[oldest]; !ok || until.Before(u) {
			oldest = id
		}
	}
	if len(s.until) >= maxSignIns {
		delete(s.until, oldest)
	}
	s.until[sha256.Sum256([]byte(value))] = now.Add(signInLifetime)
	return value
}

// signedIn reports whether a request carries the cookie of a sign-in.
func (s *signIns) signedIn(r *http.Request, now time.Time) bool {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	until, ok := s.until[sha256.Sum256([]byte(cookie.Value))]
	return ok && now.Before(until)
}

// remove ends a sign-in.
func (s *signIns) remove(r *http.Request) {
	if cookie, err := r.Cookie(cookieName); err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.until, sha256.Sum256([]byte(cookie.Value)))
	}
}

// maxFormTokens bounds a form's token, in bytes. Our pages send shorter ones.
const maxFormTokens = 64

// errPressedTwice is returned for a button that was pressed on the same copy of its page before, if
// its action succeeded then.
var errPressedTwice = errors.New("this button was pressed before")

// formToken returns the key of one button on one copy of a page.
func formToken(r *http.Request) string {
	digest := sha256.Sum256([]byte(r.PostFormValue("once") + " " + r.URL.Path))
	return "form:" + hex.EncodeToString(digest[:])
}

// consumeFormToken consumes the token of a form in the transaction of the action. A second press then
// changes nothing, but a press after a failed action counts.
func consumeFormToken(r *http.Request) bridge.Also {
	return bridge.Also{Before: func(tx *ledger.Tx) error {
		_, known, err := tx.BeginRequest(formToken(r), "")
		if err == nil && known {
			err = errPressedTwice
		}
		return err
	}}
}

func newFormToken() string { return rand.Text() }

// signInPage answers that no operator token is set.
func (c *Console) signInPage(w http.ResponseWriter, r *http.Request) error {
	return c.write(w, r, "sign-in", view{Title: "The console is closed", Status: http.StatusForbidden,
		Problem: "Set OPERATOR_TOKEN to a secret of at least 16 characters (in .env or the environment), " +
			"restart notepay, and sign in here with it."})
}

// requireSignIn shows a page after sign-in, and the sign-in form otherwise.
func (c *Console) requireSignIn(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		switch {
		case c.Token == "":
			return c.signInPage(w, r)
		case !c.signedIn(r):
			return c.askForToken(w, r, http.StatusUnauthorized, "", backTo(r))
		}
		return h(w, r)
	}
}

// requireForm accepts a form of a signed-in operator, from a page of ours.
func (c *Console) requireForm(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if c.Token == "" {
			return c.signInPage(w, r)
		}
		web.LimitForm(w, r)
		if err := c.origins.Check(r); err != nil {
			return c.crossSite(w, r)
		}
		if !c.signedIn(r) {
			return c.askForToken(w, r, http.StatusUnauthorized, "You are no longer signed in. Nothing was changed.",
				backTo(r))
		}
		// An unreadable field must not count as empty, because an empty amount refunds everything.
		err := r.ParseForm()
		if token := r.PostForm.Get("once"); err != nil || token == "" || len(token) > maxFormTokens {
			return c.problem(w, r, http.StatusBadRequest,
				"The form was incomplete. Reload the page and try again. Nothing was changed.")
		}
		// Check for a second press first, because the handler may reject it for another reason, such
		// as an amount that was refunded already.
		pressed, err := c.Ledger.HasRequest(r.Context(), formToken(r))
		if err == nil && !pressed {
			err = h(w, r)
		}
		if pressed || errors.Is(err, errPressedTwice) { // or both presses run at once
			return goBack(w, r, "twice")
		}
		return err
	}
}

// crossSite rejects a form of another site.
func (c *Console) crossSite(w http.ResponseWriter, r *http.Request) error {
	return c.write(w, r, "sign-in", view{
		Title:   "Request from another site",
		Status:  http.StatusForbidden,
		Problem: "Another site tried to use a button of this console. Nothing was changed.",
	})
}

// askForToken answers with the sign-in form. next is the address to open after sign-in.
func (c *Console) askForToken(w http.ResponseWriter, r *http.Request, status int, problem, next string) error {
	return c.write(w, r, "sign-in", view{Title: "Sign in", Status: status, Problem: problem, Data: next})
}

// signIn checks the token, and sets a cookie that does not contain it.
func (c *Console) signIn(w http.ResponseWriter, r *http.Request) error {
	if c.Token == "" {
		return c.signInPage(w, r)
	}
	web.LimitForm(w, r)
	if err := c.origins.Check(r); err != nil {
		return c.crossSite(w, r)
	}
	next, address, now := localPath(r.PostFormValue("next")), clientaddr.Key(r.RemoteAddr), time.Now()
	if !web.SameSecret(strings.TrimSpace(r.PostFormValue("token")), c.Token) {
		wait := c.signIns.failed(address, now)
		if wait == 0 { // else a stranger could fill the log
			c.Log.Warn("operator token rejected", "addr", address)
			return c.askForToken(w, r, http.StatusUnauthorized, "This is not the operator token.", next)
		}
		c.signIns.delay(r.Context())
		w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
		return c.askForToken(w, r, http.StatusTooManyRequests,
			"Too many wrong operator tokens. Please check yours before you try again.", next)
	}
	c.Log.Info("operator signed in", "addr", address)
	value := c.signIns.add(now)
	if err := c.shareSignIn(r, value); err != nil {
		return err
	}
	http.SetCookie(w, c.cookie(r, value, signInLifetime))
	http.Redirect(w, r, next, http.StatusSeeOther)
	return nil
}

func (c *Console) signOut(w http.ResponseWriter, r *http.Request) error {
	c.signIns.remove(r)
	if err := c.unshareSignIn(r); err != nil {
		return err
	}
	http.SetCookie(w, c.cookie(r, "", -1))
	http.Redirect(w, r, "/operator", http.StatusSeeOther)
	return nil
}

func (c *Console) cookie(r *http.Request, value string, life time.Duration) *http.Cookie {
	age := -1
	if life > 0 {
		age = int(life / time.Second)
	}
	return &http.Cookie{
		Name:     cookieName,
		Value:    value,
		Path:     "/operator",
		MaxAge:   age,
		HttpOnly: true,
		SameSite: http.SameSiteStrictMode,
		Secure:   r.TLS != nil || strings.HasPrefix(c.PublicURL, "https://"),
	}
}
