package console

import (
	"errors"
	"html/template"
	"net/http"
	"strings"

	"notepay/internal/ledger"
	"notepay/internal/people"
	"notepay/internal/web"
)

// setupApp is what a page needs to set up an authenticator app.
type setupApp struct {
	Secret string
	QR     template.HTML
}

// newApp returns the setup of an authenticator app. secret is that of a form that failed, or "".
func (c *Console) newApp(name, secret string) (setupApp, error) {
	if !people.ValidTOTP(secret) {
		secret = people.NewTOTP()
	}
	issuer := c.site.ID
	if issuer == "" {
		issuer = "notepay"
	}
	code, err := web.QRCode(people.TOTPAddress(secret, name, issuer))
	return setupApp{secret, code}, err
}

type invitePage struct {
	Name    string
	Link    string // the address of the page
	Until   string
	Role    people.Role
	App     setupApp
	Passkey *passkeyForm
}

// invited returns the person of an invitation. Without one it answers, and returns false.
func (c *Console) invited(w http.ResponseWriter, r *http.Request) (p ledger.Person, ok bool, err error) {
	p, err = c.Ledger.PersonInvited(r.Context(), people.Digest(r.PathValue("token")))
	if errors.Is(err, ledger.ErrNotFound) {
		return p, false, c.write(w, r, "sign-in", view{
			Title:  "This invitation is no longer valid",
			Status: http.StatusNotFound,
			Problem: "Its link works once, and for 48 hours. If you have accepted it, sign in. " +
				"Otherwise ask an owner for another link.",
		})
	}
	return p, err == nil, err
}

// invitation shows the form in which a person sets up how they sign in. It uses up nothing, because
// programs also open links in messages.
func (c *Console) invitation(w http.ResponseWriter, r *http.Request) error {
	if c.Token == "" {
		return c.closed(w, r)
	}
	p, ok, err := c.invited(w, r)
	if !ok {
		return err
	}
	return c.showInvite(w, r, p, http.StatusOK, "")
}

func (c *Console) showInvite(
	w http.ResponseWriter, r *http.Request, p ledger.Person, status int, problem string,
) error {
	app, err := c.newApp(p.Name, r.PostFormValue("secret"))
	if err != nil {
		return err
	}
	page := invitePage{
		Name:    p.Name,
		Link:    "/operator/invite/" + r.PathValue("token"),
		Until:   p.InviteUntil.In(c.Zone).Format(c.langOf(r).layout(layoutDay)),
		Role:    people.Role(p.Role),
		App:     app,
		Passkey: c.passkeyForm(p.Invite, &p),
	}
	return c.write(w, r, "invite", view{
		Title:   c.langOf(r).T("Welcome, {name}", "name", p.Name),
		Status:  status,
		Problem: problem,
		Keys:    page.Passkey != nil,
		Data:    page,
	})
}

