package console

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"notepay/internal/clientaddr"
	"notepay/internal/ledger"
	"notepay/internal/people"
	"notepay/internal/ratelimit"
	"notepay/internal/web"
)

const (
	// After some failures, from one address or in total, a wrong token or passkey is answered late,
	// with 429. The right one is always accepted at once. Behind a proxy, all clients share an
	// address, and a stranger must not lock out the operator. Its length prevents guessing.
	failuresPerAddress, intervalPerAddress = 5, 30 * time.Second
	failuresTotal, intervalTotal           = 50, 2 * time.Second
	// failureDelay is the delay of such an answer, and maxDelayed the maximum number of delayed
	// answers.
	failureDelay, maxDelayed = 2 * time.Second, 100

	// A password can be guessed, so its attempts are limited for each person and address, or for each
	// person and browser that the person used before. So a stranger locks out no other person.
	passwordAttempts, passwordInterval = 5, 30 * time.Second
	// A thief of the password can try codes from many addresses. These attempts are limited for the
	// person, except in browsers that the person used before.
	codeAttempts, codeInterval = 10, time.Minute
)

// strangers limits the sign-ins from browsers that are not known, because each is written to the ledger.
type strangers struct {
	addresses *ratelimit.Keyed
	all       *rate.Limiter
}

const (
	strangersPerAddress, strangerInterval = 10, time.Second
	strangersTotal, strangersPerSecond    = 50, 10
)

func newStrangers() *strangers {
	return &strangers{
		addresses: ratelimit.NewKeyed(rate.Every(strangerInterval), strangersPerAddress),
		all:       rate.NewLimiter(strangersPerSecond, strangersTotal),
	}
}

// take counts a sign-in of an address. It returns how long to wait, or 0.
func (s *strangers) take(address string, now time.Time) time.Duration {
	if wait := s.addresses.Take(address, now); wait > 0 {
		return wait // it takes nothing from all others
	}
	return ratelimit.Take(s.all, now)
}

// failures holds the recent failures of this process.
type failures struct {
	all       *rate.Limiter
	addresses *ratelimit.Keyed
	delayed   chan struct{} // one for each answer that is held back
}

func newFailures() *failures {
	return &failures{
		all:       rate.NewLimiter(rate.Every(intervalTotal), failuresTotal),
		addresses: ratelimit.NewKeyed(rate.Every(intervalPerAddress), failuresPerAddress),
		delayed:   make(chan struct{}, maxDelayed),
	}
}

// failed counts a failure. It returns how long the next attempt must wait, 0 if not.
func (f *failures) failed(address string, now time.Time) time.Duration {
	return max(ratelimit.Take(f.all, now), f.addresses.Take(address, now))
}

