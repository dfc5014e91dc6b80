package ledger

import (
	"context"
	"time"
)

// The operator's sign-ins are stored only if instances share the ledger, so that each accepts them. id
// is a digest of the cookie and of the operator's token, so another token ends all of them.

// AddSignIn stores a sign-in, and deletes those that have ended.
func (tx *Tx) AddSignIn(id string, until time.Time) error {
	if err := tx.run(`DELETE FROM sign_ins WHERE until < $1`, tx.Now.UnixMilli()); err != nil {
		return err
	}
	return tx.run(`INSERT INTO sign_ins (id, until) VALUES ($1, $2)`, id, until.UnixMilli())
}

// RemoveSignIn ends a sign-in.
func (tx *Tx) RemoveSignIn(id string) error { return tx.run(`DELETE FROM sign_ins WHERE id = $1`, id) }

// SignIn returns when a sign-in ends, or ErrNotFound.
func (l *Ledger) SignIn(ctx context.Context, id string) (until time.Time, err error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT until FROM sign_ins WHERE id = $1`, id)
	return one(rows, err, scanInstant)
}
