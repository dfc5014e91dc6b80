package web

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"notepay/internal/bridge"
	"notepay/internal/ledger"
	"notepay/internal/uid"
)

// what a person may send along with a decision.
type decision struct {
	Amount *int64 `json:"amount"` // minor currency units
	Reason string `json:"reason"`
}

// LongestReason bounds what is kept of a reason, in bytes.
const LongestReason = 500

// readDecision reads the body, which may be empty. A field that is not known is refused: a misspelt amount must not give everything back.
func readDecision(r *http.Request) (d decision, err error) {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err = decoder.Decode(&d); errors.Is(err, io.EOF) {
		return d, nil
	}
	if err == nil && decoder.More() {
		err = errors.New("something follows it")
	}
	if err != nil {
		return d, &APIError{http.StatusBadRequest, "bad_body", `the body is JSON with "amount" (in the smallest unit of the currency) and "reason", or empty`}
	}
	if d.Reason = strings.TrimSpace(d.Reason); len(d.Reason) > LongestReason {
		return d, &APIError{http.StatusBadRequest, "bad_reason", "reason is too long"}
	}
	return d, nil
}

// OperatorName is who decides, as far as is known: there is one operator token.
const OperatorName = "operator"

// decide answers with the payment after a decision.
func (o *Operator) decide(w http.ResponseWriter, r *http.Request, f func(ctx context.Context, id string, d decision, by bridge.By) (ledger.Payment, error)) error {
	d, err := readDecision(r)
	if err != nil {
		return err
	}
	p, err := f(r.Context(), r.PathValue("id"), d, bridge.By{Who: OperatorName, Why: d.Reason})
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return errNoPayment
	case errors.Is(err, bridge.ErrState):
		return &APIError{http.StatusConflict, "not_possible", "the payment's state does not allow this"}
	case err != nil:
		return err
	}
	out, err := o.shown(r, p)
	if err != nil {
		return err
	}
	return WriteJSON(w, http.StatusOK, out)
}

// Retry sends a credit anew.
func (o *Operator) Retry(w http.ResponseWriter, r *http.Request) error {
	return o.decide(w, r, func(ctx context.Context, id string, _ decision, by bridge.By) (ledger.Payment, error) {
		return o.Bridge.Retry(ctx, id, by)
	})
}

// Refund gives money back, all or the amount that is named.
func (o *Operator) Refund(w http.ResponseWriter, r *http.Request) error {
	return o.decide(w, r, func(ctx context.Context, id string, d decision, by bridge.By) (ledger.Payment, error) {
		amount := int64(0)
		if d.Amount != nil {
			if amount = *d.Amount; amount <= 0 {
				return ledger.Payment{}, &APIError{http.StatusBadRequest, "bad_amount", "amount is above 0, in the smallest unit of the currency"}
			}
		}
		return o.Bridge.GiveBack(ctx, id, amount, by)
	})
}

// End ends what is open for a payment.
func (o *Operator) End(w http.ResponseWriter, r *http.Request) error {
	return o.decide(w, r, func(ctx context.Context, id string, _ decision, by bridge.By) (ledger.Payment, error) {
		return o.Bridge.End(ctx, id, by)
	})
}

// Pause takes a device out of sale.
func (o *Operator) Pause(w http.ResponseWriter, r *http.Request) error {
	return o.onDevice(w, r, o.Bridge.Pause)
}

// Resume sells on a device again.
func (o *Operator) Resume(w http.ResponseWriter, r *http.Request) error {
	return o.onDevice(w, r, o.Bridge.Resume)
}

func (o *Operator) onDevice(w http.ResponseWriter, r *http.Request, f func(ctx context.Context, uid string, by bridge.By) error) error {
	d, err := readDecision(r)
	if err != nil {
		return err
	}
	uid := uid.Of(r.PathValue("uid"))
	if err := f(r.Context(), uid, bridge.By{Who: OperatorName, Why: d.Reason}); errors.Is(err, ledger.ErrNotFound) {
		return errNoDevice
	} else if err != nil {
		return err
	}
	return o.device(w, uid)
}

// Start sends a device a credit that nobody pays for.
func (o *Operator) Start(w http.ResponseWriter, r *http.Request) error {
	d, err := readDecision(r)
	if err != nil {
		return err
	}
	if d.Reason == "" {
		return &APIError{http.StatusBadRequest, "no_reason", `say why, as in {"reason":"test"}`}
	}
	p, err := o.Bridge.StartFree(r.Context(), uid.Of(r.PathValue("uid")), bridge.By{Who: OperatorName, Why: d.Reason})
	if errors.Is(err, ledger.ErrNotFound) {
		return errNoDevice
	}
	if err != nil {
		return err
	}
	out, err := o.shown(r, p)
	if err != nil {
		return err
	}
	return WriteJSON(w, http.StatusOK, out)
}

var (
	errNoPayment = &APIError{http.StatusNotFound, "not_found", "no payment has this credit id, session id or payment intent"}
	errNoDevice  = &APIError{http.StatusNotFound, "not_found", "no device has this UID"}
)
