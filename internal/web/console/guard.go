package console

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"

	"notepay/internal/bridge"
	"notepay/internal/ledger"
	"notepay/internal/people"
	"notepay/internal/web"
)

// maxFormTokens bounds a form's token, in bytes. Our pages send shorter ones.
const maxFormTokens = 64

// errPressedTwice is returned for a button that was pressed on the same copy of its page before, if
// its action succeeded then.
var errPressedTwice = errors.New("this button was pressed before")

// formToken returns the key of one button on one copy of a page. For a button that changes many, about
// is one of them.
func formToken(r *http.Request, about ...string) string {
	parts := append([]string{r.PostFormValue("once"), r.URL.Path}, about...)
	digest := sha256.Sum256([]byte(strings.Join(parts, " ")))
	return "form:" + hex.EncodeToString(digest[:])
}

// consumeFormToken consumes the token of a form in the transaction of the action. A second press then
// changes nothing, but a press after a failed action counts.
func consumeFormToken(r *http.Request) bridge.Also { return consumeFormTokenOf(r) }

// consumeFormTokenOf consumes the token of a button that changes many, for one of them.
func consumeFormTokenOf(r *http.Request, about ...string) bridge.Also {
	return bridge.Also{Before: func(tx *ledger.Tx) error {
		_, known, err := tx.BeginRequest(formToken(r, about...), "")
		if err == nil && known {
			err = errPressedTwice
		}
		return err
	}}
}

func newFormToken() string { return rand.Text() }

// closed answers that no operator token is set.
func (c *Console) closed(w http.ResponseWriter, r *http.Request) error {
	return c.write(w, r, "sign-in", view{Title: "The console is closed", Status: http.StatusForbidden,
		Problem: "Set OPERATOR_TOKEN to a secret of at least 16 characters (in .env or the environment), " +
			"restart notepay, and sign in here with it."})
}

// admit returns the request with its actor if the actor may use a route. Otherwise it answers, and
// returns nil.
func (c *Console) admit(w http.ResponseWriter, r *http.Request, rule people.Rule, lost string) (*http.Request, error) {
	a, ok := c.actor(r)
	switch {
	case !ok:
		return nil, c.askToSignIn(w, r, http.StatusUnauthorized, lost, backTo(r))
	case !a.Role.May(rule.Least):
		r = r.WithContext(people.With(r.Context(), a))
		return nil, c.problem(w, r, http.StatusForbidden,
			"Your role does not allow this. Ask an owner. Nothing was changed.")
	case rule.Fresh && !a.Fresh(c.Ledger.Now()):
		return nil, c.askToSignIn(w, r, http.StatusUnauthorized,
			"You signed in a while ago. Please sign in again before you change who can sign in. Nothing was changed.",
			backTo(r))
	}
	return r.WithContext(people.With(r.Context(), a)), nil
}

// requireSignIn shows a page to people whose role allows it, and the sign-in form otherwise.
func (c *Console) requireSignIn(rule people.Rule, h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if c.Token == "" {
			return c.closed(w, r)
		}
		r, err := c.admit(w, r, rule, "")
		if r == nil {
			return err
		}
		return h(w, r)
	}
}

// publicForm accepts a form from a page of ours, without a sign-in.
func (c *Console) publicForm(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if c.Token == "" {
			return c.closed(w, r)
		}
		web.LimitForm(w, r)
		if err := c.origins.Check(r); err != nil {
			return c.crossSite(w, r)
		}
		return h(w, r)
	}
}

// requireForm accepts a form of a person whose role allows it, from a page of ours.
func (c *Console) requireForm(rule people.Rule, h handler) handler {
	return c.publicForm(func(w http.ResponseWriter, r *http.Request) error {
		r, err := c.admit(w, r, rule, "You are no longer signed in. Nothing was changed.")
		if r == nil {
			return err
		}
		// An unreadable field must not count as empty, because an empty amount refunds everything.
		err = r.ParseForm()
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
	})
}

// crossSite rejects a form of another site.
func (c *Console) crossSite(w http.ResponseWriter, r *http.Request) error {
	return c.write(w, r, "sign-in", view{
		Title:   "Request from another site",
		Status:  http.StatusForbidden,
		Problem: "Another site tried to use a button of this console. Nothing was changed.",
	})
}
