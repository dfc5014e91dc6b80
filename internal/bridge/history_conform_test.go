package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// books is a store in a ledger on disk.
type books struct {
	*ledger.Ledger
	path string
}

func openBooks(path string) (*books, error) {
	l, err := ledger.Open(context.Background(), path)
	return &books{l, path}, err
}

// at runs f in a transaction at the given time.
func at[T any](b *books, now time.Time, f func(*ledger.Tx) (T, error)) (result T, err error) {
	err = b.Update(context.Background(), func(tx *ledger.Tx) (err error) {
		defer func(t time.Time) { tx.Now = t }(tx.Now)
		tx.Now = now
		result, err = f(tx)
		return err
	})
	return result, err
}

func (b *books) insert(now time.Time, p payment.Payment) (bool, error) {
	return at(b, now, func(tx *ledger.Tx) (bool, error) { return tx.InsertPayment(p) })
}

func (b *books) save(now time.Time, p payment.Payment) error {
	_, err := at(b, now, func(tx *ledger.Tx) (bool, error) { return false, tx.SavePayment(p) })
	return err
}

func (b *books) payment(id string) (payment.Payment, error) {
	return at(b, time.Time{}, func(tx *ledger.Tx) (payment.Payment, error) { return tx.Payment(id) })
}

func (b *books) ofIntent(intent string) (payment.Payment, error) {
	return at(b, time.Time{}, func(tx *ledger.Tx) (payment.Payment, error) { return tx.PaymentOfIntent(intent) })
}

func (b *books) occupant(device string) (payment.Payment, error) {
	return at(b, time.Time{}, func(tx *ledger.Tx) (payment.Payment, error) { return tx.Occupant(device) })
}

const many = 1000

func (b *books) dueForNotehub(now time.Time, again bool) ([]payment.Payment, error) {
	return at(b, now, func(tx *ledger.Tx) ([]payment.Payment, error) { return tx.DueForNotehub(again, many) })
}

func (b *books) dueForStripe(now time.Time, again bool) ([]payment.Payment, error) {
	return at(b, now, func(tx *ledger.Tx) ([]payment.Payment, error) { return tx.DueForStripe(again, many) })
}

func (b *books) dueWaits(now time.Time) ([]payment.Payment, error) {
	return at(b, now, func(tx *ledger.Tx) ([]payment.Payment, error) { return tx.DueWaits(many) })
}

func (b *books) silent(asOf time.Time) ([]payment.Payment, error) {
	return at(b, asOf, func(tx *ledger.Tx) ([]payment.Payment, error) { return tx.SilentAt(asOf, many) })
}

func (b *books) restart() error {
	if err := b.Close(); err != nil {
		return err
	}
	reopened, err := openBooks(b.path)
	*b = *reopened
	return err
}

// anyPayment draws a payment that need not make sense. Sessions, devices and times are few, so that
// payments collide.
func anyPayment(t *rapid.T, noon time.Time) payment.Payment {
	n := dice(t, 4)
	session := fmt.Sprintf("cs_%d", n)
	when := func() time.Time {
		if dice(t, 3) == 0 {
			return time.Time{}
		}
		return noon.Add(time.Duration(dice(t, 8))*time.Second + 1234567)
	}
	p := payment.Payment{
		ID:            payment.CreditID(session),
		SessionID:     session,
		PaymentIntent: fmt.Sprintf("pi_%d", n),
		Token:         fmt.Sprintf("token_%d", n),
		DeviceUID:     fmt.Sprintf("dev:%d", n%2),
		Amount:        350,
		Currency:      "eur",
		PaidAt:        noon,
		CreatedAt:     noon,
		Funds: pick(t, payment.Paid, payment.Authorized, payment.Capturing, payment.Canceling, payment.Refunding,
			payment.Refunded, payment.RefundFailed, payment.DisputeLost),
		Delivery: pick(t, payment.Queued, payment.Sent, payment.Fetched, payment.Started, payment.Done, payment.Failed),
		Step: pick(t, payment.StepPostNote, payment.NoStep, payment.StepCheckPending, payment.StepRecall,
			payment.StepCapture, payment.StepCancel, payment.StepRefund, payment.StepWait),
	}
	if dice(t, 10) > 0 {
		p.Reason, p.SentAt, p.MaybeAccepted, p.RefundSeq = "expired", noon, true, 1
		p.DueAt = noon.Add(time.Duration(dice(t, 8)) * time.Second)
		if p.Step == payment.NoStep {
			p.DueAt = time.Time{}
		}
	} else {
		p.DueAt, p.SentAt, p.MaybeAccepted, p.RefundSeq = when(), when(), dice(t, 2) == 1, dice(t, 2)
		p.OutcomeUnknown, p.RefundedAmount = dice(t, 2) == 1, pick(t, int64(0), 351, -1)
		p.NoteIDs, p.PendingNotice = pick(t, "", "1:2"), pick(t, "", "nonsense")
	}
	p.InFlight, p.HoldsDevice, p.Failures, p.ConfirmBy = dice(t, 3) == 1, dice(t, 4) == 1, max(0, dice(t, 5)-3), when()
	p.ExpiresAt, p.BackoffUntil, p.FencingToken = when(), when(), int64(dice(t, 3))
	p.FundsBackoffUntil, p.FundsFailures = when(), max(0, dice(t, 5)-3)
	return p
}

