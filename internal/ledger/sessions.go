package ledger

import (
	"context"
	"time"

	"notepay/internal/payment"
)

// Session is a Checkout Session that notepay created for one purchase, with the terms of the sale.
type Session struct {
	ID        string // cs_...
	Livemode  bool
	DeviceUID string
	Manual    bool      // the payment is authorized first and captured later
	Ends      time.Time // the session expires then
	Plan      payment.Offer
}

const sessionColumns = `id, livemode, device_uid, manual, ends_at, price_id, plan, amount, currency, duration_s,
	delayed_start_s, description, image, access_code, currency_options`

var insertSession = `INSERT INTO sessions (` + sessionColumns + `) VALUES (` + placeholders(sessionColumns) + `)`

func scanSession(s scanner) (x Session, err error) {
	err = s.Scan(
		&x.ID,
		flag{&x.Livemode},
		&x.DeviceUID,
		flag{&x.Manual},
		instant{&x.Ends},
		&x.Plan.PriceID,
		&x.Plan.Name,
		&x.Plan.Amount,
		&x.Plan.Currency,
		seconds{&x.Plan.Duration},
		seconds{&x.Plan.DelayedStart},
		&x.Plan.Description,
		&x.Plan.Image,
		flag{&x.Plan.AccessCode},
		&x.Plan.CurrencyOptions,
	)
	return x, err
}

// SessionsKept is how long a session is stored after its end. Stripe lists events for 30 days, and
// an event may report only then that the session was paid.
const SessionsKept = 31 * 24 * time.Hour

// AddSession stores a session before the customer gets its URL. It deletes sessions that ended more
// than SessionsKept ago.
func (tx *Tx) AddSession(s Session) error {
	if _, err := tx.exec(`DELETE FROM sessions WHERE ends_at < $1`, tx.Now.Add(-SessionsKept).UnixMilli()); err != nil {
		return err
	}
	_, err := tx.exec(
		insertSession,
		s.ID,
		bit(s.Livemode),
		s.DeviceUID,
		bit(s.Manual),
		milliseconds(s.Ends),
		s.Plan.PriceID,
		s.Plan.Name,
		s.Plan.Amount,
		s.Plan.Currency,
		int64(s.Plan.Duration/time.Second),
		int64(s.Plan.DelayedStart/time.Second),
		s.Plan.Description,
		s.Plan.Image,
		bit(s.Plan.AccessCode),
		s.Plan.CurrencyOptions,
	)
	return err
}

// Session reads a session by its id, or returns ErrNotFound.
func (tx *Tx) Session(id string) (Session, error) {
	rows, err := tx.db.query(`SELECT `+sessionColumns+` FROM sessions WHERE id = $1`, id)
	return one(rows, err, scanSession)
}

// HasSession reports whether notepay created a session.
func (l *Ledger) HasSession(ctx context.Context, id string) (bool, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT ends_at FROM sessions WHERE id = $1`, id)
	return Found(errOnly(one(rows, err, scanInstant)))
}

// OpenSessions reads the sessions of live mode or test mode that end after now and have no payment.
func (l *Ledger) OpenSessions(ctx context.Context, livemode bool, now time.Time) ([]Session, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+sessionColumns+` FROM sessions WHERE ends_at > $1 AND livemode = $2
		AND NOT EXISTS (SELECT 1 FROM payments WHERE session_id = sessions.id)`, now.UnixMilli(), bit(livemode))
	return all(rows, err, scanSession)
}

// SessionPlans reads the most recent terms of each price that a session of live mode or test mode
// sold.
func (l *Ledger) SessionPlans(ctx context.Context, livemode bool) ([]payment.Offer, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+sessionColumns+` FROM sessions WHERE livemode = $1
		AND NOT EXISTS (SELECT 1 FROM sessions newer WHERE newer.price_id = sessions.price_id
		AND newer.livemode = sessions.livemode AND (newer.ends_at, newer.id) > (sessions.ends_at, sessions.id))`,
		bit(livemode))
	sessions, err := all(rows, err, scanSession)
	plans := make([]payment.Offer, len(sessions))
	for i, s := range sessions {
		plans[i] = s.Plan
	}
	return plans, err
}
