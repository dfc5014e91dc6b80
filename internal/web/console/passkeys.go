package console

import (
	"errors"
	"net/http"

	"notepay/internal/clientaddr"
	"notepay/internal/ledger"
	"notepay/internal/passkey"
	"notepay/internal/people"
)

// passkeyForm is what the page's script needs to make or use a passkey.
type passkeyForm struct {
	Challenge string
	Site      string
	User      string   // the person's id, in base 64; "" for a sign-in
	Name      string   // of the person
	Known     []string // the passkeys that the person has, separated by spaces
}

// passkeyForm returns what a page needs for a purpose, nil if browsers make no passkeys for this site.
func (c *Console) passkeyForm(purpose string, p *ledger.Person) *passkeyForm {
	if c.siteProblem != nil {
		return nil
	}
	form := &passkeyForm{Challenge: c.site.Challenge(purpose, c.Ledger.Now()), Site: c.site.ID}
	if p != nil {
		form.User, form.Name = passkey.Encode([]byte(p.ID)), p.Name
	}
	return form
}

// passkeyError is returned for a passkey that cannot be used. Its text is for the log.
type passkeyError struct{ error }

// fields decodes fields of a form that the page's script filled.
func fields(r *http.Request, names ...string) (map[string][]byte, error) {
	values := map[string][]byte{}
	for _, name := range names {
		raw, err := passkey.Decode(r.PostFormValue(name))
		if err != nil {
			return nil, passkeyError{err}
		}
		values[name] = raw
	}
	return values, nil
}

// newPasskey checks the new passkey of a form. The returned function stores it for a person, if its
// challenge was not used before.
func (c *Console) newPasskey(r *http.Request, purpose, person string) (func(*ledger.Tx) error, error) {
	if c.siteProblem != nil {
		return nil, passkeyError{c.siteProblem}
	}
	f, err := fields(r, "client", "data", "key")
	if err != nil {
		return nil, err
	}
	given := passkey.Registration{ClientData: f["client"], Data: f["data"], PublicKey: f["key"]}
	key, challenge, err := c.site.Register(given, purpose, c.Ledger.Now())
	if err != nil {
		return nil, passkeyError{err}
	}
	stored := ledger.Passkey{
		ID:        passkey.Encode(key.ID),
		Person:    person,
		Name:      browserWords(r.UserAgent()),
		PublicKey: passkey.Encode(key.PublicKey),
		Counter:   int64(key.Counter),
		Backup:    key.Backup,
	}
	return func(tx *ledger.Tx) error {
		if err := useChallenge(tx, challenge); err != nil {
			return err
		}
		return tx.AddPasskey(stored)
	}, nil
}

// useChallenge makes a challenge count once.
func useChallenge(tx *ledger.Tx, challenge string) error {
	_, used, err := tx.BeginRequest("passkey:"+people.Digest(challenge), "")
	if err == nil && used {
		err = passkeyError{errors.New("this challenge was answered before")}
	}
	return err
}

// signInByPasskey checks the answer of a passkey to the challenge of a sign-in form.
func (c *Console) signInByPasskey(w http.ResponseWriter, r *http.Request) error {
	p, cookie, err := c.checkPasskey(r)
	wrong, isWrong := errors.AsType[passkeyError](err)
	switch {
	case isWrong:
		return c.wrongSecret(w, r, "This passkey was not accepted. Please try again.",
			"Too many passkeys that were not accepted. Please try again in a moment.",
			"passkey rejected", "person", p.Name, "err", wrong.error)
	case err != nil:
		return err
	}
	c.Log.Info("person signed in", "addr", clientaddr.Key(r.RemoteAddr), "person", p.Name)
	c.setSession(w, r, p.ID, cookie)
	http.Redirect(w, r, localPath(r.PostFormValue("next")), http.StatusSeeOther)
	return nil
}

// checkPasskey returns the person whose passkey answered, and the cookie of the new session. It returns
// passkeyError for an answer that does not count.
func (c *Console) checkPasskey(r *http.Request) (p ledger.Person, cookie string, err error) {
	if c.siteProblem != nil {
		return p, "", passkeyError{c.siteProblem}
	}
	f, err := fields(r, "id", "client", "data", "signature", "user")
	if err != nil {
		return p, "", err
	}
	stored, err := c.Ledger.Passkey(r.Context(), passkey.Encode(f["id"]))
	if errors.Is(err, ledger.ErrNotFound) {
		err = passkeyError{errors.New("the passkey is not registered")}
	}
	if err != nil {
		return p, "", err
	}
	if p, err = c.Ledger.Person(r.Context(), stored.Person); err != nil {
		return p, "", err
	}
	if !p.DisabledAt.IsZero() {
		return p, "", passkeyError{errors.New("the person is disabled")}
	}
	public, err := passkey.Decode(stored.PublicKey)
	if err != nil {
		return p, "", err
	}
	counter, challenge, err := c.site.Verify(
		passkey.Key{ID: f["id"], PublicKey: public, Counter: uint32(stored.Counter), Backup: stored.Backup}, p.ID,
		passkey.Assertion{
			ID:         f["id"],
			ClientData: f["client"],
			Data:       f["data"],
			Signature:  f["signature"],
			UserHandle: f["user"],
		}, "sign-in", c.Ledger.Now())
	if err != nil {
		return p, "", passkeyError{err}
	}
	s, cookie := c.newSession(r, p.ID, "passkey")
	err = c.store(r, func(tx *ledger.Tx) error {
		if err := useChallenge(tx, challenge); err != nil {
			return err
		}
		now, err := tx.Person(p.ID)
		if err != nil {
			return err
		}
		if !now.DisabledAt.IsZero() {
			return passkeyError{errWrong} // disabled since it was read
		}
		used, err := tx.UsePasskey(stored.ID, stored.Counter, int64(counter))
		if err == nil && !used {
			err = passkeyError{passkey.ErrCopied}
		}
		if err != nil {
			return err
		}
		return tx.AddOperatorSession(s)
	})
	return p, cookie, err
}