// The histories use a shelf instead of the ledger. After the same writes, both must give the same
// answers.
func TestShelfConformsToTheLedger(t *testing.T) {
	t.Parallel()
	if underRace {
		t.Skip("one goroutine alone, and a minute under the race detector: make test runs it without")
	}
	path := filepath.Join(t.TempDir(), "notepay.db")
	file := 0
	rapid.Check(t, func(t *rapid.T) {
		file++
		disk, err := openBooks(fmt.Sprintf("%s.%d", path, file))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = disk.Close() }()
		noon := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
		memory := &shelf{}
		for range 3 + dice(t, 25) {
			p, now := anyPayment(t, noon), noon.Add(time.Duration(dice(t, 9))*time.Second)
			switch dice(t, 8) {
			case 0, 1, 2:
				one, oneErr := memory.insert(now, p)
				two, twoErr := disk.insert(now, p)
				same(t, fmt.Sprintf("insert %+v", p), one, oneErr, two, twoErr)
			case 3, 4, 5, 6:
				oneErr, twoErr := memory.save(now, p), disk.save(now, p)
				same(t, fmt.Sprintf("save %+v", p), true, oneErr, true, twoErr)
			case 7:
				if err := errors.Join(memory.restart(), disk.restart()); err != nil {
					t.Fatal(err)
				}
			}
			compare(t, memory, disk, p, now)
		}
	})
}

// compare compares all answers of both stores.
func compare(t *rapid.T, a, b store, p payment.Payment, now time.Time) {
	t.Helper()
	one, oneErr := a.payment(p.ID)
	two, twoErr := b.payment(p.ID)
	same(t, "payment", one, oneErr, two, twoErr)
	one, oneErr = a.ofIntent(p.PaymentIntent)
	two, twoErr = b.ofIntent(p.PaymentIntent)
	same(t, "of intent", one, oneErr, two, twoErr)
	one, oneErr = a.occupant(p.DeviceUID)
	two, twoErr = b.occupant(p.DeviceUID)
	same(t, "occupant", one, oneErr, two, twoErr)
	for name, list := range map[string]func(s store) ([]payment.Payment, error){
		"due for Notehub":        func(s store) ([]payment.Payment, error) { return s.dueForNotehub(now, false) },
		"due for Notehub, again": func(s store) ([]payment.Payment, error) { return s.dueForNotehub(now, true) },
		"due for Stripe":         func(s store) ([]payment.Payment, error) { return s.dueForStripe(now, false) },
		"due for Stripe, again":  func(s store) ([]payment.Payment, error) { return s.dueForStripe(now, true) },
		"due in time":            func(s store) ([]payment.Payment, error) { return s.dueWaits(now) },
		"silent":                 func(s store) ([]payment.Payment, error) { return s.silent(now) },
	} {
		one, oneErr := list(a)
		two, twoErr := list(b)
		same(t, name, brought(t, name, one), oneErr, brought(t, name, two), twoErr)
	}
}

// brought compares lists whose order matters only between different due times.
func brought(t *rapid.T, name string, list []payment.Payment) string {
	t.Helper()
	when := func(p payment.Payment) time.Time {
		if name == "silent" {
			return p.ConfirmBy
		}
		return p.DueAt
	}
	if !slices.IsSortedFunc(list, func(a, b payment.Payment) int { return when(a).Compare(when(b)) }) {
		t.Fatalf("%s: not the longest due first: %+v", name, list)
	}
	slices.SortFunc(list, func(a, b payment.Payment) int { return cmp.Compare(a.ID, b.ID) })
	return fmt.Sprintf("%+v", list)
}

func same[T comparable](t *rapid.T, what string, one T, oneErr error, two T, twoErr error) {
	t.Helper()
	if (oneErr == nil) != (twoErr == nil) ||
		errors.Is(oneErr, ledger.ErrNotFound) != errors.Is(twoErr, ledger.ErrNotFound) {
		t.Fatalf("%s: the shelf says %v, the ledger %v", what, oneErr, twoErr)
	}
	if oneErr == nil && one != two {
		t.Fatalf("%s\nthe shelf:  %+v\nthe ledger: %+v", what, one, two)
	}
}

func TestReserveDeviceHoldsItOnce(t *testing.T) {
	t.Parallel()
	disk, err := openBooks(filepath.Join(t.TempDir(), "notepay.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = disk.Close() }()
	now := time.Now()
	for name, s := range map[string]store{"the shelf": &shelf{}, "the ledger": disk} {
		for n, want := range []bool{true, false} {
			p := sentNote(now)
			p.SessionID = fmt.Sprintf("cs_test_%d", n)
			p.ID, p.PaymentIntent, p.Token, p.HoldsDevice = payment.CreditID(p.SessionID), fmt.Sprintf("pi_%d",
				n), p.SessionID, true
			if inserted, err := s.insert(now, p); inserted != want || (err == nil) != want {
				t.Errorf("%s: timed credit %d: inserted %v, %v; want %v", name, n+1, inserted, err, want)
			}
		}
	}
}
