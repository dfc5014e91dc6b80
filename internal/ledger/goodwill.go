package ledger

import (
	"context"
	"time"
)

// GoodwillCode is a code with which a customer starts a machine once for free. Exactly one of
// DeviceUID and Site is set.
type GoodwillCode struct {
	Digest    string // of the code, which is not kept
	DeviceUID string
	Site      string // the UID of a fleet: the code starts any of its machines
	PriceID   string // what it starts, "" for the machine's first program
	PaymentID string // the payment that it makes up for, "" for none
	By        string
	Reason    string
	CreatedAt time.Time
	ExpiresAt time.Time
	CreditID  string // its last free start, "" if it was not used
	UsedAt    time.Time
}

const goodwillColumns = `digest, device_uid, site, price_id, payment_id, created_by, reason, created_at, expires_at,
	credit_id, used_at`

func scanGoodwillCode(s scanner) (c GoodwillCode, err error) {
	err = s.Scan(&c.Digest, &c.DeviceUID, &c.Site, &c.PriceID, &c.PaymentID, &c.By, &c.Reason, instant{&c.CreatedAt},
		instant{&c.ExpiresAt}, &c.CreditID, instant{&c.UsedAt})
	return c, err
}

// AddGoodwillCode stores a new code.
func (tx *Tx) AddGoodwillCode(c GoodwillCode) error {
	return tx.run(`INSERT INTO goodwill_codes (digest, device_uid, site, price_id, payment_id, created_by, reason,
		created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		c.Digest, c.DeviceUID, c.Site, c.PriceID, c.PaymentID, c.By, c.Reason, c.CreatedAt.UnixMilli(),
		c.ExpiresAt.UnixMilli())
}

const goodwillCodeOf = `SELECT ` + goodwillColumns + ` FROM goodwill_codes WHERE digest = $1`

// GoodwillCode reads a code by its digest, or returns ErrNotFound.
func (tx *Tx) GoodwillCode(digest string) (GoodwillCode, error) {
	rows, err := tx.db.query(goodwillCodeOf, digest)
	return one(rows, err, scanGoodwillCode)
}

// GoodwillCode reads a code by its digest, or returns ErrNotFound.
func (l *Ledger) GoodwillCode(ctx context.Context, digest string) (GoodwillCode, error) {
	rows, err := l.reads.QueryContext(ctx, goodwillCodeOf, digest)
	return one(rows, err, scanGoodwillCode)
}

// UseGoodwillCode records the free start of a code. It returns ErrNotFound if the code has expired, or
// if it was used since c was read, also by another instance.
func (tx *Tx) UseGoodwillCode(c GoodwillCode, credit string) error {
	n, err := tx.exec(`UPDATE goodwill_codes SET credit_id = $1, used_at = $2
		WHERE digest = $3 AND credit_id = $4 AND expires_at > $5`,
		credit, tx.Now.UnixMilli(), c.Digest, c.CreditID, tx.Now.UnixMilli())
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}

// WithdrawGoodwillCode ends the validity of a code. It returns ErrNotFound if that has ended.
func (tx *Tx) WithdrawGoodwillCode(digest string) error {
	n, err := tx.exec(`UPDATE goodwill_codes SET expires_at = $1 WHERE digest = $2 AND expires_at > $3`,
		tx.Now.UnixMilli(), digest, tx.Now.UnixMilli())
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}

// OpenGoodwillCodes reads the codes that have not expired at now, and that may still start a machine:
// those that were not used, or whose free start failed.
func (l *Ledger) OpenGoodwillCodes(ctx context.Context, now time.Time) ([]GoodwillCode, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+goodwillColumns+` FROM goodwill_codes WHERE expires_at > $1
		AND (credit_id = '' OR credit_id IN (SELECT id FROM payments WHERE machine = 'failed'))`, now.UnixMilli())
	return all(rows, err, scanGoodwillCode)
}

// GoodwillCodesOf reads the codes that make up for a payment, oldest first.
func (l *Ledger) GoodwillCodesOf(ctx context.Context, payment string) ([]GoodwillCode, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+goodwillColumns+` FROM goodwill_codes
		WHERE payment_id <> '' AND payment_id = $1 ORDER BY created_at, digest`, payment)
	return all(rows, err, scanGoodwillCode)
}
