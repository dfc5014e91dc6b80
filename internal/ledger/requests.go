package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// RequestsKept is how long an answer is kept, and so how long repeats of a request have no effect.
const RequestsKept = 24 * time.Hour

// ErrOtherRequest is returned by BeginRequest for an id that another request has used.
var ErrOtherRequest = errors.New("this key was used for another request")

// BeginRequest stores a request under its idempotency key, in the transaction that executes it. If
// the transaction fails, the key is free again. For a key used within RequestsKept it returns
// repeated and the stored answer. It returns ErrOtherRequest if the key belongs to another request.
func (tx *Tx) BeginRequest(id, request string) (answer string, repeated bool, err error) {
	old := tx.Now.Add(-RequestsKept).UnixMilli()
	err = tx.run(oldest("requests", "id", "at", pruneBatch), old+1)
	if err == nil { // the key may be old, and not in the batch
		err = tx.run(`DELETE FROM requests WHERE id = $1 AND at <= $2`, id, old)
	}
	if err != nil {
		return "", false, fmt.Errorf("forget old requests: %w", err)
	}
	n, err := tx.exec(`INSERT INTO requests (id, request, answer, at) VALUES ($1, $2, '', $3)
		ON CONFLICT (id) DO NOTHING`, id, request, tx.Now.UnixMilli())
	if err != nil || n == 1 {
		return "", false, err
	}
	type row struct{ request, answer string }
	rows, err := tx.db.query(`SELECT request, answer FROM requests WHERE id = $1`, id)
	first, err := one(rows, err, func(s scanner) (r row, err error) { return r, s.Scan(&r.request, &r.answer) })
	if err == nil && first.request != request {
		err = ErrOtherRequest
	}
	return first.answer, true, err
}

// HasRequest reports whether a request with this key was executed within RequestsKept.
func (l *Ledger) HasRequest(ctx context.Context, id string) (bool, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT at FROM requests WHERE id = $1 AND at > $2`,
		id, l.Now().Add(-RequestsKept).UnixMilli())
	return Found(errOnly(one(rows, err, scanInstant)))
}

// AnswerRequest stores the answer of a request that began in this transaction.
func (tx *Tx) AnswerRequest(id, answer string) error {
	n, err := tx.exec(`UPDATE requests SET answer = $1 WHERE id = $2`, answer, id)
	if err == nil && n != 1 {
		err = fmt.Errorf("answer request: %w", ErrNotFound)
	}
	return err
}
