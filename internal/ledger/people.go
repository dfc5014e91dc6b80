package ledger

import (
	"context"
	"errors"
	"time"
)

// Person is a person who may use the console.
type Person struct {
	ID          string
	Name        string
	NameKey     string // the name in the form in which names are compared
	Role        string
	CreatedAt   time.Time
	DisabledAt  time.Time // zero: may sign in
	Password    string    // an Argon2id hash, "" for none
	TOTP        string    // the secret of the authenticator app, "" for none
	TOTPStep    int64     // the step of the last code that counted
	Invite      string    // a digest of the open invitation, "" for none
	InviteUntil time.Time
}

const personColumns = `id, name, name_key, role, created_at, disabled_at, password, totp, totp_step,
	coalesce(invite, ''), invite_until`

func scanPerson(s scanner) (p Person, err error) {
	err = s.Scan(&p.ID, &p.Name, &p.NameKey, &p.Role, instant{&p.CreatedAt}, instant{&p.DisabledAt}, &p.Password,
		&p.TOTP, &p.TOTPStep, &p.Invite, instant{&p.InviteUntil})
	return p, err
}

const (
	personByID     = `SELECT ` + personColumns + ` FROM people WHERE id = $1`
	personByName   = `SELECT ` + personColumns + ` FROM people WHERE name_key = $1`
	personByInvite = `SELECT ` + personColumns + ` FROM people WHERE invite = $1`
)

// ErrNameTaken is returned for a name that another person or token has, or had.
var ErrNameTaken = errors.New("this name is taken")

// People reads all people, by name.
func (l *Ledger) People(ctx context.Context) ([]Person, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+personColumns+` FROM people ORDER BY name_key`)
	return all(rows, err, scanPerson)
}

// Person reads a person, or returns ErrNotFound.
func (l *Ledger) Person(ctx context.Context, id string) (Person, error) {
	rows, err := l.reads.QueryContext(ctx, personByID, id)
	return one(rows, err, scanPerson)
}

// PersonNamed reads the person with a name in the form in which names are compared. It returns
// ErrNotFound if there is none.
func (l *Ledger) PersonNamed(ctx context.Context, key string) (Person, error) {
	rows, err := l.reads.QueryContext(ctx, personByName, key)
	return one(rows, err, scanPerson)
}

// PersonInvited reads the person with an open invitation, or returns ErrNotFound.
func (l *Ledger) PersonInvited(ctx context.Context, digest string) (Person, error) {
	rows, err := l.reads.QueryContext(ctx, personByInvite, digest)
	p, err := one(rows, err, scanPerson)
	if err == nil && (!p.DisabledAt.IsZero() || !l.Now().Before(p.InviteUntil)) {
		return Person{}, ErrNotFound
	}
	return p, err
}

// Person reads a person, or returns ErrNotFound.
func (tx *Tx) Person(id string) (Person, error) {
	rows, err := tx.db.query(personByID, id)
	return one(rows, err, scanPerson)
}

// AddPerson inserts a person. It returns ErrNameTaken if the name is.
func (tx *Tx) AddPerson(p Person) error {
	return tx.orTaken(tx.exec(`INSERT INTO people (id, name, name_key, role, created_at, password, totp, totp_step,
		invite, invite_until) VALUES ($1, $2, $3, $4, $5, '', '', 0, $6, $7) ON CONFLICT (name_key) DO NOTHING`,
		p.ID, p.Name, p.NameKey, p.Role, tx.Now.UnixMilli(), nullable(p.Invite), milliseconds(p.InviteUntil)))
}

func (*Tx) orTaken(inserted int64, err error) error {
	if err == nil && inserted == 0 {
		err = ErrNameTaken
	}
	return err
}

// ChangePerson writes all of a person but the name.
func (tx *Tx) ChangePerson(p Person) error {
	n, err := tx.exec(`UPDATE people SET role = $1, disabled_at = $2, password = $3, totp = $4, totp_step = $5,
		invite = $6, invite_until = $7 WHERE id = $8`,
		p.Role, milliseconds(p.DisabledAt), p.Password, p.TOTP, p.TOTPStep, nullable(p.Invite),
		milliseconds(p.InviteUntil), p.ID)
	if err == nil && n != 1 {
		err = ErrNotFound
	}
	return err
}

// UseTOTP records the step of a code, and reports whether it counts: no code of this step or a later one
// did before.
func (tx *Tx) UseTOTP(person string, step int64) (bool, error) {
	n, err := tx.exec(`UPDATE people SET totp_step = $1 WHERE id = $2 AND totp_step < $1`, step, person)
	return n == 1, err
}