// acceptInvitation sets up how a person signs in, and signs them in. It replaces whatever they used
// before, because they may have lost it.
func (c *Console) acceptInvitation(w http.ResponseWriter, r *http.Request) error {
	p, ok, err := c.invited(w, r)
	if !ok {
		return err
	}
	var codes []string
	var set func(*ledger.Tx, *ledger.Person) error
	way := "password"
	if r.PostFormValue("client") != "" {
		way = "passkey"
		add, err := c.newPasskey(r, p.Invite, p.ID)
		if wrong, ok := errors.AsType[passkeyError](err); ok {
			c.Log.Warn("passkey rejected", "person", p.Name, "err", wrong.error)
			return c.showInvite(w, r, p, http.StatusBadRequest, "The passkey was not accepted. Please try again.")
		}
		if err != nil {
			return err
		}
		set = func(tx *ledger.Tx, p *ledger.Person) error {
			p.Password, p.TOTP = "", ""
			return add(tx)
		}
	} else {
		var problem string
		if set, codes, problem, err = c.newPassword(r, p); err != nil {
			return err
		}
		if problem != "" {
			return c.showInvite(w, r, p, http.StatusBadRequest, problem)
		}
	}
	s, cookie := c.newSession(r, p.ID, way)
	err = c.store(r, func(tx *ledger.Tx) error {
		now, err := tx.Person(p.ID)
		if err == nil && (now.Invite != p.Invite || !now.DisabledAt.IsZero() || !tx.Now.Before(now.InviteUntil)) {
			err = ledger.ErrNotFound // it was accepted or replaced meanwhile
		}
		if err != nil {
			return err
		}
		_, ended := tx.EndOperatorSessions(p.ID, "")
		_, removed := tx.RemovePasskeys(p.ID, "")
		if err := errors.Join(ended, removed, tx.SetRecoveryCodes(p.ID, nil)); err != nil {
			return err
		}
		now.Invite = ""
		if err := set(tx, &now); err != nil {
			return err
		}
		joined := ledger.Audit{Who: p.Name, What: "join", Subject: p.Name, After: way}
		return errors.Join(tx.ChangePerson(now), tx.AddOperatorSession(s), tx.AddAudit(joined))
	})
	if errors.Is(err, ledger.ErrNotFound) {
		_, _, err := c.invited(w, r)
		return err
	}
	if err != nil {
		return c.orPasskeyProblem(err, func(problem string) error {
			return c.showInvite(w, r, p, http.StatusConflict, problem)
		})
	}
	c.Log.Info("person signed in", "person", p.Name)
	c.setSession(w, r, p.ID, cookie)
	if len(codes) > 0 {
		return c.showCodes(w, r, people.Actor{Name: p.Name, Role: people.Role(p.Role), Person: p.ID}, codes)
	}
	http.Redirect(w, r, "/operator", http.StatusSeeOther)
	return nil
}

// orPasskeyProblem shows what is wrong with a passkey, and returns any other error.
func (c *Console) orPasskeyProblem(err error, show func(problem string) error) error {
	if wrong, ok := errors.AsType[passkeyError](err); ok {
		c.Log.Warn("passkey rejected", "err", wrong.error)
		return show("The passkey was not accepted. Please try again. Nothing was changed.")
	}
	if errors.Is(err, ledger.ErrPasskeyTaken) {
		return show("This passkey is registered already. Nothing was changed.")
	}
	return err
}

// newPassword checks a form with a new password and the code of an authenticator app. The app is a new
// one if the form has its secret, and otherwise the person's. The returned function changes the person,
// whose new recovery codes are codes. problem says what is wrong with the form.
func (c *Console) newPassword(r *http.Request, p ledger.Person) (
	set func(*ledger.Tx, *ledger.Person) error, codes []string, problem string, err error,
) {
	password, secret, used := r.PostFormValue("password"), r.PostFormValue("secret"), int64(0)
	if secret == "" {
		secret, used = p.TOTP, p.TOTPStep
	}
	if err := people.CheckPassword(password, p.Name); err != nil {
		return nil, nil, "The password is not possible: " + err.Error() + ". Nothing was changed.", nil
	}
	if password != r.PostFormValue("again") {
		return nil, nil, "The two passwords differ. Nothing was changed.", nil
	}
	step, ok := people.CheckTOTP(secret, r.PostFormValue("code"), used, c.Ledger.Now())
	if !ok {
		return nil, nil, "The code of the authenticator app is wrong, or was used before. " +
			"Enter the one that the app shows now. Nothing was changed.", nil
	}
	hash, err := c.hasher.Hash(r.Context(), password)
	if errors.Is(err, people.ErrBusy) {
		return nil, nil, "notepay is busy checking passwords. Please try again in a moment. Nothing was changed.", nil
	}
	codes = people.NewRecoveryCodes()
	var digests []string
	for _, code := range codes {
		digests = append(digests, people.RecoveryDigest(code))
	}
	return func(tx *ledger.Tx, p *ledger.Person) error {
		p.Password, p.TOTP, p.TOTPStep = hash, secret, step
		return tx.SetRecoveryCodes(p.ID, digests)
	}, codes, "", err
}

// showCodes answers with recovery codes, which are shown once.
func (c *Console) showCodes(w http.ResponseWriter, r *http.Request, me people.Actor, codes []string) error {
	r = r.WithContext(people.With(r.Context(), me))
	return c.write(w, r, "codes", view{Title: "Your recovery codes", Nav: "me", Data: strings.Join(codes, "\n")})
}
