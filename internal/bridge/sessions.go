package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// Session returns the payment of a session, and reads the session from Stripe if the ledger does
// not have it: the customer may be back before the webhook. It returns ledger.ErrNotFound for a
// session that is not ours or not paid, and ErrTooBusy while too many sessions are being read.
func (b *Bridge) Session(ctx context.Context, id string) (payment.Payment, error) {
	p, err := b.c.Ledger.Payment(ctx, id)
	if !errors.Is(err, ledger.ErrNotFound) {
		return p, err
	}
	if strings.HasPrefix(id, "cs_live_") != b.c.Livemode || b.unknownSessions.lately(id, time.Now()) {
		return p, ledger.ErrNotFound
	}
	_, err, _ = b.reads.Do(id, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxSessionRead)
		defer cancel()
		if may, err := b.mayRead(ctx, id); err != nil || !may {
			return nil, cmp.Or(err, ErrTooBusy)
		}
		err := b.readSession(ctx, id)
		if errors.Is(err, ledger.ErrNotFound) {
			b.unknownSessions.add(id, time.Now())
		}
		return nil, err
	})
	if errors.Is(err, ErrTooBusy) {
		return b.catchUp(ctx, id)
	}
	if err != nil {
		return p, err
	}
	return b.c.Ledger.Payment(ctx, id)
}

// maxSessionRead is how long a customer waits for Stripe's reply. Then the page asks again.
const maxSessionRead = 10 * time.Second

// negativeCache remembers for a minute which sessions Stripe does not know, so that an invented id
// costs one read a minute.
type negativeCache struct {
	mu  sync.Mutex
	ids map[string]time.Time
}

const (
	missLifetime = time.Minute
	maxMisses    = 1000 // two reads a second need only 120
)

func (m *negativeCache) lately(id string, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.ids[id]
	return ok && now.Sub(at) < missLifetime
}

func (m *negativeCache) add(id string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ids == nil || len(m.ids) >= maxMisses {
		m.ids = map[string]time.Time{}
	}
	m.ids[id] = now
}

// readSession reads a session from Stripe and records it.
func (b *Bridge) readSession(ctx context.Context, id string) error {
	s, err := b.c.Stripe.Session(ctx, id)
	if upstream.OutcomeOf(err) == upstream.Rejected {
		return ledger.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("read session: %w", err)
	}
	if s, err = b.withLink(ctx, s); err != nil {
		return fmt.Errorf("read the link of session %s: %w", s.ID, err)
	}
	if s.PaidAt.IsZero() {
		// Stripe tells only when a free session was opened. The customer comes from completing it, unless
		// it may be one of an earlier state of the ledger.
		if s.PaidAt = s.Created; !b.earlierState(s.Created) {
			s.PaidAt = b.now().Truncate(time.Second)
		}
	}
	if b.doubtful(s) && !b.listed.Load() {
		return ErrTooBusy // Stripe's list is being read, and may tell that it was handled
	}
	if s.Handled, err = b.lookedUp(ctx, ledger.Lookup{}, s.ID); err == nil {
		s.Handled, err = b.pendingNote(ctx, s)
	}
	switch {
	case errors.Is(err, errAnswersUnread):
		return ErrTooBusy
	case err != nil:
		return err
	}
	outcome, err := b.recordNow(ctx, s, nil)
	if err != nil {
		return err
	}
	b.c.Log.Info("session read", "session", s.ID, "outcome", outcome)
	return nil
}

// recordNow records a session that was read from Stripe, and runs also in the same transaction
// unless it is nil.
func (b *Bridge) recordNow(ctx context.Context, s payment.CheckoutSession,
	also func(*update) error) (outcome string, err error) {
	if err := b.mayRecord(ctx); err != nil {
		return "", err
	}
	err = b.update(ctx, func(tx *update) (err error) {
		if outcome, err = b.recordSession(tx, s, false); err == nil && also != nil {
			err = also(tx)
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("record session %s: %w", s.ID, err)
	}
	if outcome == LookedUp {
		b.lookupsDue.ring()
	}
	return outcome, nil
}