// SetRecoveryCodes replaces the recovery codes of a person by those with these digests.
func (tx *Tx) SetRecoveryCodes(person string, digests []string) error {
	if _, err := tx.exec(`DELETE FROM recovery_codes WHERE person_id = $1`, person); err != nil {
		return err
	}
	for _, d := range digests {
		if err := tx.run(`INSERT INTO recovery_codes (person_id, digest) VALUES ($1, $2)`, person, d); err != nil {
			return err
		}
	}
	return nil
}

// UseRecoveryCode removes a recovery code, and reports whether the person had it.
func (tx *Tx) UseRecoveryCode(person, digest string) (bool, error) {
	n, err := tx.exec(`DELETE FROM recovery_codes WHERE person_id = $1 AND digest = $2`, person, digest)
	return n == 1, err
}

// RecoveryCodes returns how many recovery codes a person has left.
func (l *Ledger) RecoveryCodes(ctx context.Context, person string) (int, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT count(*) FROM recovery_codes WHERE person_id = $1`, person)
	return one(rows, err, func(s scanner) (n int, err error) { return n, s.Scan(&n) })
}

// Passkey is a passkey of a person.
type Passkey struct {
	ID        string // the browser's name for it, in base 64
	Person    string
	Name      string
	PublicKey string // in base 64
	Counter   int64
	Backup    bool // the device may copy it
	CreatedAt time.Time
	UsedAt    time.Time // zero: never
}

const passkeyColumns = `id, person_id, name, public_key, counter, backup, created_at, used_at`

func scanPasskey(s scanner) (k Passkey, err error) {
	err = s.Scan(&k.ID, &k.Person, &k.Name, &k.PublicKey, &k.Counter, flag{&k.Backup}, instant{&k.CreatedAt},
		instant{&k.UsedAt})
	return k, err
}

// Passkey reads a passkey, or returns ErrNotFound.
func (l *Ledger) Passkey(ctx context.Context, id string) (Passkey, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+passkeyColumns+` FROM passkeys WHERE id = $1`, id)
	return one(rows, err, scanPasskey)
}

// Passkeys reads the passkeys of a person, the oldest first.
func (l *Ledger) Passkeys(ctx context.Context, person string) ([]Passkey, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+passkeyColumns+` FROM passkeys WHERE person_id = $1
		ORDER BY created_at, id`, person)
	return all(rows, err, scanPasskey)
}

// PasskeysOf returns how many passkeys each person has.
func (l *Ledger) PasskeysOf(ctx context.Context) (map[string]int, error) {
	type count struct {
		person string
		keys   int
	}
	rows, err := l.reads.QueryContext(ctx, `SELECT person_id, count(*) FROM passkeys GROUP BY person_id`)
	list, err := all(rows, err, func(s scanner) (c count, err error) { return c, s.Scan(&c.person, &c.keys) })
	byPerson := map[string]int{}
	for _, c := range list {
		byPerson[c.person] = c.keys
	}
	return byPerson, err
}

// ErrPasskeyTaken is returned for a passkey that is registered already.
var ErrPasskeyTaken = errors.New("this passkey is registered already")

// AddPasskey inserts a passkey.
func (tx *Tx) AddPasskey(k Passkey) error {
	n, err := tx.exec(`INSERT INTO passkeys (`+passkeyColumns+`) VALUES (`+placeholders(passkeyColumns)+`)
		ON CONFLICT (id) DO NOTHING`,
		k.ID, k.Person, k.Name, k.PublicKey, k.Counter, bit(k.Backup), tx.Now.UnixMilli(), milliseconds(k.UsedAt))
	if err == nil && n == 0 {
		err = ErrPasskeyTaken
	}
	return err
}

// UsePasskey records a sign-in with a passkey whose counter was before. It reports false if another
// sign-in changed the counter meanwhile, or if the passkey was removed.
func (tx *Tx) UsePasskey(id string, before, counter int64) (bool, error) {
	n, err := tx.exec(`UPDATE passkeys SET counter = $1, used_at = $2 WHERE id = $3 AND counter = $4`,
		counter, tx.Now.UnixMilli(), id, before)
	return n == 1, err
}

// RemovePasskeys removes a passkey of a person, or all of them if id is "".
func (tx *Tx) RemovePasskeys(person, id string) (n int64, err error) {
	if id == "" {
		return tx.exec(`DELETE FROM passkeys WHERE person_id = $1`, person)
	}
	return tx.exec(`DELETE FROM passkeys WHERE person_id = $1 AND id = $2`, person, id)
}
