package ledger

import (
	"context"
	"errors"
)

// CertificateValue returns what the built-in HTTPS stored under a name, "" if there is nothing. The
// value may be a private key.
func (l *Ledger) CertificateValue(ctx context.Context, name string) (string, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT value FROM certificates WHERE name = $1`, name)
	value, err := one(rows, err, func(s scanner) (v string, err error) { return v, s.Scan(&v) })
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return value, err
}

// SetCertificateValue stores a value under a name. An empty value removes the name.
func (l *Ledger) SetCertificateValue(ctx context.Context, name, value string) error {
	return l.Update(ctx, func(tx *Tx) error {
		if value == "" {
			_, err := tx.exec(`DELETE FROM certificates WHERE name = $1`, name)
			return err
		}
		_, err := tx.exec(`INSERT INTO certificates (name, value, at) VALUES ($1, $2, $3)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value, at = excluded.at`, name, value, tx.Now.UnixMilli())
		return err
	})
}
