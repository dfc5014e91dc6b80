package ledger

import (
	"context"
	"time"
)

// OperatorSession is a sign-in at the console. Its id is a digest of the cookie and of OPERATOR_TOKEN,
// so another token ends all of them.
type OperatorSession struct {
	ID      string
	Person  string // the id of the person, "" for OPERATOR_TOKEN
	Since   time.Time
	Until   time.Time
	SeenAt  time.Time
	Address string
	Browser string
	Way     string // how the person signed in: "token", "password", "recovery" or "passkey"
}

// SignedIn is a session with its person, whose fields are empty for OPERATOR_TOKEN.
type SignedIn struct {
	OperatorSession
	Name, Role string
	DisabledAt time.Time
}

const signedInColumns = `s.id, coalesce(s.person_id, ''), s.since, s.until, s.seen_at, s.address, s.browser, s.way`

// OperatorSession reads a session that has not ended, or returns ErrNotFound.
func (l *Ledger) OperatorSession(ctx context.Context, id string) (SignedIn, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+signedInColumns+`, coalesce(p.name, ''), coalesce(p.role, ''),
		p.disabled_at FROM operator_sessions s LEFT JOIN people p ON p.id = s.person_id
		WHERE s.id = $1 AND s.until > $2`, id, l.Now().UnixMilli())
	return one(rows, err, func(row scanner) (s SignedIn, err error) {
		err = row.Scan(&s.ID, &s.Person, instant{&s.Since}, instant{&s.Until}, instant{&s.SeenAt}, &s.Address,
			&s.Browser, &s.Way, &s.Name, &s.Role, instant{&s.DisabledAt})
		return s, err
	})
}

// maxOperatorSessions bounds the list of sessions.
const maxOperatorSessions = 500

// OperatorSessions reads the sessions that have not ended, the last used first.
func (l *Ledger) OperatorSessions(ctx context.Context) ([]OperatorSession, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+signedInColumns+` FROM operator_sessions s WHERE s.until > $1
		ORDER BY s.seen_at DESC LIMIT $2 + 0`, l.Now().UnixMilli(), maxOperatorSessions)
	return all(rows, err, func(row scanner) (s OperatorSession, err error) {
		err = row.Scan(&s.ID, &s.Person, instant{&s.Since}, instant{&s.Until}, instant{&s.SeenAt}, &s.Address,
			&s.Browser, &s.Way)
		return s, err
	})
}

// maxOfPerson bounds the sessions of a person. A new one replaces the oldest.
const maxOfPerson = 50

// AddOperatorSession stores a session, and deletes those that have ended.
func (tx *Tx) AddOperatorSession(s OperatorSession) error {
	if err := tx.run(`DELETE FROM operator_sessions WHERE until <= $1`, tx.Now.UnixMilli()); err != nil {
		return err
	}
	of, args := `person_id IS NULL`, []any{maxOfPerson - 1}
	if s.Person != "" {
		of, args = `person_id = $2`, append(args, s.Person)
	}
	err := tx.run(`DELETE FROM operator_sessions WHERE `+of+` AND id NOT IN
		(SELECT id FROM operator_sessions WHERE `+of+` ORDER BY since DESC, id LIMIT $1 + 0)`, args...)
	if err != nil {
		return err
	}
	return tx.run(`INSERT INTO operator_sessions (id, person_id, since, until, seen_at, address, browser, way)
		VALUES ($1, $2, $3, $4, $3, $5, $6, $7)`,
		s.ID, nullable(s.Person), tx.Now.UnixMilli(), s.Until.UnixMilli(), s.Address, s.Browser, s.Way)
}

// SeeOperatorSession records that a session was used.
func (tx *Tx) SeeOperatorSession(id string) error {
	return tx.run(`UPDATE operator_sessions SET seen_at = $1 WHERE id = $2`, tx.Now.UnixMilli(), id)
}

// EndOperatorSession ends a session of a person, or of OPERATOR_TOKEN if person is "". It reports
// whether there was one.
func (tx *Tx) EndOperatorSession(person, id string) (bool, error) {
	n, err := tx.exec(`DELETE FROM operator_sessions WHERE id = $1 AND coalesce(person_id, '') = $2`, id, person)
	return n == 1, err
}

// EndOperatorSessions ends all sessions of a person but one, or of OPERATOR_TOKEN if person is "". It
// returns how many there were.
func (tx *Tx) EndOperatorSessions(person, but string) (int64, error) {
	if person == "" {
		return tx.exec(`DELETE FROM operator_sessions WHERE person_id IS NULL AND id <> $1`, but)
	}
	return tx.exec(`DELETE FROM operator_sessions WHERE person_id = $1 AND id <> $2`, person, but)
}

// TakeAttempt counts an attempt to sign in. Up to burst attempts are free, and one more becomes free
// after each interval. It returns 0, or the wait until the next one, which then is not counted. Instances
// that share the ledger count together.
func (tx *Tx) TakeAttempt(id string, interval time.Duration, burst int) (wait time.Duration, err error) {
	err = tx.run(oldest("sign_in_attempts", "id", "until", pruneBatch), tx.Now.UnixMilli()+1)
	if err != nil {
		return 0, err
	}
	rows, err := tx.db.query(`SELECT until FROM sign_in_attempts WHERE id = $1`, id)
	until, err := one(rows, err, scanInstant)
	if _, err := Found(err); err != nil {
		return 0, err
	}
	if until.Before(tx.Now) {
		until = tx.Now
	}
	until = until.Add(interval)
	if wait := until.Sub(tx.Now) - time.Duration(burst)*interval; wait > 0 {
		return wait, nil
	}
	return 0, tx.run(`INSERT INTO sign_in_attempts (id, until) VALUES ($1, $2)
		ON CONFLICT (id) DO UPDATE SET until = excluded.until`, id, until.UnixMilli())
}

// ForgetAttempts frees all attempts of an id.
func (tx *Tx) ForgetAttempts(id string) error {
	return tx.run(`DELETE FROM sign_in_attempts WHERE id = $1`, id)
}
