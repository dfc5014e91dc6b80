package ledger

import (
	"context"
	"slices"
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
	Browser   string // the name of the buyer's browser; "" if the session has ended
	URL       string // of its payment page; "" if the session has ended
	State     SessionState
}

// SessionState says whether a session may be paid.
type SessionState int64

// The states of a session, as they are stored. A browser has one that is SessionOpen for each device
// and price.
const (
	SessionOpen     SessionState = iota
	SessionReplaced              // its browser has another one, so it has to be expired
	SessionEnded                 // it was paid or has expired
)

const sessionColumns = `id, livemode, device_uid, manual, ends_at, price_id, plan, amount, currency, duration_s,
	delayed_start_s, description, image, access_code, currency_options, pulses, output, browser, url, ending`

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
		&x.Plan.Pulses,
		&x.Plan.Output,
		&x.Browser,
		&x.URL,
		&x.State,
	)
	return x, err
}

// SessionsKept is how long a session is stored after its end. Stripe lists events for 30 days, and
// an event may report only then that the session was paid.
const SessionsKept = 31 * 24 * time.Hour

// AddSession stores a session before the customer gets its URL. It deletes a batch of the sessions that
// ended more than SessionsKept ago.
func (tx *Tx) AddSession(s Session) error {
	err := tx.run(oldest("sessions", "id", "ends_at", pruneBatch), tx.Now.Add(-SessionsKept).UnixMilli())
	if err != nil {
		return err
	}
	return tx.run(
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
		s.Plan.Pulses,
		s.Plan.Output,
		s.Browser,
		s.URL,
		int64(s.State),
	)
}

// buyerSession selects the open session of a browser for a device and a price.
const buyerSession = `SELECT ` + sessionColumns + ` FROM sessions
	WHERE browser = $1 AND device_uid = $2 AND price_id = $3 AND ending = 0 AND browser <> ''`

// BuyerSession reads the open session of a browser for a device and a price, or returns ErrNotFound.
func (l *Ledger) BuyerSession(ctx context.Context, browser, device, price string) (Session, error) {
	rows, err := l.reads.QueryContext(ctx, buyerSession, browser, device, price)
	return one(rows, err, scanSession)
}

// BuyerSession does the same within the transaction.
func (tx *Tx) BuyerSession(browser, device, price string) (Session, error) {
	rows, err := tx.db.query(buyerSession, browser, device, price)
	return one(rows, err, scanSession)
}

// ReplaceSession makes room for another open session of the same buyer.
func (tx *Tx) ReplaceSession(id string) error {
	return tx.run(`UPDATE sessions SET ending = 1 WHERE id = $1 AND ending = 0`, id)
}

// EndSession records that a session can be paid no more, and forgets its buyer.
func (tx *Tx) EndSession(id string) error {
	return tx.run(`UPDATE sessions SET ending = 2, browser = '', url = '' WHERE id = $1`, id)
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

// OpenSessions reads the sessions of live mode or test mode that end after now, have no payment and are
// not SessionEnded.
func (l *Ledger) OpenSessions(ctx context.Context, livemode bool, now time.Time) ([]Session, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+sessionColumns+` FROM sessions
		WHERE ends_at > $1 AND livemode = $2 AND ending <> 2`, now.UnixMilli(), bit(livemode))
	open, err := all(rows, err, scanSession)
	if err != nil {
		return nil, err
	}
	// Only this program knows which credit is of which session.
	paid := map[string]bool{}
	for some := range slices.Chunk(open, 500) {
		ids := make([]any, len(some))
		for i, s := range some {
			ids[i] = payment.CreditID(s.ID)
		}
		rows, err := l.reads.QueryContext(ctx,
			`SELECT id FROM payments WHERE id IN (`+numbered(len(ids))+`)`, ids...)
		known, err := all(rows, err, func(s scanner) (id string, err error) { return id, s.Scan(&id) })
		if err != nil {
			return nil, err
		}
		for _, id := range known {
			paid[id] = true
		}
	}
	return slices.DeleteFunc(open, func(s Session) bool { return paid[payment.CreditID(s.ID)] }), nil
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
