package ledger

import (
	"context"
	"time"
)

// Pause stops sales of a device.
type Pause struct {
	DeviceUID string
	Reason    string
	By        string
	At        time.Time
	Automatic bool // ends when the device is active again
}

const pauseColumns = `device_uid, reason, by, at, automatic`

func scanPause(s scanner) (p Pause, err error) {
	err = s.Scan(&p.DeviceUID, &p.Reason, &p.By, instant{&p.At}, flag{&p.Automatic})
	return p, err
}

// Pause inserts or replaces the pause of a device.
func (tx *Tx) Pause(p Pause) error {
	if err := tx.Changed(ChangedUse, p.DeviceUID); err != nil {
		return err
	}
	return tx.run(`INSERT INTO pauses (`+pauseColumns+`) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (device_uid) DO UPDATE SET reason = excluded.reason, by = excluded.by, at = excluded.at,
		automatic = excluded.automatic`,
		p.DeviceUID, p.Reason, p.By, p.At.UnixMilli(), bit(p.Automatic))
}

// Resume deletes the pause of a device, if there is one.
func (tx *Tx) Resume(uid string) error {
	if err := tx.Changed(ChangedUse, uid); err != nil {
		return err
	}
	return tx.run(`DELETE FROM pauses WHERE device_uid = $1`, uid)
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

// Pauses reads all pauses, including those of removed devices.
func (l *Ledger) Pauses(ctx context.Context) ([]Pause, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+pauseColumns+` FROM pauses`)
	return all(rows, err, scanPause)
}
