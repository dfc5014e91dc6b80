package api

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/uid"
)

// paymentAnswer is a payment in an answer (docs/reference.md).
type paymentAnswer struct {
	ID             string     `json:"id"`
	SessionID      string     `json:"session_id"`
	PaymentIntent  string     `json:"payment_intent"`
	DeviceUID      string     `json:"device_uid"`
	DeviceName     string     `json:"device_name"`
	PriceID        string     `json:"price_id"`
	Plan           string     `json:"plan"`
	Duration       int64      `json:"duration_s"`
	Pulses         int64      `json:"pulses,omitempty"`
	Output         int64      `json:"output,omitempty"`
	Amount         int64      `json:"amount"`
	Currency       string     `json:"currency"`
	Livemode       bool       `json:"livemode"`
	Money          string     `json:"money"`
	RefundedAmount int64      `json:"refunded_amount"`
	RefundRef      string     `json:"refund_reference"`
	Discount       int64      `json:"discount"`
	Machine        string     `json:"machine"`
	Reason         string     `json:"reason"`
	NeedsAttention bool       `json:"needs_attention"`
	CreatedAt      time.Time  `json:"created_at"`
	SentAt         *time.Time `json:"sent_at"`
	StartedAt      *time.Time `json:"started_at"`
	EndsAt         *time.Time `json:"ends_at"`
	ExpiresAt      *time.Time `json:"expires_at"`
	Attempts       []attempt  `json:"attempts"`
}

type attempt struct {
	At      time.Time `json:"at"`
	Action  string    `json:"action"`
	Outcome string    `json:"outcome"`
	Status  int       `json:"status"`
	Detail  string    `json:"detail"`
	Took    int64     `json:"took_ms"`
}

// optional returns nil for the zero time.
func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// shownPayment returns the payment of an answer.
func shownPayment(p payment.Payment, attempts []ledger.Attempt) paymentAnswer {
	out := paymentAnswer{
		ID:             p.ID,
		SessionID:      p.SessionID,
		PaymentIntent:  p.PaymentIntent,
		DeviceUID:      p.DeviceUID,
		DeviceName:     p.DeviceName,
		PriceID:        p.PriceID,
		Plan:           p.Plan,
		Duration:       int64(p.Duration / time.Second),
		Pulses:         p.Pulses,
		Output:         p.Output,
		Amount:         p.Amount,
		Currency:       p.Currency,
		Livemode:       p.Livemode,
		Money:          string(p.Funds),
		RefundedAmount: p.RefundedAmount,
		RefundRef:      p.RefundReference,
		Discount:       p.Discount,
		Machine:        string(p.Delivery),
		Reason:         p.Reason,
		NeedsAttention: p.ReviewReason != "",
		CreatedAt:      p.CreatedAt,
		SentAt:         optional(p.SentAt),
		StartedAt:      optional(p.StartedAt),
		EndsAt:         optional(p.EndsAt),
		ExpiresAt:      optional(p.ExpiresAt),
		Attempts:       []attempt{},
	}
	for _, a := range attempts {
		out.Attempts = append(out.Attempts, attempt{
			At:      a.At,
			Action:  string(a.Action),
			Outcome: a.Outcome,
			Status:  a.Status,
			Detail:  a.Detail,
			Took:    a.Took.Milliseconds(),
		})
	}
	return out
}

// write answers with a payment and its attempts.
func (h *Handler) write(w http.ResponseWriter, r *http.Request, p payment.Payment) error {
	attempts, err := h.Ledger.Attempts(r.Context(), p.ID)
	if err != nil {
		return err
	}
	return WriteJSON(w, http.StatusOK, shownPayment(p, attempts))
}

// Payment answers with one payment, by credit id, session id or PaymentIntent.
func (h *Handler) Payment(w http.ResponseWriter, r *http.Request) error {
	p, err := h.Ledger.Payment(r.Context(), r.PathValue("id"))
	if errors.Is(err, ledger.ErrNotFound) {
		return errNoPayment
	}
	if err != nil {
		return err
	}
	return h.write(w, r, p)
}

const (
	defaultPageSize = 50
	maxPageSize     = 200
)

// moneyWords returns the words of the selector money.
func moneyWords() []payment.FundsStatus {
	return []payment.FundsStatus{
		payment.Authorized, payment.Capturing, payment.CaptureFailed, payment.Paid, payment.Canceling, payment.Canceled,
		payment.Refunding, payment.Refunded, payment.RefundFailed, payment.Disputed, payment.DisputeLost,
	}
}

// machineWords returns the words of the selector machine.
func machineWords() []payment.DeliveryStatus {
	return []payment.DeliveryStatus{
		payment.Queued, payment.Sent, payment.Fetched, payment.Started, payment.Done, payment.Failed,
	}
}

// words joins words for a message.
func words[T ~string](list []T) string {
	var all []string
	for _, word := range list {
		all = append(all, string(word))
	}
	return strings.Join(all, ", ")
}

// Payments answers with a page of payments, newest first.
func (h *Handler) Payments(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	f := ledger.Filter{Limit: defaultPageSize, Cursor: q.Get("cursor")}
	if v := uid.Of(q.Get("device")); v != "" {
		f.Devices = []string{v}
	}
	if v := payment.FundsStatus(q.Get("money")); v != "" {
		if !slices.Contains(moneyWords(), v) {
			return NewError(http.StatusBadRequest, "bad_money", "money must be one of "+words(moneyWords()))
		}
		f.Funds = []payment.FundsStatus{v}
	}
	if v := payment.DeliveryStatus(q.Get("machine")); v != "" {
		if !slices.Contains(machineWords(), v) {
			return NewError(http.StatusBadRequest, "bad_machine", "machine must be one of "+words(machineWords()))
		}
		f.Delivery = []payment.DeliveryStatus{v}
	}
	if v := q.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > maxPageSize {
			return NewError(http.StatusBadRequest, "bad_limit",
				"limit must be a number from 1 to "+strconv.Itoa(maxPageSize))
		}
		f.Limit = n
	}
	if v := q.Get("attention"); v != "" {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return NewError(http.StatusBadRequest, "bad_attention", "attention must be true or false")
		}
		f.Attention = &b
	}
	list, next, err := h.Ledger.Payments(r.Context(), f)
	if errors.Is(err, ledger.ErrCursor) {
		return NewError(http.StatusBadRequest, "bad_cursor", "unknown cursor; use next_cursor of a list")
	}
	if err != nil {
		return err
	}
	out := struct {
		Payments []paymentAnswer `json:"payments"`
		Next     string          `json:"next_cursor"`
	}{[]paymentAnswer{}, next}
	ids := make([]string, len(list))
	for i, p := range list {
		ids[i] = p.ID
	}
	attempts, err := h.Ledger.AttemptsOf(r.Context(), ids...)
	if err != nil {
		return err
	}
	for _, p := range list {
		out.Payments = append(out.Payments, shownPayment(p, attempts[p.ID]))
	}
	return WriteJSON(w, http.StatusOK, out)
}
