package ledger

import (
	"context"
	"time"
)

// APIToken is a named token of a program.
type APIToken struct {
	ID        string
	Name      string
	NameKey   string
	Digest    string
	Role      string
	CreatedAt time.Time
	CreatedBy string
	UsedAt    time.Time // zero: never
	RevokedAt time.Time // zero: valid
}

const tokenColumns = `id, name, name_key, digest, role, created_at, created_by, used_at, revoked_at`

func scanToken(s scanner) (t APIToken, err error) {
	err = s.Scan(&t.ID, &t.Name, &t.NameKey, &t.Digest, &t.Role, instant{&t.CreatedAt}, &t.CreatedBy,
		instant{&t.UsedAt}, instant{&t.RevokedAt})
	return t, err
}

// APITokens reads all tokens, by name.
func (l *Ledger) APITokens(ctx context.Context) ([]APIToken, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+tokenColumns+` FROM api_tokens ORDER BY name_key`)
	return all(rows, err, scanToken)
}

// APIToken reads a valid token by its digest, or returns ErrNotFound.
func (l *Ledger) APIToken(ctx context.Context, digest string) (APIToken, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+tokenColumns+` FROM api_tokens
		WHERE digest = $1 AND revoked_at IS NULL`, digest)
	return one(rows, err, scanToken)
}

// AddAPIToken inserts a token. It returns ErrNameTaken if the name is, also by a revoked one, so that a
// name in the audit is one token's.
func (tx *Tx) AddAPIToken(t APIToken) error {
	return tx.orTaken(tx.exec(`INSERT INTO api_tokens (id, name, name_key, digest, role, created_at, created_by)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name_key) DO NOTHING`,
		t.ID, t.Name, t.NameKey, t.Digest, t.Role, tx.Now.UnixMilli(), t.CreatedBy))
}

// UseAPIToken records that a token was used.
func (tx *Tx) UseAPIToken(id string) error {
	return tx.run(`UPDATE api_tokens SET used_at = $1 WHERE id = $2`, tx.Now.UnixMilli(), id)
}

// RevokeAPIToken revokes a token and returns it. It returns ErrNotFound if it is unknown or revoked.
func (tx *Tx) RevokeAPIToken(id string) (APIToken, error) {
	n, err := tx.exec(`UPDATE api_tokens SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL`,
		tx.Now.UnixMilli(), id)
	if err == nil && n != 1 {
		err = ErrNotFound
	}
	if err != nil {
		return APIToken{}, err
	}
	rows, err := tx.db.query(`SELECT `+tokenColumns+` FROM api_tokens WHERE id = $1`, id)
	return one(rows, err, scanToken)
}
