package console

import (
	"net/http"
	"slices"

	"notepay/internal/ledger"
	"notepay/internal/people"
)

type sessionRow struct {
	ledger.OperatorSession
	Here bool // it is the session of the request
}

type mePage struct {
	people.Actor
	Sessions []sessionRow
	Keys     []ledger.Passkey
	Codes    int // recovery codes left
	Password bool
	Fresh    bool
	App      setupApp
	Passkey  *passkeyForm
	Problem  string // why there are no passkeys
}

// me shows how the person signs in, and where they are signed in.
func (c *Console) me(w http.ResponseWriter, r *http.Request) error {
	return c.showMe(w, r, http.StatusOK, "")
}

func (c *Console) showMe(w http.ResponseWriter, r *http.Request, status int, problem string) error {
	me := people.From(r.Context())
	page := mePage{Actor: me, Fresh: me.Fresh(c.Ledger.Now())}
	sessions, err := c.Ledger.OperatorSessions(r.Context())
	if err != nil {
		return err
	}
	for _, s := range sessions {
		if s.Person == me.Person {
			page.Sessions = append(page.Sessions, sessionRow{s, s.ID == me.Session})
		}
	}
	if me.Person != "" {
		p, err := c.Ledger.Person(r.Context(), me.Person)
		if err != nil {
			return err
		}
		if page.Keys, err = c.Ledger.Passkeys(r.Context(), p.ID); err != nil {
			return err
		}
		if page.Codes, err = c.Ledger.RecoveryCodes(r.Context(), p.ID); err != nil {
			return err
		}
		if page.App, err = c.newApp(p.Name, r.PostFormValue("secret")); err != nil {
			return err
		}
		page.Password = p.Password != ""
		if page.Passkey = c.passkeyForm("person "+p.ID, &p); page.Passkey == nil {
			page.Problem = c.siteProblem.Error()
		} else {
			for _, k := range page.Keys {
				page.Passkey.Known = append(page.Passkey.Known, k.ID)
			}
		}
	}
	return c.write(w, r, "me", view{
		Title:   "Your sign-in",
		Nav:     "me",
		Status:  status,
		Problem: problem,
		Keys:    page.Passkey != nil,
		Data:    page,
	})
}

// endMySessions ends a session of the person, or all others if the form names none.
func (c *Console) endMySessions(w http.ResponseWriter, r *http.Request) error {
	me, id := people.From(r.Context()), r.PostFormValue("id")
	err := c.byPerson(r, "sessions", me.Name, "", func(tx *ledger.Tx) error {
		if id == "" {
			_, err := tx.EndOperatorSessions(me.Person, me.Session)
			return err
		}
		_, err := tx.EndOperatorSession(me.Person, id)
		return err
	})
	if err != nil {
		return err
	}
	return goBack(w, r, "sessions")
}

// changeMe changes how the person signs in, with an entry in the audit. It returns false if it has
// answered.
func (c *Console) changeMe(
	w http.ResponseWriter, r *http.Request, what string, change func(*ledger.Tx, *ledger.Person) error,
) (bool, error) {
	me := people.From(r.Context())
	err := c.byPerson(r, what, me.Name, "", func(tx *ledger.Tx) error {
		p, err := tx.Person(me.Person)
		if err != nil {
			return err
		}
		if err := change(tx, &p); err != nil {
			return err
		}
		return tx.ChangePerson(p)
	})
	if err == nil {
		return true, nil
	}
	return false, c.orPasskeyProblem(err, func(problem string) error {
		return c.showMe(w, r, http.StatusConflict, problem)
	})
}

// mine returns the person of a request. If there is none, because OPERATOR_TOKEN is used, it answers
// and returns false.
func (c *Console) mine(w http.ResponseWriter, r *http.Request) (p ledger.Person, ok bool, err error) {
	id := people.From(r.Context()).Person
	if id == "" {
		return p, false, c.showMe(w, r, http.StatusConflict,
			"OPERATOR_TOKEN is set in notepay's settings. Invite yourself as a person. Nothing was changed.")
	}
	p, err = c.Ledger.Person(r.Context(), id)
	return p, err == nil, err
}

// setPassword sets the person's password, with the authenticator app that they have or a new one. It
// ends the other sessions.
func (c *Console) setPassword(w http.ResponseWriter, r *http.Request) error {
	p, ok, err := c.mine(w, r)
	if !ok {
		return err
	}
	set, codes, problem, err := c.newPassword(r, p)
	if err != nil {
		return err
	}
	if problem != "" {
		return c.showMe(w, r, http.StatusBadRequest, problem)
	}
	me := people.From(r.Context())
	ok, err = c.changeMe(w, r, "password", func(tx *ledger.Tx, p *ledger.Person) error {
		if _, err := tx.EndOperatorSessions(p.ID, me.Session); err != nil {
			return err
		}
		return set(tx, p)
	})
	if !ok {
		return err
	}
	return c.showCodes(w, r, me, codes)
}

// newCodes replaces the recovery codes.
func (c *Console) newCodes(w http.ResponseWriter, r *http.Request) error {
	p, ok, err := c.mine(w, r)
	if !ok {
		return err
	}
	if p.Password == "" {
		return c.showMe(w, r, http.StatusConflict,
			"Recovery codes replace the code of an authenticator app. Set a password first. Nothing was changed.")
	}
	codes := people.NewRecoveryCodes()
	ok, err = c.changeMe(w, r, "codes", func(tx *ledger.Tx, p *ledger.Person) error {
		var digests []string
		for _, code := range codes {
			digests = append(digests, people.RecoveryDigest(code))
		}
		return tx.SetRecoveryCodes(p.ID, digests)
	})
	if !ok {
		return err
	}
	return c.showCodes(w, r, people.From(r.Context()), codes)
}

// addPasskey adds a passkey to those of the person.
func (c *Console) addPasskey(w http.ResponseWriter, r *http.Request) error {
	p, ok, err := c.mine(w, r)
	if !ok {
		return err
	}
	add, err := c.newPasskey(r, "person "+p.ID, p.ID)
	if err == nil {
		ok, err = c.changeMe(w, r, "passkey", func(tx *ledger.Tx, _ *ledger.Person) error { return add(tx) })
		if !ok {
			return err
		}
		return goBack(w, r, "passkey")
	}
	return c.orPasskeyProblem(err, func(problem string) error { return c.showMe(w, r, http.StatusBadRequest, problem) })
}

// removePasskey removes a passkey, unless it is the last way to sign in.
func (c *Console) removePasskey(w http.ResponseWriter, r *http.Request) error {
	p, ok, err := c.mine(w, r)
	if !ok {
		return err
	}
	keys, err := c.Ledger.Passkeys(r.Context(), p.ID)
	if err != nil {
		return err
	}
	if len(keys) < 2 && p.Password == "" {
		return c.showMe(w, r, http.StatusConflict,
			"This is your only way to sign in. Add another passkey or a password first. Nothing was changed.")
	}
	id := r.PostFormValue("id")
	if !slices.ContainsFunc(keys, func(k ledger.Passkey) bool { return k.ID == id }) {
		return c.showMe(w, r, http.StatusNotFound, "You have no such passkey. Nothing was changed.")
	}
	ok, err = c.changeMe(w, r, "unpasskey", func(tx *ledger.Tx, p *ledger.Person) error {
		_, err := tx.RemovePasskeys(p.ID, id)
		return err
	})
	if !ok {
		return err
	}
	return goBack(w, r, "unpasskey")
}
