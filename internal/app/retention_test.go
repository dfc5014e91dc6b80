package app_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/backup"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/sandbox"
)

// A scheduled copy is made beside the running service, and can be restored.
func TestScheduledBackupIsRestored(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	dir := filepath.Join(t.TempDir(), "backups")
	w.Set("BACKUP_DIR", dir)
	s := w.Start()
	link := s.Selling(fixture.Washer)
	w.Until("there is a backup", func() bool {
		copies, err := backup.List(dir)
		return err == nil && len(copies) == 1
	})
	session := w.Pay(link, sandbox.PayOptions{}) // the writer still works
	s.Payment(session.ID, "sent", apptest.Has(`"machine":"sent"`))
	w.Stopped(s)
	copies, err := backup.List(dir)
	if err != nil || len(copies) != 1 {
		t.Fatalf("%v, %v; want one copy", copies, err)
	}
	restored := filepath.Join(t.TempDir(), "notepay.db")
	if _, err := ledger.Restore(t.Context(), restored, copies[0].File); err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), restored)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// Events are not removed before Stripe's time is known, and later without a word to anybody.
func TestOldEventsAreRemoved(t *testing.T) {
	t.Parallel()
	change := func(s *config.Settings) { s.KeepEvents = 400 }
	apptest.InFront(t, change, func(f *apptest.Front) {
		old := time.Now().AddDate(0, 0, -401)
		err := f.Server.Ledger.Update(f.Context(), func(tx *ledger.Tx) error {
			for id, at := range map[string]time.Time{"evt_old": old, "evt_new": time.Now()} {
				e := ledger.StripeEvent{ID: id, Created: at, Received: at, Outcome: "ignored", Body: "{}"}
				if _, err := tx.AddEvent(e); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			f.Fatal(err)
		}
		f.Run()
		f.Pass(2 * time.Hour)
		if _, err := f.Server.Ledger.EventOutcome(f.Context(), "evt_old"); !errors.Is(err, ledger.ErrNotFound) {
			f.Errorf("%v; want the old event gone", err)
		}
		if _, err := f.Server.Ledger.EventOutcome(f.Context(), "evt_new"); err != nil {
			f.Errorf("%v; want the new event kept", err)
		}
	})
}
