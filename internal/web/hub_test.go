package web

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
)

func TestAnOpenPageIsHandedWhatTheLedgerSays(t *testing.T) {
	t.Parallel()
	l, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "notepay.db"))
	if err != nil {
		t.Fatal(err)
	}
	var logs bytes.Buffer
	live := NewHub(l, slog.New(slog.NewTextHandler(&logs, nil)))
	p := payment.Payment{
		ID:            payment.CreditID("cs_1"),
		SessionID:     "cs_1",
		Token:         strings.Repeat("a", 32),
		DeviceUID:     "dev:1",
		Amount:        350,
		Currency:      "eur",
		Funds:         payment.Paid,
		Delivery:      payment.Sent,
		MaybeAccepted: true,
		PaidAt:        time.Unix(1700000000, 0).UTC(),
		CreatedAt:     time.Unix(1700000000, 0).UTC(),
		SentAt:        time.Unix(1700000001, 0).UTC(),
	}
	if err := l.Update(
		t.Context(), func(tx *ledger.Tx) error { _, err := tx.InsertPayment(p); return err },
	); err != nil {
		t.Fatal(err)
	}
	one, _ := live.Join(p.Token)
	other, _ := live.Join(p.Token)
	older := p
	older.Delivery = payment.Queued // an older commit may be told of last
	live.Changed(older)
	for _, n := range []Updates{one, other} {
		if got := <-n; got == nil || *got != p {
			t.Errorf("handed %+v; want %+v", got, p)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	live.Changed(p)
	if got := <-one; got != nil || !strings.Contains(logs.String(), "live pages") {
		t.Errorf("handed %+v by a ledger that cannot be read, and the log says %q; want nil, which ends the page", got,
			&logs)
	}
}

// A ledger that does not answer keeps all turns to read. Those who wait for one give up.
func TestLookWaitsForItsTurnButNotLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		live := NewHub(nil, slog.New(slog.DiscardHandler))
		release, looking := make(chan struct{}), sync.WaitGroup{}
		for range mostLooks {
			looking.Go(func() {
				if err := live.WithStack(func() error { <-release; return nil }); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		began, ended := time.Now(), make(chan error, 1)
		go func() { ended <- live.WithStack(func() error { return nil }) }()
		select {
		case err := <-ended:
			if took := time.Since(began); !errors.Is(err, ErrTooBusy) || took > LookTimeout {
				t.Errorf("look: %v after %v; want %v within %v", err, took, ErrTooBusy, LookTimeout)
			}
		case <-time.After(time.Minute):
			t.Error("look still waits after a minute")
		}
		close(release)
		looking.Wait()
		if err := live.WithStack(func() error { return nil }); err != nil {
			t.Errorf("look when there is room again: %v", err)
		}
	})
}

func TestAPageThatWritesWhileItsPaymentChangesIsHandedTheLast(t *testing.T) {
	t.Parallel()
	n := make(Updates, 1)
	for amount := range int64(3) {
		n.put(&payment.Payment{Amount: amount})
	}
	if got := <-n; got.Amount != 2 {
		t.Errorf("handed change %d; want the last", got.Amount)
	}
}
