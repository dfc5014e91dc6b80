package ledger

import (
	"context"
	"time"
)

// Maintenance is a time in which a device sells nothing, as its operator planned it.
type Maintenance struct {
	DeviceUID string
	From, To  time.Time
	Reason    string
	By        string
	At        time.Time // when it was planned
}

const maintenanceColumns = `device_uid, from_at, to_at, reason, planned_by, planned_at`

func scanMaintenance(s scanner) (m Maintenance, err error) {
	err = s.Scan(&m.DeviceUID, instant{&m.From}, instant{&m.To}, &m.Reason, &m.By, instant{&m.At})
	return m, err
}

// PlanMaintenance inserts or replaces the maintenance of a device.
func (tx *Tx) PlanMaintenance(m Maintenance) error {
	if err := tx.Changed(ChangedUse, m.DeviceUID); err != nil {
		return err
	}
	return tx.run(`INSERT INTO maintenance (`+maintenanceColumns+`) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (device_uid) DO UPDATE SET from_at = excluded.from_at, to_at = excluded.to_at,
		reason = excluded.reason, planned_by = excluded.planned_by, planned_at = excluded.planned_at`,
		m.DeviceUID, m.From.UnixMilli(), m.To.UnixMilli(), m.Reason, m.By, m.At.UnixMilli())
}

// CancelMaintenance deletes the maintenance of a device, if there is one.
func (tx *Tx) CancelMaintenance(uid string) error {
	if err := tx.Changed(ChangedUse, uid); err != nil {
		return err
	}
	return tx.run(`DELETE FROM maintenance WHERE device_uid = $1`, uid)
}

// MaintenanceOf reads the maintenance of a device, or returns ErrNotFound.
func (l *Ledger) MaintenanceOf(ctx context.Context, uid string) (Maintenance, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+maintenanceColumns+` FROM maintenance WHERE device_uid = $1`, uid)
	return one(rows, err, scanMaintenance)
}

// Maintenances reads the maintenance of all devices.
func (l *Ledger) Maintenances(ctx context.Context) ([]Maintenance, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+maintenanceColumns+` FROM maintenance`)
	return all(rows, err, scanMaintenance)
}
