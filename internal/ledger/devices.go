package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Device is a Notecard as Notehub last listed it.
type Device struct {
	UID          string // in the form in which UIDs are compared, see package uid
	Spelled      string // as Notehub spells it, "" if that is the same
	Name         string
	Fleets       []string
	Disabled     bool
	LastActivity time.Time // zero: never

	// Problem says what of Notehub's record cannot be read or sold, for the operator; "": nothing. It is not stored.
	Problem string
	// Unreadable reports that the record cannot tell whether and how the device sells. It is not stored.
	Unreadable bool
}

// Variables are Notehub's environment variables as they are set at one level.
type Variables struct {
	Owner  string // "project", or the uid of a fleet or device
	Values map[string]string
	ReadAt time.Time
}

// Pause takes a device out of sale.
type Pause struct {
	DeviceUID string
	Reason    string
	By        string
	At        time.Time
	Automatic bool // ends by itself when the device is heard from again
}

// Audit is one thing that somebody changed, or that changed by itself in somebody's stead.
type Audit struct {
	ID      string // given by AddAudit; grows with time
	At      time.Time
	Who     string
	What    string // "pause", "resume", ...
	Subject string // a device's uid, a credit's id
	Why     string
	Before  string
	After   string

	Amount   int64  // of money that it was about, minor currency units; 0: about none
	Currency string // of Amount, and of what Before and After say; "" for what is about no payment
}

// Plan is what a device sells: one Stripe Price.
type Plan struct {
	PriceID      string
	Name         string
	Description  string
	Image        string // URL, "" if there is none
	Amount       int64  // minor currency units
	Currency     string
	Duration     time.Duration
	DelayedStart time.Duration
	AccessCode   bool // the machine is a door or a locker: the payer gets a code for it

	CurrencyOptions string // amounts in other currencies, such as "gbp=300,usd=400"; "" if there are none
}

// Link is the Payment Link of one device and plan, as sold.
type Link struct {
	ID        string
	Livemode  bool
	DeviceUID string
	URL       string
	ReturnURL string
	Active    bool
	Plan      Plan
	Manual    bool   // it holds the money until it is captured
	Closed    string // why nobody can pay through it although we did not deactivate it; "" if that is not so
	Limited   bool   // Stripe ends it after some payments; as last read from Stripe, not stored

	// SignedBy is the process that signed the link last, as last read from Stripe. It is not stored:
	// "" if this process has not read it, Unsigned if no process has signed the link.
	SignedBy string
}

// Unsigned is the SignedBy of a link that carries no signature.
const Unsigned = "-"

// SaveDevice stores a device as it was listed.
func (tx *Tx) SaveDevice(d Device) error {
	fleets, err := json.Marshal(d.Fleets)
	if err != nil {
		return err
	}
	_, err = tx.exec(
		`INSERT INTO devices (uid, name, fleets, disabled, last_activity, spelled) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (uid) DO UPDATE SET spelled = excluded.spelled, name = excluded.name, fleets = excluded.fleets, disabled = excluded.disabled, last_activity = excluded.last_activity`,
		d.UID,
		d.Name,
		string(fleets),
		bit(d.Disabled),
		milliseconds(d.LastActivity),
		d.Spelled,
	)
	return err
}

// RemoveDevice forgets a device that a complete listing no longer holds, and its variables. Its pause stays.
func (tx *Tx) RemoveDevice(uid string) error {
	if err := tx.RemoveVariables(uid); err != nil {
		return err
	}
	_, err := tx.exec(`DELETE FROM devices WHERE uid = $1`, uid)
	return err
}

// Devices reads all devices.
func (l *Ledger) Devices(ctx context.Context) ([]Device, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT uid, name, fleets, disabled, last_activity, spelled FROM devices`)
	return all(rows, err, func(s scanner) (d Device, err error) {
		var fleets string
		if err := s.Scan(&d.UID, &d.Name, &fleets, flag{&d.Disabled}, instant{&d.LastActivity}, &d.Spelled); err != nil {
			return d, err
		}
		return d, json.Unmarshal([]byte(fleets), &d.Fleets)
	})
}

// Variables.

// SaveVariables stores the variables of an owner in place of those that were stored.
func (tx *Tx) SaveVariables(v Variables) error {
	values, err := json.Marshal(v.Values)
	if err != nil {
		return err
	}
	_, err = tx.exec(`INSERT INTO variables (owner, value, read_at) VALUES ($1, $2, $3)
		ON CONFLICT (owner) DO UPDATE SET value = excluded.value, read_at = excluded.read_at`, v.Owner, string(values), v.ReadAt.UnixMilli())
	return err
}

// RemoveVariables forgets the variables of an owner.
func (tx *Tx) RemoveVariables(owner string) error {
	_, err := tx.exec(`DELETE FROM variables WHERE owner = $1`, owner)
	return err
}

// Variables reads the variables of all owners.
func (l *Ledger) Variables(ctx context.Context) ([]Variables, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT owner, value, read_at FROM variables`)
	return all(rows, err, func(s scanner) (v Variables, err error) {
		var values string
		if err := s.Scan(&v.Owner, &values, instant{&v.ReadAt}); err != nil {
			return v, err
		}
		return v, json.Unmarshal([]byte(values), &v.Values)
	})
}

