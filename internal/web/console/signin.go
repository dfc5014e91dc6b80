package console

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"notepay/internal/bridge"
	"notepay/internal/ledger"
	"notepay/internal/web"
)

const (
	cookieName = "notepay_operator"
	// signedInFor is how long a sign-in holds.
	signedInFor = 12 * time.Hour
	// mostSignIns bounds the memory; the oldest gives way.
	mostSignIns = 100

	// After some failures, from an address or from anywhere, a wrong token is answered only after a
	// delay, and 429. The right one is always taken at once: where a proxy stands before us its
	// address is everybody's, and a stranger must not lock everybody out. What keeps guessing
	// hopeless is the token's length.
	failuresPerAddress, waitPerAddress = 5, 30 * time.Second
	failuresInAll, waitInAll           = 50, 2 * time.Second
	mostAddresses                      = 10_000
	// wrongDelay is how long the answer to a wrong token is held back then, and maxDelayed how many
	// are.
	wrongDelay, maxDelayed = 2 * time.Second, 100
)

// signIns are those who signed in, and those who failed to. Both are forgotten with the process.
type signIns struct {
	mu        sync.Mutex
	until     map[[sha256.Size]byte]time.Time // by the hash of the cookie's value
	all       *rate.Limiter
	addresses map[string]*rate.Limiter
	delayed   chan struct{} // answers that are held back
}

func newSignIns() *signIns {
	return &signIns{until: map[[sha256.Size]byte]time.Time{}, addresses: map[string]*rate.Limiter{},
		all: rate.NewLimiter(rate.Every(waitInAll), failuresInAll), delayed: make(chan struct{}, maxDelayed)}
}

func shortfall(l *rate.Limiter, now time.Time) time.Duration {
	missing := 1 - l.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	return time.Duration(missing / float64(l.Limit()) * float64(time.Second))
}

// failed counts a failure, and returns after how long there may be another; 0 for at once.
func (s *signIns) failed(address string, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.addresses) >= mostAddresses {
		for a, l := range s.addresses {
			if l.TokensAt(now) >= failuresPerAddress {
				delete(s.addresses, a)
			}
		}
		if len(s.addresses) >= mostAddresses {
			clear(s.addresses) // the limit for all still holds
		}
	}
	if s.addresses[address] == nil {
		s.addresses[address] = rate.NewLimiter(rate.Every(waitPerAddress), failuresPerAddress)
	}
	wait := max(shortfall(s.all, now), shortfall(s.addresses[address], now))
	s.addresses[address].AllowN(now, 1)
	s.all.AllowN(now, 1)
	return wait
}

// delay holds back the answer to a wrong token, unless very many are held back.
func (s *signIns) delay(ctx context.Context) {
	select {
	case s.delayed <- struct{}{}:
	default:
		return
	}
	defer func() { <-s.delayed }()
	timer := time.NewTimer(wrongDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// add makes a sign-in and returns the cookie's value.
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
	if len(s.until) >= mostSignIns {
		delete(s.until, oldest)
	}
	s.until[sha256.Sum256([]byte(value))] = now.Add(signedInFor)
	return value
}

// signedIn says whether a request comes from a browser that has signed in.
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

func (s *signIns) remove(r *http.Request) {
	if cookie, err := r.Cookie(cookieName); err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.until, sha256.Sum256([]byte(cookie.Value)))
	}
}

// maxFormTokens bounds a form's token, in bytes; those of our own pages are shorter.
const maxFormTokens = 64

// errTwice is returned for a button that was pressed before on the same copy of its page, and whose
// action succeeded then.
var errTwice = errors.New("this button was pressed before")

// formToken names a button of one copy of a page.
func formToken(r *http.Request) string {
	digest := sha256.Sum256([]byte(r.PostFormValue("once") + " " + r.URL.Path))
	return "form:" + hex.EncodeToString(digest[:])
}

// consumeFormToken consumes the token of a form in the transaction of its action, so that a second
// press changes nothing, and a press after a failure counts.
func consumeFormToken(r *http.Request) bridge.Also {
	return bridge.Also{Before: func(tx *ledger.Tx) error {
		_, known, err := tx.BeginRequest(formToken(r), "")
		if err == nil && known {
			err = errTwice
		}
		return err
	}}
}

