package console

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
	"time"

	"notepay/internal/clientaddr"
	"notepay/internal/ledger"
	"notepay/internal/people"
)

const (
	cookieName = "notepay_operator"
	// signInLifetime is the time after which a sign-in ends.
	signInLifetime = 12 * time.Hour
	// seenInterval is how exact the last use of a sign-in is. Each update is a write.
	seenInterval = 5 * time.Minute
	// storeTimeout bounds a write about sign-ins.
	storeTimeout = 4 * time.Second
	// maxUnstored bounds the memory. A new sign-in replaces the oldest.
	maxUnstored = 100

	// browserCookie tells that a person signed in with this browser before.
	browserCookie   = "notepay_browser"
	browserLifetime = 365 * 24 * time.Hour
)

// tokenSignIns remembers the sign-ins with OPERATOR_TOKEN that this process accepted. They hold while
// the ledger cannot be read, so that the operator can see what is wrong.
type tokenSignIns struct {
	mu   sync.Mutex
	list map[string]tokenSignIn // by the id of the session
}

type tokenSignIn struct {
	since    time.Time
	unstored bool // the ledger could not be written
}

func (s *tokenSignIns) add(id string, now time.Time, unstored bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest := ""
	for known, in := range s.list {
		if now.Sub(in.since) >= signInLifetime {
			delete(s.list, known)
		} else if oldest == "" || in.since.Before(s.list[oldest].since) {
			oldest = known
		}
	}
	if len(s.list) >= maxUnstored {
		delete(s.list, oldest)
	}
	s.list[id] = tokenSignIn{since: now, unstored: unstored}
}

// since returns the time of a sign-in. readable says that the ledger could be read, and does not know it.
func (s *tokenSignIns) since(id string, now time.Time, readable bool) (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in, ok := s.list[id]
	return in.since, ok && now.Sub(in.since) < signInLifetime && (in.unstored || !readable)
}

func (s *tokenSignIns) remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.list, id)
}

// digest returns the keyed digest of a text. Another OPERATOR_TOKEN changes all of them.
func (c *Console) digest(text string) string {
	mac := hmac.New(sha256.New, []byte(c.Token))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}

// actor returns who sends a request, and false without a sign-in that holds.
func (c *Console) actor(r *http.Request) (people.Actor, bool) {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return people.Actor{}, false
	}
	id := c.digest(cookie.Value)
	s, err := c.Ledger.OperatorSession(r.Context(), id)
	known, err := ledger.Found(err)
	if !known {
		since, ok := c.signIns.since(id, time.Now(), err == nil)
		return people.Actor{Name: people.OperatorName, Role: people.Owner, Session: id, Since: since}, ok
	}
	a := people.Actor{Name: s.Name, Role: people.Role(s.Role), Person: s.Person, Session: id, Since: s.Since}
	if s.Person == "" {
		a.Name, a.Role = people.OperatorName, people.Owner
	}
	if !s.DisabledAt.IsZero() {
		return people.Actor{}, false
	}
	if c.Ledger.Now().Sub(s.SeenAt) > seenInterval {
		err := c.store(r, func(tx *ledger.Tx) error { return tx.SeeOperatorSession(id) })
		if err != nil && r.Context().Err() == nil { // the page does not need it
			c.Log.Warn("last use of a sign-in not stored", "err", err)
		}
	}
	return a, true
}

// store changes the ledger for a request.
func (c *Console) store(r *http.Request, fn func(*ledger.Tx) error) error {
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	return c.Ledger.Update(ctx, fn)
}

// newSession returns a session for a request, and the value of its cookie.
func (c *Console) newSession(r *http.Request, person, way string) (s ledger.OperatorSession, cookie string) {
	cookie = rand.Text()
	return ledger.OperatorSession{
		ID:      c.digest(cookie),
		Person:  person,
		Until:   c.Ledger.Now().Add(signInLifetime),
		Address: clientaddr.Key(r.RemoteAddr),
		Browser: browserWords(r.UserAgent()),
		Way:     way,
	}, cookie
}

// setSession sends the cookies of a session.
func (c *Console) setSession(w http.ResponseWriter, r *http.Request, person, cookie string) {
	http.SetCookie(w, c.cookie(r, cookieName, cookie, signInLifetime))
	if person != "" {
		http.SetCookie(w, c.cookie(r, browserCookie, c.browserMark(person, rand.Text()), browserLifetime))
	}
}

// browserMark returns the value of the cookie of a browser in which a person signed in.
func (c *Console) browserMark(person, nonce string) string {
	return nonce + "." + c.digest("browser\n"+person+"\n"+nonce)
}

// knownBrowser returns the key of the browser if the person signed in with it before.
func (c *Console) knownBrowser(r *http.Request, person string) (key string, known bool) {
	cookie, err := r.Cookie(browserCookie)
	if err != nil || person == "" {
		return "", false
	}
	nonce, _, _ := strings.Cut(cookie.Value, ".")
	if !hmac.Equal([]byte(cookie.Value), []byte(c.browserMark(person, nonce))) {
		return "", false
	}
	return "browser " + nonce, true
}

func (c *Console) cookie(r *http.Request, name, value string, life time.Duration) *http.Cookie {
	age := -1
	if life > 0 {
		age = int(life / time.Second)
	}
	return &http.Cookie{
		Name:     name,
		Value:    value,
		Path:     "/operator",
		MaxAge:   age,
		HttpOnly: true,
		SameSite: http.SameSiteStrictMode,
		Secure:   r.TLS != nil || strings.HasPrefix(c.PublicURL, "https://"),
	}
}

// signOut ends the session of a request.
func (c *Console) signOut(w http.ResponseWriter, r *http.Request) error {
	a := people.From(r.Context())
	c.signIns.remove(a.Session)
	if err := c.store(r, func(tx *ledger.Tx) error {
		_, err := tx.EndOperatorSession(a.Person, a.Session)
		return err
	}); err != nil {
		return err
	}
	http.SetCookie(w, c.cookie(r, cookieName, "", -1))
	http.Redirect(w, r, "/operator", http.StatusSeeOther)
	return nil
}

// browserWords names a browser and its system for people, such as "Firefox on Linux".
func browserWords(userAgent string) string {
	find := func(pairs ...string) string {
		for n := 0; n < len(pairs); n += 2 {
			if strings.Contains(userAgent, pairs[n]) {
				return pairs[n+1]
			}
		}
		return ""
	}
	browser := find("Edg", "Edge", "OPR/", "Opera", "Firefox/", "Firefox", "FxiOS", "Firefox", "Chrome/", "Chrome",
		"CriOS", "Chrome", "Safari/", "Safari", "curl/", "curl")
	system := find("Android", "Android", "iPhone", "iPhone", "iPad", "iPad", "Windows", "Windows", "Mac OS", "macOS",
		"CrOS", "ChromeOS", "Linux", "Linux")
	switch {
	case browser == "":
		return "another browser"
	case system == "":
		return browser
	}
	return browser + " on " + system
}