// Pauses and the audit.

const pauseColumns = `device_uid, reason, by, at, automatic`

func scanPause(s scanner) (p Pause, err error) {
	err = s.Scan(&p.DeviceUID, &p.Reason, &p.By, instant{&p.At}, flag{&p.Automatic})
	return p, err
}

// Pause stores a pause in place of the one that the device may have.
func (tx *Tx) Pause(p Pause) error {
	_, err := tx.exec(`INSERT INTO pauses (`+pauseColumns+`) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (device_uid) DO UPDATE SET reason = excluded.reason, by = excluded.by, at = excluded.at, automatic = excluded.automatic`,
		p.DeviceUID, p.Reason, p.By, p.At.UnixMilli(), bit(p.Automatic))
	return err
}

// Resume ends the pause of a device, if it has one.
func (tx *Tx) Resume(uid string) error {
	_, err := tx.exec(`DELETE FROM pauses WHERE device_uid = $1`, uid)
	return err
}

// LastAudit is when something was last done to a subject; zero for never.
func (tx *Tx) LastAudit(subject, what string) (time.Time, error) {
	rows, err := tx.db.query(`SELECT max(at) FROM audit WHERE subject = $1 AND what = $2`, subject, what)
	return one(rows, err, scanInstant)
}

const pauseOf = `SELECT ` + pauseColumns + ` FROM pauses WHERE device_uid = $1`

// PauseOf reads the pause of a device, or returns ErrNotFound.
func (l *Ledger) PauseOf(ctx context.Context, uid string) (Pause, error) {
	rows, err := l.reads.QueryContext(ctx, pauseOf, uid)
	return one(rows, err, scanPause)
}

// PauseOf reads the pause of a device, or returns ErrNotFound.
func (tx *Tx) PauseOf(uid string) (Pause, error) {
	rows, err := tx.db.query(pauseOf, uid)
	return one(rows, err, scanPause)
}

// Pauses reads all pauses, also those of devices that were removed.
func (l *Ledger) Pauses(ctx context.Context) ([]Pause, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+pauseColumns+` FROM pauses`)
	return all(rows, err, scanPause)
}

// AddAudit records a change, at tx.Now unless it has a time.
func (tx *Tx) AddAudit(a Audit) error {
	if a.At.IsZero() {
		a.At = tx.Now
	}
	at := a.At.UnixMilli()
	moment := fmt.Sprintf("%013d", at)
	rows, err := tx.db.query(`SELECT count(*) FROM audit WHERE id > $1 AND id < $2`, moment, moment+"~")
	before, err := one(rows, err, func(s scanner) (n int, err error) { return n, s.Scan(&n) })
	if err != nil {
		return err
	}
	_, err = tx.exec(`INSERT INTO audit (id, at, who, what, subject, why, before, after, amount, currency)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		fmt.Sprintf("%s-%06d", moment, before), at, a.Who, a.What, a.Subject, a.Why, a.Before, a.After,
		amountOrNull(a.Amount), a.Currency)
	return err
}

func amountOrNull(amount int64) any {
	if amount == 0 {
		return nil
	}
	return amount
}

// Audits lists what was changed, newest first, and the cursor of the next page, "" after the last.
// An empty subject means all; limit is at least 1.
func (l *Ledger) Audits(
	ctx context.Context,
	subject string,
	limit int,
	cursor string,
) (list []Audit, next string, err error) {
	if cursor == "" {
		cursor = "9" // above every id
	}
	query := `SELECT id, at, who, what, subject, why, before, after, coalesce(amount, 0), currency FROM audit
		WHERE id < $1`
	args := []any{cursor, limit + 1} // one more tells whether there is a next page
	if subject != "" {
		query += ` AND subject = $3`
		args = append(args, subject)
	}
	rows, err := l.reads.QueryContext(ctx, query+` ORDER BY id DESC LIMIT $2`, args...)
	list, err = all(rows, err, func(s scanner) (a Audit, err error) {
		err = s.Scan(&a.ID, instant{&a.At}, &a.Who, &a.What, &a.Subject, &a.Why, &a.Before, &a.After,
			&a.Amount, &a.Currency)
		return a, err
	})
	if err != nil || len(list) <= limit {
		return list, "", err
	}
	return list[:limit], list[limit-1].ID, nil
}

// Links.

const linkColumns = `id, livemode, device_uid, price_id, url, return_url, active, manual, plan, amount, currency, duration_s, delayed_start_s, description, image, access_code, currency_options, closed`

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

// SaveLink stores a link. What it sells was decided when it was first stored and stays.
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

// Links reads all links of an account mode, also those that were deactivated.
func (l *Ledger) Links(ctx context.Context, livemode bool) ([]Link, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+linkColumns+` FROM links WHERE livemode = $1`, bit(livemode))
	return all(rows, err, scanLink)
}