func newFormToken() string { return rand.Text() }

// signInPage answers where no token is set.
func (c *Console) signInPage(w http.ResponseWriter, r *http.Request) error {
	return c.write(w, r, "sign-in", view{Title: "The console is closed", Status: http.StatusForbidden,
		Problem: "Set OPERATOR_TOKEN to a secret of at least 16 characters (in .env or the environment), restart notepay, and sign in here with it."})
}

// requireSignIn lets a page be seen by who has signed in; others can sign in.
func (c *Console) requireSignIn(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		switch {
		case c.Token == "":
			return c.signInPage(w, r)
		case !c.signIns.signedIn(r, time.Now()):
			return c.askForToken(w, r, http.StatusUnauthorized, "", backTo(r))
		}
		return h(w, r)
	}
}

// requireForm lets a button be pressed by who has signed in, on a page of ours.
func (c *Console) requireForm(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if c.Token == "" {
			return c.signInPage(w, r)
		}
		web.LimitForm(w, r)
		if err := c.origins.Check(r); err != nil {
			return c.crossSite(w, r)
		}
		if !c.signIns.signedIn(r, time.Now()) {
			return c.askForToken(w, r, http.StatusUnauthorized, "You are no longer signed in. Nothing was changed.",
				backTo(r))
		}
		err := r.ParseForm() // a field that cannot be read must not count as empty: an empty amount is all of it
		if token := r.PostForm.Get("once"); err != nil || token == "" || len(token) > maxFormTokens {
			return c.problem(w, r, http.StatusBadRequest,
				"The form was incomplete. Reload the page and try again. Nothing was changed.")
		}
		// What follows could have other objections to a second press, such as an amount that is
		// back already.
		twice, err := c.Ledger.Begun(r.Context(), formToken(r))
		if err == nil && !twice {
			err = h(w, r)
		}
		if twice || errors.Is(err, errTwice) { // or both presses are under way
			return goBack(w, r, "twice")
		}
		return err
	}
}

// crossSite answers a form of another site.
func (c *Console) crossSite(w http.ResponseWriter, r *http.Request) error {
	return c.write(w, r, "sign-in", view{
		Title:   "Request from another site",
		Status:  http.StatusForbidden,
		Problem: "Another site tried to use a button of this console. Nothing was changed.",
	})
}

func (c *Console) askForToken(w http.ResponseWriter, r *http.Request, status int, problem, next string) error {
	return c.write(w, r, "sign-in", view{Title: "Sign in", Status: status, Problem: problem, Data: next})
}

// signIn takes the token and gives a cookie that does not tell it.
func (c *Console) signIn(w http.ResponseWriter, r *http.Request) error {
	if c.Token == "" {
		return c.signInPage(w, r)
	}
	web.LimitForm(w, r)
	if err := c.origins.Check(r); err != nil {
		return c.crossSite(w, r)
	}
	next, address, now := localPath(r.PostFormValue("next")), clientAddress(r), time.Now()
	if !web.SameSecret(strings.TrimSpace(r.PostFormValue("token")), c.Token) {
		wait := c.signIns.failed(address, now)
		if wait == 0 { // a stranger must not fill the log
			c.Log.Warn("operator token rejected", "addr", address)
			return c.askForToken(w, r, http.StatusUnauthorized, "This is not the operator token.", next)
		}
		c.signIns.delay(r.Context())
		w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
		return c.askForToken(w, r, http.StatusTooManyRequests,
			"Too many wrong operator tokens. Please check yours before you try again.", next)
	}
	c.Log.Info("operator signed in", "addr", address)
	http.SetCookie(w, c.cookie(r, c.signIns.add(now), signedInFor))
	http.Redirect(w, r, next, http.StatusSeeOther)
	return nil
}

func (c *Console) signOut(w http.ResponseWriter, r *http.Request) error {
	c.signIns.remove(r)
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

// clientAddress is where a request came from, without the port.
func clientAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
