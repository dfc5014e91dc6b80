package web

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/ledger/ledgertest"
	"notepay/internal/payment"
)

func TestHubSendsWhatTheLedgerSays(t *testing.T) {
	t.Parallel()
	l, err := ledger.Open(t.Context(), ledgertest.Fresh(t))
	if err != nil {
		t.Fatal(err)
	}
	var logs bytes.Buffer
	hub := NewHub(l, slog.New(slog.NewTextHandler(&logs, nil)))
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
	err = l.Update(t.Context(), func(tx *ledger.Tx) error {
		_, err := tx.InsertPayment(p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	one, _ := hub.Join(p.Token)
	other, _ := hub.Join(p.Token)
	older := p
	older.Delivery = payment.Queued // an older commit may be published last
	hub.Changed(older)
	for _, n := range []Updates{one, other} {
		if got := <-n; got == nil || *got != p {
			t.Errorf("received %+v; want %+v", got, p)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	hub.Changed(p)
	if got := <-one; got != nil || !strings.Contains(logs.String(), "live pages") {
		t.Errorf("received %+v from a closed ledger, and the log says %q; want nil, which ends the page", got, &logs)
	}
}

// A ledger that does not answer keeps all slots. A call that waits for one gives up.
func TestWithStackGivesUpWithoutASlot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hub := NewHub(nil, slog.New(slog.DiscardHandler))
		release, running := make(chan struct{}), sync.WaitGroup{}
		for range maxSlots {
			running.Go(func() {
				if err := hub.WithStack(func() error { <-release; return nil }); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		began, ended := time.Now(), make(chan error, 1)
		go func() { ended <- hub.WithStack(func() error { return nil }) }()
		select {
		case err := <-ended:
			if took := time.Since(began); !errors.Is(err, ErrTooBusy) || took > ReadTimeout {
				t.Errorf("WithStack: %v after %v; want %v within %v", err, took, ErrTooBusy, ReadTimeout)
			}
		case <-time.After(time.Minute):
			t.Error("WithStack still waits after a minute")
		}
		close(release)
		running.Wait()
		if err := hub.WithStack(func() error { return nil }); err != nil {
			t.Errorf("WithStack with free slots: %v", err)
		}
	})
}

func TestUpdatesKeepTheLastChange(t *testing.T) {
	t.Parallel()
	n := make(Updates, 1)
	for amount := range int64(3) {
		n.put(&payment.Payment{Amount: amount})
	}
	if got := <-n; got.Amount != 2 {
		t.Errorf("received change %d; want the last", got.Amount)
	}
}
