package bridge

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"notepay/internal/ledger"
)

// store is the part of the ledger that the life of a payment needs, each method a transaction at the given time. A shelf has it in
// memory, books on disk; TestAShelfIsLikeTheLedger holds the one against the other.
type store interface {
	insert(now time.Time, p ledger.Payment) (inserted bool, err error)
	save(now time.Time, p ledger.Payment) error
	payment(id string) (ledger.Payment, error)
	ofIntent(intent string) (ledger.Payment, error)
	occupant(device string) (ledger.Payment, error)
	dueForNotehub(now time.Time, again bool) ([]ledger.Payment, error)
	dueForStripe(now time.Time, again bool) ([]ledger.Payment, error)
	dueInTime(now time.Time) ([]ledger.Payment, error)
	silent(asOf time.Time) ([]ledger.Payment, error)
	// restart is what the ledger does when the next process opens it.
	restart() error
}

// shelf keeps payments in memory, as strictly as the schema does.
type shelf struct {
	list []ledger.Payment
	dead []bool // claimed by a process that is gone
}

var errNonsense = errors.New("the schema refuses this payment")

// stored is a payment as it is read again: in whole milliseconds and seconds.
func stored(p ledger.Payment) ledger.Payment {
	for _, t := range []*time.Time{&p.PaidAt, &p.CreatedAt, &p.SentAt, &p.StartedAt, &p.EndsAt, &p.ExpiresAt, &p.ConfirmBy, &p.DueAt, &p.NotBefore, &p.RefundAt, &p.MoneyNotBefore} {
		*t = t.Truncate(time.Millisecond)
	}
	p.Duration, p.DelayedStart = p.Duration.Truncate(time.Second), p.DelayedStart.Truncate(time.Second)
	return p
}

// sensible is the schema's opinion of a payment.
func sensible(p ledger.Payment) bool {
	within := func(n int64) bool { return n >= 0 && n <= p.Amount }
	sent := p.Machine != ledger.Queued && p.Machine != ledger.Failed
	refunds := p.Money == ledger.Refunding || p.Money == ledger.RefundFailed
	return within(p.RefundedAmount) && within(p.RefundAmount) && within(p.RefundGoal) && p.Duration >= 0 && p.DelayedStart >= 0 &&
		(p.Step == ledger.NoStep) == p.DueAt.IsZero() && (!p.InFlight || p.Step != ledger.NoStep) && (!p.Unclear || p.Posted) &&
		(p.Machine != ledger.Failed || p.Reason != "") && (!sent || (p.Posted && !p.SentAt.IsZero())) &&
		(p.Recalled != ledger.NotRecalled || p.NoteIDs == "") && (!refunds || p.RefundNumber > 0) &&
		(p.AccessCode == "" || p.WithCode && len(p.AccessCode) == 6) &&
		(p.Tell == "" || p.Tell == "refunded" || p.Tell == "ended")
}

func (s *shelf) find(is func(*ledger.Payment) bool) int {
	for i := range s.list {
		if is(&s.list[i]) {
			return i
		}
	}
	return -1
}

func (s *shelf) held(p ledger.Payment) bool {
	return p.Occupies && s.find(func(o *ledger.Payment) bool { return o.ID != p.ID && o.DeviceUID == p.DeviceUID && o.Occupies }) >= 0
}

func (s *shelf) insert(_ time.Time, p ledger.Payment) (bool, error) {
	known := s.find(func(o *ledger.Payment) bool {
		return o.ID == p.ID || o.SessionID == p.SessionID || (p.PaymentIntent != "" && o.PaymentIntent == p.PaymentIntent)
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

func (s *shelf) save(now time.Time, p ledger.Payment) error {
	i := s.find(func(o *ledger.Payment) bool { return o.ID == p.ID })
	switch {
	case i < 0:
		return ledger.ErrNotFound
	case !sensible(p), s.held(p):
		return errNonsense
	}
	was := s.list[i]
	if p.MachineAt, p.MoneyAt = was.MachineAt, was.MoneyAt; p.Machine != was.Machine {
		p.MachineAt = now
	}
	if p.Money != was.Money {
		p.MoneyAt = now
	}
	s.list[i], s.dead[i] = stored(p), false
	return nil
}

func (s *shelf) one(is func(*ledger.Payment) bool) (ledger.Payment, error) {
	if i := s.find(is); i >= 0 {
		return s.list[i], nil
	}
	return ledger.Payment{}, ledger.ErrNotFound
}

func (s *shelf) payment(id string) (ledger.Payment, error) {
	return s.one(func(p *ledger.Payment) bool { return p.ID == id })
}

func (s *shelf) ofIntent(intent string) (ledger.Payment, error) {
	return s.one(func(p *ledger.Payment) bool { return p.PaymentIntent == intent && intent != "" })
}

func (s *shelf) occupant(device string) (ledger.Payment, error) {
	return s.one(func(p *ledger.Payment) bool { return p.DeviceUID == device && p.Occupies })
}

// due lists what is due and satisfies a condition, the longest due first.
func (s *shelf) due(now time.Time, is func(*ledger.Payment) bool) (list []ledger.Payment, _ error) {
	for i := range s.list {
		if p := &s.list[i]; p.Step != ledger.NoStep && !p.DueAt.After(now) && is(p) {
			list = append(list, *p)
		}
	}
	slices.SortFunc(list, func(a, b ledger.Payment) int { return cmp.Or(a.DueAt.Compare(b.DueAt), cmp.Compare(a.ID, b.ID)) })
	return list, nil
}

func forNotehub(s ledger.Step) bool {
	return s == ledger.PostNote || s == ledger.CheckPending || s == ledger.Recall
}

func forStripe(s ledger.Step) bool {
	return s == ledger.Capture || s == ledger.Release || s == ledger.Refund
}

func (s *shelf) dueForNotehub(now time.Time, again bool) ([]ledger.Payment, error) {
	return s.due(now, func(p *ledger.Payment) bool {
		return forNotehub(p.Step) && (p.Failures > 0) == again && !s.called(p.DeviceUID, now)
	})
}

// called: a worker of this process has a call to the device under way.
func (s *shelf) called(device string, now time.Time) bool {
	for i := range s.list {
		if p := &s.list[i]; p.DeviceUID == device && p.InFlight && !s.dead[i] && p.DueAt.After(now) && forNotehub(p.Step) {
			return true
		}
	}
	return false
}

func (s *shelf) dueForStripe(now time.Time, again bool) ([]ledger.Payment, error) {
	return s.due(now, func(p *ledger.Payment) bool { return forStripe(p.Step) && (p.MoneyFailures > 0) == again })
}

func (s *shelf) dueInTime(now time.Time) ([]ledger.Payment, error) {
	return s.due(now, func(p *ledger.Payment) bool { return p.Step == ledger.Wait && p.Failures == 0 })
}

func (s *shelf) silent(asOf time.Time) (list []ledger.Payment, _ error) {
	for _, p := range s.list {
		if (p.Machine == ledger.Fetched || p.Machine == ledger.Queued && p.Vanished && !p.Unclear) && !p.ConfirmBy.IsZero() && !p.ConfirmBy.After(asOf) && !p.InFlight {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b ledger.Payment) int {
		return cmp.Or(a.ConfirmBy.Compare(b.ConfirmBy), cmp.Compare(a.ID, b.ID))
	})
	return list, nil
}

func (s *shelf) restart() error {
	for i := range s.list {
		s.dead[i] = s.dead[i] || s.list[i].InFlight
	}
	return nil
}
