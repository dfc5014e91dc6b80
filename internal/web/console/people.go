package console

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/people"
)

const (
	// inviteLifetime is how long an invitation can be accepted.
	inviteLifetime = 48 * time.Hour
	// maxPeople and maxTokens bound the lists, which one page shows.
	maxPeople, maxTokens = 200, 200
)

type personRow struct {
	ledger.Person
	Passkeys int
	Sessions int
	SeenAt   time.Time // the last use of a session; zero if there is none
	Invited  bool      // an invitation is open
	Me       bool
}

// HasPassword reports whether the person can sign in with a password.
func (p personRow) HasPassword() bool { return p.Password != "" }

// Disabled reports whether the person may not sign in.
func (p personRow) Disabled() bool { return !p.DisabledAt.IsZero() }

type peoplePage struct {
	Rows   []personRow
	Tokens []ledger.APIToken
	Roles  []people.Role
	Token  personRow // the sign-ins with OPERATOR_TOKEN
	Secret secret    // is shown once
}

// secret is a link or a token that a page shows once.
type secret struct {
	Name  string // of the person or token
	Text  string // "" for none
	Link  bool
	Until time.Time
	Send  *sending // of a link; nil without PUBLIC_URL
}

// people lists the people and the tokens.
func (c *Console) people(w http.ResponseWriter, r *http.Request) error {
	return c.showPeople(w, r, http.StatusOK, "", secret{})
}

// showPeople answers with the page of people, and with the problem or the secret of an action.
func (c *Console) showPeople(w http.ResponseWriter, r *http.Request, status int, problem string, s secret) error {
	page := peoplePage{Roles: people.Roles(), Secret: s}
	list, err := c.Ledger.People(r.Context())
	if err != nil {
		return err
	}
	if page.Tokens, err = c.Ledger.APITokens(r.Context()); err != nil {
		return err
	}
	keys, err := c.Ledger.PasskeysOf(r.Context())
	if err != nil {
		return err
	}
	sessions, err := c.Ledger.OperatorSessions(r.Context())
	if err != nil {
		return err
	}
	me := people.From(r.Context())
	now := c.Ledger.Now()
	for _, p := range list {
		row := personRow{Person: p, Passkeys: keys[p.ID], Me: p.ID == me.Person}
		row.Invited = p.Invite != "" && now.Before(p.InviteUntil)
		page.Rows = append(page.Rows, row.with(sessions))
	}
	slices.SortStableFunc(page.Tokens, func(a, b ledger.APIToken) int { // valid ones first
		return compareBool(!a.RevokedAt.IsZero(), !b.RevokedAt.IsZero())
	})
	page.Token = page.Token.with(sessions)
	return c.write(w, r, "people", view{Title: "People", Nav: "people", Status: status, Problem: problem, Data: page})
}

// with returns the row with the figures of its sessions.
func (p personRow) with(sessions []ledger.OperatorSession) personRow {
	for _, s := range sessions { // the last used first
		if s.Person != p.ID {
			continue
		}
		if p.Sessions == 0 {
			p.SeenAt = s.SeenAt
		}
		p.Sessions++
	}
	return p
}

// compareBool orders false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// roleOf returns the role of a form.
func roleOf(r *http.Request) (people.Role, bool) { return people.ParseRole(r.PostFormValue("role")) }

// refuse answers a form that changes nothing.
func (c *Console) refuse(w http.ResponseWriter, r *http.Request, status int, why string) error {
	l := c.langOf(r)
	return c.showPeople(w, r, status, l.T(why)+" "+l.T("Nothing was changed."), secret{})
}

// noRole answers a form without a role.
const noRole = "Please choose a role."

// badRole answers a form without a role.
func (c *Console) badRole(w http.ResponseWriter, r *http.Request) error {
	return c.refuse(w, r, http.StatusBadRequest, noRole)
}

// nameAndRole reads the form of a new person or token. If it cannot be used, why says so.
func nameAndRole(r *http.Request) (name string, role people.Role, why string) {
	role, ok := roleOf(r)
	if !ok {
		return "", role, noRole
	}
	name, err := people.CleanName(r.PostFormValue("name"))
	if err != nil {
		return "", role, "The name is not possible: " + err.Error() + "."
	}
	return name, role, ""
}

