package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"notepay/internal/bridge"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/uid"
)

// what a person may send along with a decision.
type decision struct {
	Amount *int64 `json:"amount"` // minor currency units
	Reason string `json:"reason"`
}

// MaxReason bounds what is kept of a reason, in bytes.
const MaxReason = 500

// readDecision reads the body, which may be empty. A field that is not known is refused, and so is
// an amount that is null, as JavaScript writes one that is no number, or that is in the address:
// what was meant for a part must not give everything back.
func readDecision(r *http.Request) (d decision, err error) {
	if r.URL.RawQuery != "" {
		return d, NewError(http.StatusBadRequest, "bad_query",
			`send "amount" and "reason" as JSON in the body, nothing in the address`)
	}
	var body *struct {
		Amount json.RawMessage `json:"amount"`
		Reason string          `json:"reason"`
	}
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err = decoder.Decode(&body); errors.Is(err, io.EOF) {
		return d, nil
	}
	switch {
	case err != nil:
	case decoder.More():
		err = errors.New("something follows it")
	case body == nil || string(body.Amount) == "null":
		err = errors.New("null is no decision")
	default:
		d.Reason = strings.TrimSpace(body.Reason)
		if body.Amount != nil {
			err = json.Unmarshal(body.Amount, &d.Amount)
		}
	}
	if err != nil {
		return d, NewError(http.StatusBadRequest, "bad_body",
			`the body must be empty, or JSON with "amount" (in the smallest unit of the currency) and "reason"`)
	}
	if len(d.Reason) > MaxReason {
		return d, NewError(http.StatusBadRequest, "bad_reason", "reason is too long")
	}
	return d, nil
}

// OperatorName is who decides, as far as is known: there is one operator token.
const OperatorName = "operator"

// change is a decision about a payment or device, by the id in the address. What is done also is
// done in its transaction.
type change func(ctx context.Context, id string, d decision, by bridge.Actor, also bridge.Also) (payment.Payment, error)

// decide answers with the payment after a decision. A request that repeats an Idempotency-Key gets
// the answer of the first.
func (h *Handler) decide(w http.ResponseWriter, r *http.Request, id string, f change) error {
	d, err := readDecision(r)
	if err != nil {
		return err
	}
	once, err := newOnce(r, d)
	if err != nil {
		return err
	}
	p, err := f(r.Context(), id, d, bridge.Actor{Name: OperatorName, Reason: d.Reason}, once.also())
	if replay, ok := errors.AsType[*repeated](err); ok {
		w.Header().Set("Idempotent-Replayed", "true")
		return writeBody(w, http.StatusOK, []byte(replay.answer))
	}
	switch {
	case errors.Is(err, ledger.ErrOtherRequest):
		return errOtherRequest
	case errors.Is(err, payment.ErrState):
		return NewError(http.StatusConflict, "not_possible", "the payment's state does not allow this")
	case err != nil:
		return err
	case once.key != "":
		return writeBody(w, http.StatusOK, []byte(once.answer)) // to the letter what a repeat is answered
	}
	return h.write(w, r, p)
}

// Retry sends a credit anew.
func (h *Handler) Retry(w http.ResponseWriter, r *http.Request) error {
	return h.decide(w, r, r.PathValue("id"), func(ctx context.Context, id string, _ decision, by bridge.Actor,
		also bridge.Also) (payment.Payment, error) {
		p, err := h.Bridge.Resend(ctx, id, by, also)
		return p, orNoPayment(err)
	})
}

// Refund gives money back, all or the amount that is named.
func (h *Handler) Refund(w http.ResponseWriter, r *http.Request) error {
	return h.decide(w, r, r.PathValue("id"), func(ctx context.Context, id string, d decision, by bridge.Actor,
		also bridge.Also) (payment.Payment, error) {
		amount := int64(0)
		if d.Amount != nil {
			if amount = *d.Amount; amount <= 0 {
				return payment.Payment{}, NewError(http.StatusBadRequest, "bad_amount",
					"amount must be above 0, in the smallest unit of the currency")
			}
		}
		p, err := h.Bridge.Refund(ctx, id, amount, by, also)
		return p, orNoPayment(err)
	})
}

// End ends what is open for a payment.
func (h *Handler) End(w http.ResponseWriter, r *http.Request) error {
	return h.decide(w, r, r.PathValue("id"), func(ctx context.Context, id string, _ decision, by bridge.Actor,
		also bridge.Also) (payment.Payment, error) {
		p, err := h.Bridge.Cancel(ctx, id, by, also)
		return p, orNoPayment(err)
	})
}

func orNoPayment(err error) error {
	if errors.Is(err, ledger.ErrNotFound) {
		return errNoPayment
	}
	return err
}

// Pause takes a device out of sale.
func (h *Handler) Pause(w http.ResponseWriter, r *http.Request) error {
	return h.onDevice(w, r, func(ctx context.Context, uid string, by bridge.Actor) error {
		return h.Bridge.Pause(ctx, uid, by)
	})
}

// Resume sells on a device again.
func (h *Handler) Resume(w http.ResponseWriter, r *http.Request) error {
	return h.onDevice(w, r, func(ctx context.Context, uid string, by bridge.Actor) error {
		return h.Bridge.Resume(ctx, uid, by)
	})
}

func (h *Handler) onDevice(
	w http.ResponseWriter,
	r *http.Request,
	f func(ctx context.Context, uid string, by bridge.Actor) error,
) error {
	d, err := readDecision(r)
	if err != nil {
		return err
	}
	uid := uid.Of(r.PathValue("uid"))
	if err := f(r.Context(), uid, bridge.Actor{Name: OperatorName, Reason: d.Reason}); errors.Is(
		err,
		ledger.ErrNotFound,
	) {
		return errNoDevice
	} else if err != nil {
		return err
	}
	return h.device(w, uid)
}

// Start sends a device a credit that nobody pays for.
func (h *Handler) Start(w http.ResponseWriter, r *http.Request) error {
	return h.decide(w, r, uid.Of(r.PathValue("uid")), func(ctx context.Context, uid string, d decision, by bridge.Actor,
		also bridge.Also) (payment.Payment, error) {
		if d.Reason == "" {
			return payment.Payment{}, NewError(http.StatusBadRequest, "no_reason",
				`a reason is required, as in {"reason":"test"}`)
		}
		p, err := h.Bridge.GrantCredit(ctx, uid, by, also)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
			return p, errNoDevice
		case errors.Is(err, bridge.ErrTimeUnknown):
			return p, NewError(http.StatusServiceUnavailable, "time_unknown",
				"Stripe has not answered since the start, so notepay does not know the time; try again in a moment")
		}
		return p, err
	})
}

var (
	errNoPayment = NewError(http.StatusNotFound, "not_found",
		"no payment has this credit id, session id or payment intent")
	errNoDevice = NewError(http.StatusNotFound, "not_found", "no device has this UID")
)
