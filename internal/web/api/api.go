package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"notepay/internal/bridge"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/people"
	"notepay/internal/web"
)

// Handler serves the requests of programs.
type Handler struct {
	Ledger *ledger.Ledger
	Bridge *bridge.Bridge
	Fleet  *fleet.Fleet
	Live   *web.Hub // ends the streams
	Log    *slog.Logger
	Token  string // the operator token; "" closes the API

	streams atomic.Int64 // open streams
}

const (
	// usedInterval is how exact the last use of a token is. Each update is a write.
	usedInterval = time.Minute
	// usedTimeout bounds that write.
	usedTimeout = 2 * time.Second
)

// Admit returns the request with its actor if it carries OPERATOR_TOKEN or a named token whose role
// allows the route. Otherwise it returns an *Error.
func (h *Handler) Admit(r *http.Request, rule people.Rule) (*http.Request, error) {
	if h.Token == "" {
		return nil, NewError(http.StatusForbidden, "no_operator_token",
			"set OPERATOR_TOKEN and send it as Authorization: Bearer")
	}
	a := people.Actor{Name: people.OperatorName, Role: people.Owner}
	if !Bearer(r, h.Token) {
		var err error
		if a, err = h.named(r); err != nil {
			return nil, err
		}
	}
	if !a.Role.May(rule.Least) {
		return nil, NewError(http.StatusForbidden, "role",
			"this token has the role "+string(a.Role)+"; this route needs "+string(rule.Least))
	}
	return r.WithContext(people.With(r.Context(), a)), nil
}

// named returns the program that sends a named token, or an *Error.
func (h *Handler) named(r *http.Request) (people.Actor, error) {
	given := given(r)
	unknown := NewError(http.StatusUnauthorized, "unauthorized",
		"send the operator token, or a token of the console, as Authorization: Bearer")
	if !people.LooksLikeToken(given) {
		return people.Actor{}, unknown
	}
	t, err := h.Ledger.APIToken(r.Context(), people.Digest(given))
	if errors.Is(err, ledger.ErrNotFound) {
		return people.Actor{}, unknown
	}
	if err != nil {
		return people.Actor{}, err
	}
	if h.Ledger.Now().Sub(t.UsedAt) > usedInterval {
		ctx, cancel := context.WithTimeout(r.Context(), usedTimeout)
		defer cancel()
		err := h.Ledger.Update(ctx, func(tx *ledger.Tx) error { return tx.UseAPIToken(t.ID) })
		if err != nil && r.Context().Err() == nil { // the request does not need it
			h.Log.Warn("last use of a token not stored", "err", err)
		}
	}
	return people.Actor{Name: people.TokenPrefix + t.Name, Role: people.Role(t.Role)}, nil
}
