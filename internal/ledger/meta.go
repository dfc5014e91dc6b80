package ledger

import (
	"context"
	"errors"
	"time"
)

// SetCursor stores the position of a reader.
func (tx *Tx) SetCursor(name, value string) error {
	return tx.run(`INSERT INTO cursors (name, value) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, value)
}

// Cursor returns the position of a reader, "" if there is none yet.
func (l *Ledger) Cursor(ctx context.Context, name string) (string, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT value FROM cursors WHERE name = $1`, name)
	value, err := one(rows, err, func(s scanner) (v string, err error) { return v, s.Scan(&v) })
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return value, err
}

// Meta reads a named time, or returns ErrNotFound.
func (l *Ledger) Meta(ctx context.Context, name string) (time.Time, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT value FROM facts WHERE name = $1`, name)
	return one(rows, err, scanInstant)
}

// SetMeta stores a named time.
func (tx *Tx) SetMeta(name string, t time.Time) error {
	return tx.run(`INSERT INTO facts (name, value) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, t.UnixMilli())
}

// SetMetaOnce stores a named time unless it exists.
func (tx *Tx) SetMetaOnce(name string, t time.Time) error {
	return tx.run(`INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`,
		name, t.UnixMilli())
}

// Meta reads a named time, or returns ErrNotFound.
func (tx *Tx) Meta(name string) (time.Time, error) {
	rows, err := tx.db.query(`SELECT value FROM facts WHERE name = $1`, name)
	return one(rows, err, scanInstant)
}

func scanInstant(s scanner) (t time.Time, err error) {
	err = s.Scan(instant{&t})
	return t, err
}
