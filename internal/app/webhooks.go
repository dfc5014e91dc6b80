package app

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"notepay/internal/bodies"
	"notepay/internal/notehub"
	"notepay/internal/stripeapi"
	"notepay/internal/uid"
	"notepay/internal/upstream"
	"notepay/internal/web/api"
)

// MaxBody is the largest body that is read, in bytes: a webhook's, for which Stripe names no limit
// (docs/vendors.md, Q2).
const MaxBody = 1 << 20

// recordTimeout bounds how long a webhook waits until it is recorded. The vendor then sends it
// again.
const recordTimeout = 5 * time.Second

// stripeWebhook says yes once an event and what follows from it are on disk.
func (s *App) stripeWebhook(w http.ResponseWriter, r *http.Request) error {
	refuse := func(status int, code, message string) error {
		s.Metrics.Rejected.Inc()
		return &api.Error{Status: status, Code: code, Message: message}
	}
	signature := r.Header.Get("Stripe-Signature")
	if !s.Webhooks.Plausible(signature) { // before the body is read: anybody may send one
		return refuse(http.StatusBadRequest, "bad_signature", "no valid signature")
	}
	body, err := s.Unverified.Read(w, r)
	switch {
	case errors.Is(err, bodies.ErrTooLarge):
		return refuse(http.StatusRequestEntityTooLarge, "too_large", "the event is larger than 1 MiB")
	case errors.Is(err, bodies.ErrBusy):
		return refuse(http.StatusServiceUnavailable, "busy", "too many events at once; send the event again")
	case errors.Is(err, bodies.ErrSlow):
		return refuse(http.StatusRequestTimeout, "too_slow", "the event did not arrive in time; send it again")
	case err != nil:
		return refuse(http.StatusBadRequest, "unreadable", "the body could not be read")
	}
	event, err := s.Webhooks.Verify(body, signature, s.Ledger.Clock())
	if errors.Is(err, stripeapi.ErrTooOld) || errors.Is(err, stripeapi.ErrTimeUnknown) { // unless our time is wrong
		s.Bridge.LearnTime(r.Context())
		event, err = s.Webhooks.Verify(body, signature, s.Ledger.Clock())
	}
	switch {
	case errors.Is(err, stripeapi.ErrTimeUnknown):
		s.Log.Warn("webhook postponed", "err", err)
		return &api.Error{
			Status:  http.StatusServiceUnavailable,
			Code:    "not_recorded",
			Message: "the event cannot be processed yet; send it again",
		}
	case errors.Is(err, stripeapi.ErrSignature):
		s.complaints.Do(func() { s.Log.Warn("webhook rejected", "err", err) })
		return refuse(http.StatusBadRequest, "bad_signature", "no valid signature")
	case err != nil: // Stripe would send it for days, and it would never be readable
		event.Odd = err.Error()
	}
	ctx, cancel := context.WithTimeout(r.Context(), recordTimeout)
	defer cancel()
	if err := s.Bridge.Receive(ctx, event); err != nil {
		s.Log.Error("event not recorded", "event", event.ID, "err", err)
		return &api.Error{
			Status:  http.StatusServiceUnavailable,
			Code:    "not_recorded",
			Message: "the event could not be recorded; send it again",
		}
	}
	s.lastWebhook.Store(s.Ledger.Now().UnixMilli())
	return api.WriteJSON(w, http.StatusOK, map[string]bool{"received": true})
}

// notehubWebhook takes a machine's answer from Notehub's route. Notehub tries again after a 5xx and
// never after a 4xx, so what will never be of use is answered 200.
func (s *App) notehubWebhook(w http.ResponseWriter, r *http.Request) error {
	if s.routeToken == "" || !api.Bearer(r, s.routeToken) {
		return &api.Error{
			Status:  http.StatusUnauthorized,
			Code:    "unauthorized",
			Message: "send NOTEHUB_ROUTE_TOKEN as Authorization: Bearer",
		}
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return &api.Error{Status: http.StatusBadRequest, Code: "unreadable", Message: "the body could not be read"}
	}
	answer, project, err := notehub.DecodeConfirmation(body, uid.Parse)
	switch {
	case errors.Is(err, notehub.ErrOtherFile):
		s.Log.Debug("routed event of another notefile")
		return api.WriteJSON(w, http.StatusOK, map[string]bool{"received": true})
	case errors.Is(err, notehub.ErrNoCredit):
		s.ignored(upstream.Excerpt(body), notehub.IgnoredNoCredit)
		return api.WriteJSON(w, http.StatusOK, map[string]bool{"received": true})
	case err == nil && project != "" && !strings.EqualFold(project, s.project):
		s.ignored(answer.EventID, notehub.IgnoredProject)
		return api.WriteJSON(w, http.StatusOK, map[string]bool{"received": true})
	case err != nil:
		s.Log.Warn("routed event rejected", "err", err)
		return &api.Error{Status: http.StatusBadRequest, Code: "malformed", Message: "not a Notehub event"}
	}
	ctx, cancel := context.WithTimeout(r.Context(), recordTimeout)
	defer cancel()
	if err := s.Bridge.Confirm(ctx, answer); err != nil {
		s.Log.Error("confirmation not recorded", "event", answer.EventID, "err", err)
		return &api.Error{
			Status:  http.StatusServiceUnavailable,
			Code:    "not_recorded",
			Message: "the event could not be recorded; send it again",
		}
	}
	return api.WriteJSON(w, http.StatusOK, map[string]bool{"received": true})
}
