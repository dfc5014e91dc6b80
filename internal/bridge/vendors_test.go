package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"notepay/internal/notecrypt"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// answer is a vendor's reply to a call, and whether the call was applied.
type answer struct {
	err     error
	applied bool
	gate    chan struct{} // the reply waits until this is closed
}

// script holds the replies to the next calls, by the call's kind. Without one, a call succeeds.
type script struct {
	mu      sync.Mutex
	answers map[payment.Step][]answer
	calls   map[payment.Step]int
}

// The kinds of calls besides a payment's steps.
const (
	forAnswers  payment.Step = "confirmations"
	forEvents   payment.Step = "events"
	forSessions payment.Step = "sessions"
	forSession  payment.Step = "session"
	forRefunds  payment.Step = "refunds"
)

func (s *script) will(call payment.Step, answers ...answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answers == nil {
		s.answers = map[payment.Step][]answer{}
	}
	s.answers[call] = answers
}

// take returns the next reply, and applies the call unless the reply says otherwise.
func (s *script) take(call payment.Step, do func() error) error {
	s.mu.Lock()
	if s.calls == nil {
		s.calls = map[payment.Step]int{}
	}
	s.calls[call]++
	a := answer{applied: true}
	if list := s.answers[call]; len(list) > 0 {
		a, s.answers[call] = list[0], list[1:]
	}
	var err error
	if a.applied {
		err = do()
	}
	s.mu.Unlock()
	if a.gate != nil {
		<-a.gate
	}
	if a.err != nil {
		return a.err
	}
	return err
}

func (s *script) called(call payment.Step) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[call]
}

// hub is a minimal Notehub. It keeps notes until they are fetched, and the machines' answers.
// Failures on the wire are tested elsewhere; these tests are about what is on disk between calls.
type hub struct {
	script
	posted  []payment.Note
	pending []waiting
	said    []payment.Confirmation
}

type waiting struct {
	id, device string
	note       payment.Note
}

func (h *hub) PostNote(_ context.Context, device, _ string, n payment.Note) error {
	return h.take(payment.StepPostNote, func() error {
		h.posted = append(h.posted, n)
		h.pending = append(h.pending, waiting{fmt.Sprintf("1:%d", len(h.posted)), device, n})
		return nil
	})
}

func (h *hub) PostEncrypted(context.Context, string, string, notecrypt.Body) error {
	return errors.New("these tests encrypt nothing")
}

func (h *hub) PendingNotes(_ context.Context, device, _ string) (list []payment.PendingNote, err error) {
	err = h.take(payment.StepCheckPending, func() error {
		for _, w := range h.pending {
			if w.device == device {
				list = append(list,
					payment.PendingNote{ID: w.id, CreditID: w.note.CreditID, PaymentStatus: w.note.PaymentStatus})
			}
		}
		return nil
	})
	return list, err
}

func (h *hub) DeleteNote(_ context.Context, device, _, id string) error {
	return h.take(payment.StepRecall, func() error {
		n := slices.IndexFunc(h.pending, func(w waiting) bool { return w.device == device && w.id == id })
		if n < 0 {
			return &upstream.Error{Outcome: upstream.Rejected, Status: 404}
		}
		h.pending = slices.Delete(h.pending, n, n+1)
		return nil
	})
}

// Confirmations returns two at a time, beginning with the one at the cursor.
func (h *hub) Confirmations(_ context.Context,
	cursor string) (list []payment.Confirmation, next string, more bool, err error) {
	err = h.take(forAnswers, func() error {
		read, _ := strconv.Atoi(cursor)
		end := min(read+2, len(h.said))
		list = slices.Clone(h.said[max(read-1, 0):end])
		if next = strconv.Itoa(end); end == 0 {
			next = ""
		}
		more = end < len(h.said)
		return nil
	})
	return list, next, more, err
}

// fetch makes all Notecards fetch their pending notes.
func (h *hub) fetch() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pending = nil
}

// hears adds a machine's answer.
func (h *hub) hears(c payment.Confirmation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.said = append(h.said, c)
}

func (h *hub) notes() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.posted)
}

// account is a minimal Stripe: its payments, authorizations, refunds and lists.
type account struct {
	script
	intents  map[string]*intent
	stored   map[string]error          // a 500 is repeated under the same key
	events   []Event                   // oldest first
	sessions []payment.CheckoutSession // oldest first
}

type intent struct {
	session payment.CheckoutSession
	status  string // of the intent: "succeeded", "requires_capture", "canceled"
	refunds []payment.RefundRecord
	broke   bool // every refund fails for lack of balance
}

func (i *intent) back() (sum int64) {
	for _, r := range i.refunds {
		if r.Status != "failed" && r.Status != "canceled" {
			sum += r.Amount
		}
	}
	return sum
}

