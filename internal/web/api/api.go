package api

import (
	"net/http"
	"sync/atomic"

	"notepay/internal/bridge"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/web"
)

// Handler serves those who own the machines.
type Handler struct {
	Ledger *ledger.Ledger
	Bridge *bridge.Bridge
	Fleet  *fleet.Fleet
	Live   *web.Hub // with it the streams end
	Token  string   // of the operator; "" closes everything but what the contract leaves open

	streams atomic.Int64 // that are open
}

// Authorized returns nil for a request that carries the operator token.
func (h *Handler) Authorized(r *http.Request) error {
	if h.Token == "" {
		return NewError(http.StatusForbidden, "no_operator_token",
			"set OPERATOR_TOKEN and send it as Authorization: Bearer")
	}
	if !Bearer(r, h.Token) {
		return NewError(http.StatusUnauthorized, "unauthorized",
			"send the operator token as Authorization: Bearer")
	}
	return nil
}
