package bridge

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// store is the part of the ledger that payments need. Each method is a transaction at the given
// time. A shelf is in memory, and books are on disk. TestShelfConformsToTheLedger compares them.
type store interface {
	insert(now time.Time, p payment.Payment) (inserted bool, err error)
	save(now time.Time, p payment.Payment) error
	payment(id string) (payment.Payment, error)
	ofIntent(intent string) (payment.Payment, error)
	occupant(device string) (payment.Payment, error)
	dueForNotehub(now time.Time, again bool) ([]payment.Payment, error)
	dueForStripe(now time.Time, again bool) ([]payment.Payment, error)
	dueWaits(now time.Time) ([]payment.Payment, error)
	silent(asOf time.Time) ([]payment.Payment, error)
	// restart does what the ledger does when the next process opens it.
	restart() error
}

// shelf keeps payments in memory, with the constraints of the schema.
type shelf struct {
	list []payment.Payment
	dead []bool // claimed by an earlier process
}

var errNonsense = errors.New("the schema refuses this payment")

// stored returns a payment as it is read again, in whole milliseconds and seconds.
func stored(p payment.Payment) payment.Payment {
	for _, t := range []*time.Time{
		&p.PaidAt, &p.CreatedAt, &p.SentAt, &p.StartedAt, &p.EndsAt, &p.ExpiresAt, &p.ConfirmBy, &p.DueAt,
		&p.BackoffUntil, &p.RefundAt, &p.FundsBackoffUntil,
	} {
		*t = t.Truncate(time.Millisecond)
	}
	p.Duration, p.DelayedStart = p.Duration.Truncate(time.Second), p.DelayedStart.Truncate(time.Second)
	return p
}

// sensible checks the schema's constraints.
func sensible(p payment.Payment) bool {
	within := func(n int64) bool { return n >= 0 && n <= p.Amount }
	sent := p.Delivery != payment.Queued && p.Delivery != payment.Failed
	refunds := p.Funds == payment.Refunding || p.Funds == payment.RefundFailed
	return within(p.RefundedAmount) && within(p.RefundAmount) && within(p.RefundTarget) &&
		p.Duration >= 0 && p.DelayedStart >= 0 &&
		(p.Step == payment.NoStep) == p.DueAt.IsZero() &&
		(!p.InFlight || p.Step != payment.NoStep) &&
		(!p.OutcomeUnknown || p.MaybeAccepted) &&
		(p.Delivery != payment.Failed || p.Reason != "") &&
		(!sent || (p.MaybeAccepted && !p.SentAt.IsZero())) &&
		(p.RecallStatus != payment.NotRecalled || p.NoteIDs == "") &&
		(!refunds || p.RefundSeq > 0) &&
		(p.AccessCode == "" || p.NeedsAccessCode && len(p.AccessCode) == 6) &&
		(p.PendingNotice == "" || p.PendingNotice == "refunded" || p.PendingNotice == "ended")
}

func (s *shelf) find(is func(*payment.Payment) bool) int {
	for i := range s.list {
		if is(&s.list[i]) {
			return i
		}
	}
	return -1
}

func (s *shelf) held(p payment.Payment) bool {
	return p.HoldsDevice &&
		s.find(
			func(o *payment.Payment) bool { return o.ID != p.ID && o.DeviceUID == p.DeviceUID && o.HoldsDevice },
		) >= 0
}

func (s *shelf) insert(_ time.Time, p payment.Payment) (bool, error) {
	known := s.find(func(o *payment.Payment) bool {
		return o.ID == p.ID || o.SessionID == p.SessionID ||
			(p.PaymentIntent != "" && o.PaymentIntent == p.PaymentIntent)
	}) >= 0
	switch {
	case !sensible(p):
		return false, errNonsense
	case known:
		return false, nil
	case s.held(p):
		return false, errNonsense
	}
	s.list, s.dead = append(s.list, stored(p)), append(s.dead, false)
	return true, nil
}