// delay holds back the answer to a wrong secret, unless too many answers are held back.
func (f *failures) delay(ctx context.Context) {
	select {
	case f.delayed <- struct{}{}:
	default:
		return
	}
	defer func() { <-f.delayed }()
	timer := time.NewTimer(failureDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// signInPage is the data of the sign-in form.
type signInPage struct {
	Next    string
	People  bool   // there are people, so the form asks for a name first
	Name    string // that was typed
	Passkey *passkeyForm
}

// askToSignIn answers with the sign-in form. next is the address to open after sign-in.
func (c *Console) askToSignIn(w http.ResponseWriter, r *http.Request, status int, problem, next string) error {
	page := signInPage{Next: next, Name: shortened(r.PostFormValue("name"), 4*people.MaxName), People: true}
	if list, err := c.Ledger.People(r.Context()); err == nil {
		page.People = len(list) > 0
	}
	if page.People {
		page.Passkey = c.passkeyForm("sign-in", nil)
	}
	return c.write(w, r, "sign-in", view{
		Title:   "Sign in",
		Status:  status,
		Problem: problem,
		Keys:    page.Passkey != nil,
		Data:    page,
	})
}

// signInForm shows the sign-in form.
func (c *Console) signInForm(w http.ResponseWriter, r *http.Request) error {
	if c.Token == "" {
		return c.closed(w, r)
	}
	return c.askToSignIn(w, r, http.StatusOK, "", localPath(r.URL.Query().Get("next")))
}

// signIn checks the operator token, or a name with its password and code.
func (c *Console) signIn(w http.ResponseWriter, r *http.Request) error {
	if r.PostFormValue("name") != "" || r.PostFormValue("password") != "" {
		return c.signInByPassword(w, r)
	}
	if !web.SameSecret(strings.TrimSpace(r.PostFormValue("token")), c.Token) {
		return c.wrongSecret(w, r, "This is not the operator token.",
			"Too many wrong operator tokens. Please check yours before you try again.", "operator token rejected")
	}
	c.Log.Info("operator signed in", "addr", clientaddr.Key(r.RemoteAddr))
	s, cookie := c.newSession(r, "", "token")
	err := c.store(r, func(tx *ledger.Tx) error { return tx.AddOperatorSession(s) })
	if err != nil {
		c.Log.Warn("sign-in not stored, so it ends with the process", "err", err)
	}
	c.signIns.add(s.ID, time.Now(), err != nil)
	c.setSession(w, r, "", cookie)
	http.Redirect(w, r, localPath(r.PostFormValue("next")), http.StatusSeeOther)
	return nil
}

// wrongSecret answers a wrong token or passkey, and logs it with attributes. Both are too long to guess.
// After many it answers late.
func (c *Console) wrongSecret(
	w http.ResponseWriter, r *http.Request, wrong, often, message string, attributes ...any,
) error {
	next, address := localPath(r.PostFormValue("next")), clientaddr.Key(r.RemoteAddr)
	wait := c.failures.failed(address, time.Now())
	if wait == 0 { // else a stranger could fill the log
		c.Log.Warn(message, append(attributes, "addr", address)...)
		return c.askToSignIn(w, r, http.StatusUnauthorized, wrong, next)
	}
	c.failures.delay(r.Context())
	setRetryAfter(w, wait)
	return c.askToSignIn(w, r, http.StatusTooManyRequests, often, next)
}

func setRetryAfter(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
}

// limitedError is returned for an attempt that has to wait.
type limitedError struct{ wait time.Duration }

func (limitedError) Error() string { return "too many attempts" }

// errWrong is returned for a wrong name, password or code.
var errWrong = errors.New("wrong name, password or code")

// signInByPassword checks a name with its password and a code. The answer does not tell which of them
// is wrong.
func (c *Console) signInByPassword(w http.ResponseWriter, r *http.Request) error {
	next, address := localPath(r.PostFormValue("next")), clientaddr.Key(r.RemoteAddr)
	p, cookie, err := c.checkPassword(r, address)
	limited, isLimited := errors.AsType[limitedError](err)
	switch {
	case isLimited:
		setRetryAfter(w, limited.wait)
		return c.askToSignIn(w, r, http.StatusTooManyRequests, c.langOf(r).T(
			"Too many attempts for this name from here. Wait {time}, or use another way to sign in.",
			"time", c.langOf(r).roughDuration(limited.wait+time.Second)), next)
	case errors.Is(err, people.ErrBusy):
		setRetryAfter(w, time.Second)
		return c.askToSignIn(w, r, http.StatusServiceUnavailable,
			"notepay is busy checking passwords. Try again in a moment, or use another way to sign in.", next)
	case errors.Is(err, errWrong):
		if c.failures.failed(address, time.Now()) == 0 { // else a stranger could fill the log
			c.Log.Warn("sign-in rejected", "addr", address, "person", p.Name)
		}
		return c.askToSignIn(w, r, http.StatusUnauthorized, "The name, the password or the code is wrong.", next)
	case err != nil:
		return err
	}
	c.Log.Info("person signed in", "addr", address, "person", p.Name)
	c.setSession(w, r, p.ID, cookie)
	http.Redirect(w, r, next, http.StatusSeeOther)
	return nil
}

// checkPassword returns the person of a form, and the cookie of the new session. It returns errWrong,
// limitedError or people.ErrBusy for an attempt that does not count.
func (c *Console) checkPassword(r *http.Request, address string) (p ledger.Person, cookie string, err error) {
	key := people.NameKey(r.PostFormValue("name"))
	p, err = c.Ledger.PersonNamed(r.Context(), key)
	if _, err := ledger.Found(err); err != nil {
		return p, "", err
	}
	from, known := c.knownBrowser(r, p.ID)
	if !known {
		from = "address " + address
		if wait := c.strangers.take(address, time.Now()); wait > 0 {
			return p, "", limitedError{wait}
		}
	}
	attempt := c.digest("password\n" + key + "\n" + from)
	if err := c.takeAttempt(r, attempt, passwordInterval, passwordAttempts); err != nil {
		return p, "", err
	}
	match, err := c.hasher.Matches(r.Context(), r.PostFormValue("password"), p.Password, from, known)
	switch {
	case err != nil:
		return p, "", err
	case !match || !p.DisabledAt.IsZero() || p.TOTP == "":
		return p, "", errWrong
	}
	if !known {
		if err := c.takeAttempt(r, c.digest("code\n"+p.ID), codeInterval, codeAttempts); err != nil {
			return p, "", err
		}
	}
	code := r.PostFormValue("code")
	step, isCode := people.CheckTOTP(p.TOTP, code, p.TOTPStep, c.Ledger.Now())
	way := "password"
	if !isCode {
		way = "recovery"
	}
	s, cookie := c.newSession(r, p.ID, way)
	err = c.store(r, func(tx *ledger.Tx) error {
		// The password may have been changed, or the person disabled, while it was checked.
		now, err := tx.Person(p.ID)
		if err != nil {
			return err
		}
		if now.Password != p.Password || now.TOTP != p.TOTP || !now.DisabledAt.IsZero() {
			return errWrong
		}
		if err := c.useCode(tx, p, code, step, isCode); err != nil {
			return err
		}
		return errors.Join(tx.ForgetAttempts(attempt), tx.ForgetAttempts(c.digest("code\n"+p.ID)),
			tx.AddOperatorSession(s))
	})
	return p, cookie, err
}

// useCode makes a code count, once. It returns errWrong if it does not.
func (c *Console) useCode(tx *ledger.Tx, p ledger.Person, code string, step int64, isCode bool) error {
	if isCode {
		ok, err := tx.UseTOTP(p.ID, step)
		if err == nil && !ok {
			err = errWrong
		}
		return err
	}
	digest := people.RecoveryDigest(code)
	if digest == "" {
		return errWrong
	}
	ok, err := tx.UseRecoveryCode(p.ID, digest)
	if err == nil && !ok {
		err = errWrong
	}
	if err != nil {
		return err
	}
	return tx.AddAudit(ledger.Audit{Who: p.Name, What: "recovery", Subject: p.Name})
}

// takeAttempt counts an attempt before it is checked, so that concurrent attempts count, too. It
// returns limitedError if the attempt has to wait.
func (c *Console) takeAttempt(r *http.Request, id string, interval time.Duration, burst int) error {
	// The transaction succeeds in any case: a batch that fails is written again, payment by payment.
	var wait time.Duration
	err := c.store(r, func(tx *ledger.Tx) (err error) {
		wait, err = tx.TakeAttempt(id, interval, burst)
		return err
	})
	if err == nil && wait > 0 {
		err = limitedError{wait}
	}
	return err
}
