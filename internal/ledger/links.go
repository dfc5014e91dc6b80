package ledger

import (
	"context"
	"time"

	"notepay/internal/payment"
)

// Link is the Payment Link of one device and one price, with the terms of the sale.
type Link struct {
	ID        string
	Livemode  bool
	DeviceUID string
	URL       string
	ReturnURL string
	Active    bool
	Plan      payment.Offer
	Manual    bool   // the payment is authorized first and captured later
	Closed    string // why the link cannot be paid although notepay has not deactivated it; "" if it can
	Limited   bool   // the link has a maximum number of payments; read from Stripe, not stored

	// SignedBy is the process that last signed the link, as read from Stripe. It is "" until this
	// process has read it, and Unsigned if no process has signed the link. It is not stored.
	SignedBy string
}

const linkColumns = `id, livemode, device_uid, price_id, url, return_url, active, manual, plan, amount, currency,
	duration_s, delayed_start_s, description, image, access_code, currency_options, closed`

var saveLink = `INSERT INTO links (` + linkColumns + `) VALUES (` + placeholders(linkColumns) + `)
	ON CONFLICT (id) DO UPDATE SET return_url = excluded.return_url, active = excluded.active, closed = excluded.closed`

func scanLink(s scanner) (l Link, err error) {
	err = s.Scan(
		&l.ID,
		flag{&l.Livemode},
		&l.DeviceUID,
		&l.Plan.PriceID,
		&l.URL,
		&l.ReturnURL,
		flag{&l.Active},
		flag{&l.Manual},
		&l.Plan.Name,
		&l.Plan.Amount,
		&l.Plan.Currency,
		seconds{&l.Plan.Duration},
		seconds{&l.Plan.DelayedStart},
		&l.Plan.Description,
		&l.Plan.Image,
		flag{&l.Plan.AccessCode},
		&l.Plan.CurrencyOptions,
		&l.Closed,
	)
	return l, err
}

// SaveLink inserts a link or updates its state. The terms of the sale stay as first stored.
func (tx *Tx) SaveLink(l Link) error {
	_, err := tx.exec(
		saveLink,
		l.ID,
		bit(l.Livemode),
		l.DeviceUID,
		l.Plan.PriceID,
		l.URL,
		l.ReturnURL,
		bit(l.Active),
		bit(l.Manual),
		l.Plan.Name,
		l.Plan.Amount,
		l.Plan.Currency,
		int64(l.Plan.Duration/time.Second),
		int64(l.Plan.DelayedStart/time.Second),
		l.Plan.Description,
		l.Plan.Image,
		bit(l.Plan.AccessCode),
		l.Plan.CurrencyOptions,
		l.Closed,
	)
	return err
}

// Link reads a link by its id, or returns ErrNotFound.
func (tx *Tx) Link(id string) (Link, error) {
	rows, err := tx.db.query(`SELECT `+linkColumns+` FROM links WHERE id = $1`, id)
	return one(rows, err, scanLink)
}

// Links reads all links of live mode or test mode, including deactivated ones.
func (l *Ledger) Links(ctx context.Context, livemode bool) ([]Link, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+linkColumns+` FROM links WHERE livemode = $1`, bit(livemode))
	return all(rows, err, scanLink)
}