func (s *shelf) save(now time.Time, p payment.Payment) error {
	i := s.find(func(o *payment.Payment) bool { return o.ID == p.ID })
	switch {
	case i < 0:
		return ledger.ErrNotFound
	case !sensible(p), s.held(p):
		return errNonsense
	}
	was := s.list[i]
	p.Rev = was.Rev + 1
	if p.DeliveryAt, p.FundsAt = was.DeliveryAt, was.FundsAt; p.Delivery != was.Delivery {
		p.DeliveryAt = now
	}
	if p.Funds != was.Funds {
		p.FundsAt = now
	}
	s.list[i], s.dead[i] = stored(p), false
	return nil
}

func (s *shelf) one(is func(*payment.Payment) bool) (payment.Payment, error) {
	if i := s.find(is); i >= 0 {
		return s.list[i], nil
	}
	return payment.Payment{}, ledger.ErrNotFound
}

func (s *shelf) payment(id string) (payment.Payment, error) {
	return s.one(func(p *payment.Payment) bool { return p.ID == id })
}

func (s *shelf) ofIntent(intent string) (payment.Payment, error) {
	return s.one(func(p *payment.Payment) bool { return p.PaymentIntent == intent && intent != "" })
}

func (s *shelf) occupant(device string) (payment.Payment, error) {
	return s.one(func(p *payment.Payment) bool { return p.DeviceUID == device && p.HoldsDevice })
}

// due lists the due payments that satisfy a condition, oldest first.
func (s *shelf) due(now time.Time, is func(*payment.Payment) bool) (list []payment.Payment, _ error) {
	for i := range s.list {
		if p := &s.list[i]; p.Step != payment.NoStep && !p.DueAt.After(now) && is(p) {
			list = append(list, *p)
		}
	}
	slices.SortFunc(list,
		func(a, b payment.Payment) int { return cmp.Or(a.DueAt.Compare(b.DueAt), cmp.Compare(a.ID, b.ID)) })
	return list, nil
}

func forNotehub(s payment.Step) bool {
	return s == payment.StepPostNote || s == payment.StepCheckPending || s == payment.StepRecall
}

func forStripe(s payment.Step) bool {
	return s == payment.StepCapture || s == payment.StepCancel || s == payment.StepRefund
}

func (s *shelf) dueForNotehub(now time.Time, again bool) ([]payment.Payment, error) {
	return s.due(now, func(p *payment.Payment) bool {
		return forNotehub(p.Step) && (p.Failures > 0) == again && !s.called(p.DeviceUID, now)
	})
}

// called reports whether a worker of this process has a call to the device in flight.
func (s *shelf) called(device string, now time.Time) bool {
	for i := range s.list {
		if p := &s.list[i]; p.DeviceUID == device && p.InFlight && !s.dead[i] && p.DueAt.After(now) &&
			forNotehub(p.Step) {
			return true
		}
	}
	return false
}

func (s *shelf) dueForStripe(now time.Time, again bool) ([]payment.Payment, error) {
	return s.due(now, func(p *payment.Payment) bool { return forStripe(p.Step) && (p.FundsFailures > 0) == again })
}

func (s *shelf) dueWaits(now time.Time) ([]payment.Payment, error) {
	return s.due(now, func(p *payment.Payment) bool { return p.Step == payment.StepWait && p.Failures == 0 })
}

func (s *shelf) silent(asOf time.Time) (list []payment.Payment, _ error) {
	for _, p := range s.list {
		doubtful := p.Delivery == payment.Queued && p.NotFoundAfterUnclear && !p.OutcomeUnknown
		if (p.Delivery == payment.Fetched || doubtful) &&
			!p.ConfirmBy.IsZero() &&
			!p.ConfirmBy.After(asOf) &&
			!p.InFlight {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b payment.Payment) int {
		return cmp.Or(a.ConfirmBy.Compare(b.ConfirmBy), cmp.Compare(a.ID, b.ID))
	})
	return list, nil
}

func (s *shelf) restart() error {
	for i := range s.list {
		if s.list[i].InFlight && !s.dead[i] {
			s.dead[i] = true
			s.list[i].Rev++
		}
	}
	return nil
}
