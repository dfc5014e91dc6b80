package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"notepay/internal/bridge"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/people"
	"notepay/internal/uid"
	"notepay/internal/upstream"
)

// decision is the body of a request that changes something.
type decision struct {
	Amount *int64 `json:"amount"` // minor currency units
	Reason string `json:"reason"`
	// PriceID is what a free start is for. It is left out of the digest of other requests.
	PriceID string `json:"price_id,omitempty"`
}

// MaxReason is the maximum length of a reason, in bytes.
const MaxReason = 500

// readDecision reads the body, which may be empty. It returns an *Error for unknown fields, for an
// amount in the query, and for null, which JavaScript writes for NaN. A missing amount refunds
// everything, so a partial refund that was sent wrongly must not pass. Only a free start has a price.
func readDecision(r *http.Request, start bool) (d decision, err error) {
	if r.URL.RawQuery != "" {
		return d, NewError(http.StatusBadRequest, "bad_query",
			`send "amount" and "reason" as JSON in the body, nothing in the address`)
	}
	var body *struct {
		Amount json.RawMessage `json:"amount"`
		Reason string          `json:"reason"`
		Price  *string         `json:"price_id"`
	}
	text, err := io.ReadAll(r.Body)
	if err == nil && len(bytes.TrimSpace(text)) == 0 {
		return d, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err == nil {
		err = decoder.Decode(&body)
	}
	switch {
	case err != nil:
	case !json.Valid(text):
		err = errors.New("something follows it")
	case namesTwice(text):
		err = errors.New("a field is there twice")
	case body == nil || string(body.Amount) == "null":
		err = errors.New("null is no decision")
	case body.Price != nil && !start:
		err = errors.New("only a free start has a price")
	default:
		d.Reason = strings.TrimSpace(upstream.Printable(body.Reason))
		if body.Price != nil {
			d.PriceID = strings.TrimSpace(*body.Price)
		}
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

// namesTwice reports whether a JSON object has two members of one name, of which Go would take the
// last. It ignores case, as Go does.
func namesTwice(object []byte) bool {
	names := map[string]bool{}
	decoder := json.NewDecoder(bytes.NewReader(object))
	_, err := decoder.Token() // the brace
	for err == nil && decoder.More() {
		var name json.Token
		var value json.RawMessage
		if name, err = decoder.Token(); err == nil {
			err = decoder.Decode(&value)
		}
		text, _ := name.(string)
		if text = strings.ToLower(text); names[text] {
			return true
		}
		names[text] = true
	}
	return false
}

// change applies a decision to the payment or device with an id. also runs in its transaction.
type change func(ctx context.Context, id string, d decision, by bridge.Actor, also bridge.Also) (payment.Payment, error)

// decide applies a change and answers with the payment. A request that repeats an Idempotency-Key
// gets the first answer again.
func (h *Handler) decide(w http.ResponseWriter, r *http.Request, id string, f change) error {
	d, err := readDecision(r, false)
	if err != nil {
		return err
	}
	return h.apply(w, r, id, d, f)
}

// apply applies a change with a decision that was read.
func (h *Handler) apply(w http.ResponseWriter, r *http.Request, id string, d decision, f change) error {
	once, err := newOnce(r, d)
	if err != nil {
		return err
	}
	p, err := f(r.Context(), id, d, bridge.Actor{Name: people.From(r.Context()).Name, Reason: d.Reason}, once.also())
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
		return writeBody(w, http.StatusOK, []byte(once.answer)) // byte for byte what a repeat gets
	}
	return h.write(w, r, p)
}

// Retry resends a credit.
func (h *Handler) Retry(w http.ResponseWriter, r *http.Request) error {
	return h.decide(w, r, r.PathValue("id"), func(ctx context.Context, id string, _ decision, by bridge.Actor,
		also bridge.Also) (payment.Payment, error) {
		p, err := h.Bridge.Resend(ctx, id, by, also)
		return p, orNoPayment(err)
	})
}

// Refund refunds a payment, in full or by the given amount.
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

// End cancels a start, ends a session or dismisses a review, whichever the payment's state allows.
func (h *Handler) End(w http.ResponseWriter, r *http.Request) error {
	return h.decide(w, r, r.PathValue("id"), func(ctx context.Context, id string, _ decision, by bridge.Actor,
		also bridge.Also) (payment.Payment, error) {
		p, err := h.Bridge.Cancel(ctx, id, by, also)
		return p, orNoPayment(err)
	})
}

// orNoPayment replaces ledger.ErrNotFound with the API's error.
func orNoPayment(err error) error {
	if errors.Is(err, ledger.ErrNotFound) {
		return errNoPayment
	}
	return err
}

// Pause stops sales on a device.
func (h *Handler) Pause(w http.ResponseWriter, r *http.Request) error {
	return h.onDevice(w, r, func(ctx context.Context, uid string, by bridge.Actor) error {
		return h.Bridge.Pause(ctx, uid, by)
	})
}

// Resume starts sales on a device again.
func (h *Handler) Resume(w http.ResponseWriter, r *http.Request) error {
	return h.onDevice(w, r, func(ctx context.Context, uid string, by bridge.Actor) error {
		return h.Bridge.Resume(ctx, uid, by)
	})
}

// onDevice applies f to a device, and answers with the device.
func (h *Handler) onDevice(
	w http.ResponseWriter,
	r *http.Request,
	f func(ctx context.Context, uid string, by bridge.Actor) error,
) error {
	d, err := readDecision(r, false)
	if err != nil {
		return err
	}
	uid := uid.Of(r.PathValue("uid"))
	err = f(r.Context(), uid, bridge.Actor{Name: people.From(r.Context()).Name, Reason: d.Reason})
	if errors.Is(err, ledger.ErrNotFound) {
		return errNoDevice
	}
	if err != nil {
		return err
	}
	return h.device(w, uid)
}

// Start sends a free credit to a device, for one of its prices. It requires a reason.
func (h *Handler) Start(w http.ResponseWriter, r *http.Request) error {
	d, err := readDecision(r, true)
	if err != nil {
		return err
	}
	return h.apply(w, r, uid.Of(r.PathValue("uid")), d, func(ctx context.Context, uid string, d decision,
		by bridge.Actor, also bridge.Also) (payment.Payment, error) {
		if d.Reason == "" {
			return payment.Payment{}, NewError(http.StatusBadRequest, "no_reason",
				`a reason is required, as in {"reason":"test"}`)
		}
		p, err := h.Bridge.GrantCredit(ctx, uid, d.PriceID, by, also)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
			return p, errNoDevice
		case errors.Is(err, bridge.ErrNoPrice):
			return p, NewError(http.StatusNotFound, "no_such_price", "the device does not sell this price")
		case errors.Is(err, payment.ErrState):
			return p, NewError(http.StatusConflict, "in_use",
				"another credit with a duration holds the device; end it first")
		case errors.Is(err, bridge.ErrNotRead):
			return p, NewError(http.StatusServiceUnavailable, "not_read",
				"notepay is reading what the device sells; try again in a moment")
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
