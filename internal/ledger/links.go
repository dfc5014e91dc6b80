package ledger

import (
	"context"
	"hash/fnv"
	"strconv"
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

	// TextSum is SumText of the text beside the button on Stripe's page, as this installation last set
	// it. It is 0 if that is unknown. It is never read from Stripe, which may spell the text otherwise.
	TextSum int64

	// PromotionCodes reports whether Stripe's page takes promotion codes.
	PromotionCodes bool

	// SignedBy is the process that last signed the link, as read from Stripe. It is "" until this
	// process has read it, and Unsigned if no process has signed the link. It is not stored.
	SignedBy string
}

// SumText returns a number that tells texts apart, and 0 for "".
func SumText(text string) int64 {
	if text == "" {
		return 0
	}
	sum := fnv.New64a()
	sum.Write([]byte(text))
	return int64(sum.Sum64() | 1)
}

const linkColumns = `id, livemode, device_uid, price_id, url, return_url, active, manual, plan, amount, currency,
	duration_s, delayed_start_s, description, image, access_code, currency_options, closed,
	pulses, output, text_sum, promotion_codes`

var saveLink = `INSERT INTO links (` + linkColumns + `) VALUES (` + placeholders(linkColumns) + `)
	ON CONFLICT (id) DO UPDATE SET url = excluded.url, return_url = excluded.return_url, active = excluded.active,
	closed = excluded.closed, text_sum = excluded.text_sum, promotion_codes = excluded.promotion_codes`

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
		&l.Plan.Pulses,
		&l.Plan.Output,
		&l.TextSum,
		flag{&l.PromotionCodes},
	)
	return l, err
}

// SaveLink inserts a link or updates its state. The terms of the sale stay as first stored.
func (tx *Tx) SaveLink(l Link) error {
	if err := tx.Changed(ChangedDevice, l.DeviceUID); err != nil {
		return err
	}
	return tx.run(
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
		l.Plan.Pulses,
		l.Plan.Output,
		l.TextSum,
		bit(l.PromotionCodes),
	)
}

// Terms reads which device a link is of, what it sells, and whether its payments are authorized first.
// None of them changes. It returns ErrNotFound if the link is unknown.
func (tx *Tx) Terms(link string) (device string, offer payment.Offer, manual bool, err error) {
	if tx.memory != nil {
		if l, ok := tx.memory.links[link]; ok {
			return l.DeviceUID, l.Plan, l.Manual, nil
		}
	}
	l, err := tx.Link(link)
	if err == nil {
		tx.memory.learned(l)
	}
	return l.DeviceUID, l.Plan, l.Manual, err
}

// Link reads a link by its id, or returns ErrNotFound.
func (tx *Tx) Link(id string) (Link, error) {
	rows, err := tx.db.query(`SELECT `+linkColumns+` FROM links WHERE id = $1`, id)
	return one(rows, err, scanLink)
}

// Link reads a link by its id, or returns ErrNotFound.
func (l *Ledger) Link(ctx context.Context, id string) (Link, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+linkColumns+` FROM links WHERE id = $1`, id)
	return one(rows, err, scanLink)
}

// Links reads all links of live mode or test mode, including deactivated ones.
func (l *Ledger) Links(ctx context.Context, livemode bool) ([]Link, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+linkColumns+` FROM links WHERE livemode = $1`, bit(livemode))
	return all(rows, err, scanLink)
}

// LinksOf reads the links of up to some hundred devices.
func (l *Ledger) LinksOf(ctx context.Context, livemode bool, uids []string) ([]Link, error) {
	args := append(anys(uids), bit(livemode))
	rows, err := l.reads.QueryContext(ctx, `SELECT `+linkColumns+` FROM links
		WHERE device_uid IN (`+numbered(len(uids))+`) AND livemode = $`+strconv.Itoa(len(args)), args...)
	return all(rows, err, scanLink)
}