var errNone = &upstream.Error{Outcome: upstream.Rejected, Status: 404}

// once runs do once per idempotency key.
func (a *account) once(call payment.Step, key string, do func() error) error {
	a.mu.Lock()
	err, again := a.stored[key]
	a.mu.Unlock()
	if again {
		return err
	}
	err = a.take(call, do)
	if e, ok := errors.AsType[*upstream.Error](err); ok && e.Status >= 500 {
		a.mu.Lock()
		a.stored[key] = err
		a.mu.Unlock()
	}
	return err
}

func (a *account) Session(_ context.Context, id string) (s payment.CheckoutSession, err error) {
	err = a.take(forSession, func() error {
		for _, i := range a.intents {
			if i.session.ID == id || i.session.PaymentIntent == id {
				s = i.session
				s.IntentStatus, s.Refunded = i.status, i.back()
				return nil
			}
		}
		return errNone
	})
	return s, err
}

func stripeRefuses(err error) error {
	return &upstream.Error{Outcome: upstream.Rejected, Status: 400, Err: err}
}

func (a *account) Capture(_ context.Context, id, key string) error {
	return a.once(payment.StepCapture, key, func() error {
		switch i := a.intents[id]; i.status {
		case "requires_capture":
			i.status = "succeeded"
			return nil
		case "canceled":
			return stripeRefuses(payment.ErrAlreadyCanceled)
		}
		return stripeRefuses(payment.ErrAlreadyCaptured)
	})
}

func (a *account) Release(_ context.Context, id, key string) error {
	return a.once(payment.StepCancel, key, func() error {
		switch i := a.intents[id]; i.status {
		case "requires_capture":
			i.status = "canceled"
			return nil
		case "canceled":
			return stripeRefuses(payment.ErrAlreadyCanceled)
		}
		return stripeRefuses(payment.ErrAlreadyCaptured)
	})
}

func (a *account) Refund(_ context.Context, o payment.RefundOrder) (r payment.RefundRecord, err error) {
	err = a.once(payment.StepRefund, fmt.Sprintf("refund:%s:%d", o.Credit, o.Number), func() error {
		i := a.intents[o.Intent]
		n := slices.IndexFunc(i.refunds, func(r payment.RefundRecord) bool {
			return r.Credit == o.Credit && r.Number == o.Number
		})
		if n >= 0 {
			r = i.refunds[n]
			return nil
		}
		switch {
		case i.broke:
			return stripeRefuses(payment.ErrBalance)
		case i.session.Disputed:
			return stripeRefuses(payment.ErrDisputed)
		case i.back() >= i.session.Amount:
			return stripeRefuses(payment.ErrAlreadyRefunded)
		case i.back()+o.Amount > i.session.Amount:
			return stripeRefuses(errors.New("more than is left"))
		}
		r = payment.RefundRecord{
			ID:     fmt.Sprintf("re_%d", len(i.refunds)+1),
			Intent: o.Intent,
			Credit: o.Credit,
			Number: o.Number,
			Amount: o.Amount,
			Status: "succeeded",
		}
		i.refunds = append(i.refunds, r)
		return nil
	})
	return r, err
}

func (a *account) Refunds(_ context.Context, id string) (list []payment.RefundRecord, err error) {
	err = a.take(forRefunds, func() error {
		list = slices.Clone(a.intents[id].refunds)
		return nil
	})
	return list, err
}

func (a *account) Events(_ context.Context, since time.Time,
	after string) (list []Event, last string, more bool, err error) {
	err = a.take(forEvents, func() error {
		list, last, more = page(a.events, after, func(e Event) (string, bool) { return e.ID, !e.Created.Before(since) })
		return nil
	})
	return list, last, more, err
}

func (a *account) Sessions(_ context.Context, since time.Time,
	after string) (list []payment.CheckoutSession, odd []string, last string, more bool, err error) {
	err = a.take(forSessions, func() error {
		list, last, more = page(a.sessions, after,
			func(s payment.CheckoutSession) (string, bool) { return s.ID, !s.Created.Before(since) })
		return nil
	})
	return list, nil, last, more, err
}

// page returns two entries at a time, newest first.
func page[T any](all []T, after string, of func(T) (id string, wanted bool)) (list []T, last string, more bool) {
	behind := after == ""
	for _, t := range slices.Backward(all) {
		id, wanted := of(t)
		switch {
		case !wanted:
		case !behind:
			behind = id == after
		case len(list) == 2:
			return list, last, true
		default:
			list, last = append(list, t), id
		}
	}
	return list, last, false
}

func (a *account) intent(session string) *intent {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.intents["pi_"+session]
}
