package console

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"

	"notepay/internal/ledger"
)

// signedIn reports whether a request carries the cookie of a sign-in, at this instance or at another
// one.
func (c *Console) signedIn(r *http.Request) bool {
	here := c.signIns.signedIn(r, time.Now())
	cookie, err := r.Cookie(cookieName)
	if !c.Ledger.Shared() || err != nil {
		return here
	}
	until, err := c.Ledger.SignIn(r.Context(), c.signInID(cookie.Value))
	known, err := ledger.Found(err)
	if err != nil {
		return here
	}
	return known && c.Ledger.Now().Before(until)
}

// signInID returns the digest under which a sign-in is stored.
func (c *Console) signInID(cookie string) string {
	mac := hmac.New(sha256.New, []byte(c.Token))
	mac.Write([]byte(cookie))
	return hex.EncodeToString(mac.Sum(nil))
}

// shareSignIn stores a sign-in for the other instances.
func (c *Console) shareSignIn(r *http.Request, cookie string) error {
	if !c.Ledger.Shared() {
		return nil
	}
	return c.updateSignIns(r, func(tx *ledger.Tx) error {
		return tx.AddSignIn(c.signInID(cookie), tx.Now.Add(signInLifetime))
	})
}

// unshareSignIn ends a sign-in at all instances.
func (c *Console) unshareSignIn(r *http.Request) error {
	cookie, err := r.Cookie(cookieName)
	if !c.Ledger.Shared() || err != nil {
		return nil
	}
	return c.updateSignIns(r, func(tx *ledger.Tx) error { return tx.RemoveSignIn(c.signInID(cookie.Value)) })
}

func (c *Console) updateSignIns(r *http.Request, fn func(*ledger.Tx) error) error {
	ctx, cancel := context.WithTimeout(r.Context(), 4*time.Second)
	defer cancel()
	return c.Ledger.Update(ctx, fn)
}