// invite adds a person, and shows the link with which they set up how they sign in.
func (c *Console) invite(w http.ResponseWriter, r *http.Request) error {
	name, role, why := nameAndRole(r)
	if why != "" {
		return c.refuse(w, r, http.StatusBadRequest, why)
	}
	list, err := c.Ledger.People(r.Context())
	if err != nil {
		return err
	}
	if len(list) >= maxPeople {
		return c.refuse(w, r, http.StatusConflict, "notepay keeps at most 200 people.")
	}
	link := people.NewLink()
	p := ledger.Person{
		ID:          people.NewID("p_"),
		Name:        name,
		NameKey:     people.NameKey(name),
		Role:        string(role),
		Invite:      people.Digest(link),
		InviteUntil: c.Ledger.Now().Add(inviteLifetime),
	}
	err = c.byPerson(r, "invite", name, string(role), func(tx *ledger.Tx) error { return tx.AddPerson(p) })
	if errors.Is(err, ledger.ErrNameTaken) {
		return c.refuse(w, r, http.StatusConflict, "There is a person with this name.")
	}
	if err != nil {
		return err
	}
	return c.showInvitation(w, r, p, link)
}

func (c *Console) showInvitation(w http.ResponseWriter, r *http.Request, p ledger.Person, link string) error {
	shown := secret{Name: p.Name, Text: c.PublicURL + "/operator/invite/" + link, Link: true, Until: p.InviteUntil}
	if c.PublicURL != "" {
		l := c.langOf(r)
		until := p.InviteUntil.In(c.Zone).Format(l.layout(layoutMinute))
		shown.Send = send(shown.Text, "notepay", l.T("With this link you set up how you sign in. "+
			"It works once, and until {time}:", "time", until)+"\n"+shown.Text)
	}
	return c.showPeople(w, r, http.StatusOK, "", shown)
}

// byPerson changes people or tokens in a transaction, with an entry in the audit. The form counts once.
func (c *Console) byPerson(r *http.Request, what, subject, after string, fn func(*ledger.Tx) error) error {
	return c.store(r, func(tx *ledger.Tx) error {
		if err := consumeFormToken(r).Before(tx); err != nil {
			return err
		}
		if err := fn(tx); err != nil {
			return err
		}
		return tx.AddAudit(ledger.Audit{
			Who:     people.From(r.Context()).Name,
			What:    what,
			Subject: subject,
			After:   after,
		})
	})
}

// person returns the person of a request. If there is none it answers, and returns false.
func (c *Console) person(w http.ResponseWriter, r *http.Request) (p ledger.Person, ok bool, err error) {
	p, err = c.Ledger.Person(r.Context(), r.PathValue("id"))
	if errors.Is(err, ledger.ErrNotFound) {
		return p, false, c.problem(w, r, http.StatusNotFound, "This person does not exist. Nothing was changed.")
	}
	return p, err == nil, err
}

// changePerson changes a person, and redirects back.
func (c *Console) changePerson(
	w http.ResponseWriter, r *http.Request, what, after string, change func(*ledger.Tx, *ledger.Person) error,
) error {
	p, ok, err := c.person(w, r)
	if !ok {
		return err
	}
	if p.ID == people.From(r.Context()).Person && what != "sessions" {
		return c.refuse(w, r, http.StatusConflict,
			"You cannot change your own rights. Ask another owner, or sign in with OPERATOR_TOKEN.")
	}
	err = c.byPerson(r, what, p.Name, after, func(tx *ledger.Tx) error {
		now, err := tx.Person(p.ID)
		if err != nil {
			return err
		}
		if err := change(tx, &now); err != nil {
			return err
		}
		return tx.ChangePerson(now)
	})
	if err != nil {
		return err
	}
	return goBack(w, r, what)
}

// setRole changes what a person may do. It holds for sessions that exist.
func (c *Console) setRole(w http.ResponseWriter, r *http.Request) error {
	role, ok := roleOf(r)
	if !ok {
		return c.badRole(w, r)
	}
	return c.changePerson(w, r, "role", string(role), func(_ *ledger.Tx, p *ledger.Person) error {
		p.Role = string(role)
		return nil
	})
}

