package api

import (
	"net/http"
	"sync/atomic"

	"notepay/internal/bridge"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/web"
)

// Handler serves the operator's requests.
type Handler struct {
	Ledger *ledger.Ledger
	Bridge *bridge.Bridge
	Fleet  *fleet.Fleet
	Live   *web.Hub // ends the streams
	Token  string   // the operator token; "" closes the API

	streams atomic.Int64 // open streams
}

// Authorized returns nil if a request carries the operator token, and an *Error otherwise.
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
