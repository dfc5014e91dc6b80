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

// maxBody limits a request's body, in bytes. Webhooks have the largest bodies, and Stripe documents
// no limit for them (docs/vendors.md, Q2).
const maxBody = 1 << 20

// recordTimeout limits how long a webhook waits until it is recorded. The vendor then sends it
// again.
const recordTimeout = 5 * time.Second

// stripeWebhook answers 200 once the event and its consequences are on disk.
func (a *App) stripeWebhook(w http.ResponseWriter, r *http.Request) error {
	reject := func(status int, code, message string) error {
		a.metrics.Rejected.Inc()
		return &api.Error{Status: status, Code: code, Message: message}
	}
	signature := r.Header.Get("Stripe-Signature")
	if !a.webhookSecrets.Plausible(signature) { // checked before the body is read, because anyone may send one
		return reject(http.StatusBadRequest, "bad_signature", "no valid signature")
	}
	body, err := a.unverified.Read(w, r)
	switch {
	case errors.Is(err, bodies.ErrTooLarge):
		return reject(http.StatusRequestEntityTooLarge, "too_large", "the event is larger than 1 MiB")
	case errors.Is(err, bodies.ErrBusy):
		return reject(http.StatusServiceUnavailable, "busy", "too many events at once; send the event again")
	case errors.Is(err, bodies.ErrSlow):
		return reject(http.StatusRequestTimeout, "too_slow", "the event did not arrive in time; send it again")
	case err != nil:
		return reject(http.StatusBadRequest, "unreadable", "the body could not be read")
	}
	event, err := a.webhookSecrets.Verify(body, signature, a.Ledger.Clock())
	if errors.Is(err, stripeapi.ErrTooOld) || errors.Is(err, stripeapi.ErrTimeUnknown) { // our time may be wrong
		a.Bridge.LearnTime(r.Context())
		event, err = a.webhookSecrets.Verify(body, signature, a.Ledger.Clock())
	}
	switch {
	case errors.Is(err, stripeapi.ErrTimeUnknown):
		a.log.Warn("webhook postponed", "err", err)
		return &api.Error{
			Status:  http.StatusServiceUnavailable,
			Code:    "not_recorded",
			Message: "the event cannot be processed yet; send it again",
		}
	case errors.Is(err, stripeapi.ErrSignature):
		a.rejections.Do(func() { a.log.Warn("webhook rejected", "err", err) })
		return reject(http.StatusBadRequest, "bad_signature", "no valid signature")
	case err != nil: // recorded as odd, because Stripe would repeat it for days without a change
		event.Odd = err.Error()
	}
	ctx, cancel := context.WithTimeout(r.Context(), recordTimeout)
	defer cancel()
	if err := a.Bridge.Receive(ctx, event); err != nil {
		a.log.Error("event not recorded", "event", event.ID, "err", err)
		return &api.Error{
			Status:  http.StatusServiceUnavailable,
			Code:    "not_recorded",
			Message: "the event could not be recorded; send it again",
		}
	}
	a.lastWebhook.Store(a.Ledger.Now().UnixMilli())
	return api.WriteJSON(w, http.StatusOK, map[string]bool{"received": true})
}

// notehubWebhook receives a confirmation from Notehub's route. Notehub repeats a call after 5xx and
// never after 4xx. An event that is not for us is answered with 200.
func (a *App) notehubWebhook(w http.ResponseWriter, r *http.Request) error {
	if a.routeToken == "" || !api.Bearer(r, a.routeToken) {
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
	answer, project, err := notehub.DecodeConfirmation(body, a.ackFile, uid.Parse)
	switch {
	case errors.Is(err, notehub.ErrOtherFile):
		a.log.Debug("routed event of another notefile")
		return api.WriteJSON(w, http.StatusOK, map[string]bool{"received": true})
	case errors.Is(err, notehub.ErrNoCredit):
		a.ignored(upstream.Excerpt(body), notehub.IgnoredNoCredit)
		return api.WriteJSON(w, http.StatusOK, map[string]bool{"received": true})
	case err == nil && project != "" && !strings.EqualFold(project, a.project):
		a.ignored(answer.EventID, notehub.IgnoredProject)
		return api.WriteJSON(w, http.StatusOK, map[string]bool{"received": true})
	case err != nil:
		a.log.Warn("routed event rejected", "err", err)
		return &api.Error{Status: http.StatusBadRequest, Code: "malformed", Message: "not a Notehub event"}
	}
	ctx, cancel := context.WithTimeout(r.Context(), recordTimeout)
	defer cancel()
	if err := a.Bridge.Confirm(ctx, answer); err != nil {
		a.log.Error("confirmation not recorded", "event", answer.EventID, "err", err)
		return &api.Error{
			Status:  http.StatusServiceUnavailable,
			Code:    "not_recorded",
			Message: "the event could not be recorded; send it again",
		}
	}
	return api.WriteJSON(w, http.StatusOK, map[string]bool{"received": true})
}