// disable keeps a person from signing in, and ends their sessions and their invitation.
func (c *Console) disable(w http.ResponseWriter, r *http.Request) error {
	return c.changePerson(w, r, "disable", "", func(tx *ledger.Tx, p *ledger.Person) error {
		p.DisabledAt, p.Invite, p.InviteUntil = tx.Now, "", time.Time{}
		_, err := tx.EndOperatorSessions(p.ID, "")
		return err
	})
}

// enable lets a person sign in again, as before.
func (c *Console) enable(w http.ResponseWriter, r *http.Request) error {
	return c.changePerson(w, r, "enable", "", func(_ *ledger.Tx, p *ledger.Person) error {
		p.DisabledAt = time.Time{}
		return nil
	})
}

// endSessions ends all sessions of a person, or of OPERATOR_TOKEN. The session that asks stays.
func (c *Console) endSessions(w http.ResponseWriter, r *http.Request) error {
	me := people.From(r.Context())
	if r.PathValue("id") == people.OperatorName {
		err := c.byPerson(r, "sessions", people.OperatorName, "", func(tx *ledger.Tx) error {
			_, err := tx.EndOperatorSessions("", me.Session)
			return err
		})
		if err != nil {
			return err
		}
		return goBack(w, r, "sessions")
	}
	return c.changePerson(w, r, "sessions", "", func(tx *ledger.Tx, p *ledger.Person) error {
		_, err := tx.EndOperatorSessions(p.ID, me.Session)
		return err
	})
}

// inviteAgain makes another link for a person. Until it is accepted, the person signs in as before.
func (c *Console) inviteAgain(w http.ResponseWriter, r *http.Request) error {
	p, ok, err := c.person(w, r)
	if !ok {
		return err
	}
	if !p.DisabledAt.IsZero() {
		return c.refuse(w, r, http.StatusConflict, "Enable this person first.")
	}
	link := people.NewLink()
	p.InviteUntil = c.Ledger.Now().Add(inviteLifetime)
	err = c.byPerson(r, "invite", p.Name, "", func(tx *ledger.Tx) error {
		now, err := tx.Person(p.ID)
		if err != nil {
			return err
		}
		now.Invite, now.InviteUntil = people.Digest(link), p.InviteUntil
		return tx.ChangePerson(now)
	})
	if err != nil {
		return err
	}
	return c.showInvitation(w, r, p, link)
}

// createToken adds a token, and shows it.
func (c *Console) createToken(w http.ResponseWriter, r *http.Request) error {
	name, role, why := nameAndRole(r)
	if why != "" {
		return c.refuse(w, r, http.StatusBadRequest, why)
	}
	list, err := c.Ledger.APITokens(r.Context())
	if err != nil {
		return err
	}
	if len(list) >= maxTokens {
		return c.refuse(w, r, http.StatusConflict, "notepay keeps at most 200 tokens.")
	}
	text := people.NewToken()
	t := ledger.APIToken{
		ID:        people.NewID("t_"),
		Name:      name,
		NameKey:   people.NameKey(name),
		Digest:    people.Digest(text),
		Role:      string(role),
		CreatedBy: people.From(r.Context()).Name,
	}
	err = c.byPerson(r, "token", people.TokenPrefix+name, string(role), func(tx *ledger.Tx) error {
		return tx.AddAPIToken(t)
	})
	if errors.Is(err, ledger.ErrNameTaken) {
		return c.refuse(w, r, http.StatusConflict,
			"There is, or was, a token with this name. The audit log needs another name.")
	}
	if err != nil {
		return err
	}
	return c.showPeople(w, r, http.StatusOK, "", secret{Name: name, Text: text})
}

// revokeToken ends a token at once.
func (c *Console) revokeToken(w http.ResponseWriter, r *http.Request) error {
	err := c.store(r, func(tx *ledger.Tx) error {
		if err := consumeFormToken(r).Before(tx); err != nil {
			return err
		}
		t, err := tx.RevokeAPIToken(r.PathValue("id"))
		if err != nil {
			return err
		}
		return tx.AddAudit(ledger.Audit{
			Who:     people.From(r.Context()).Name,
			What:    "revoke",
			Subject: people.TokenPrefix + t.Name,
		})
	})
	if errors.Is(err, ledger.ErrNotFound) {
		return c.problem(w, r, http.StatusNotFound, "This token does not exist, or was revoked. Nothing was changed.")
	}
	if err != nil {
		return err
	}
	return goBack(w, r, "revoke")
}
