package bridge

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

var person = Actor{"operator", "the customer called"}

func TestOperatorActionIsAudited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		ctx := context.Background()
		h.paid("cs_test_1", "dev:1")
		h.paid("cs_test_2", "dev:2")
		if _, err := h.b.Resend(ctx, "cs_test_1", person); err != nil {
			t.Error(err)
		}
		if _, err := h.b.Cancel(ctx, "pi_cs_test_1", person); err != nil {
			t.Error(err)
		}
		if _, err := h.b.Refund(ctx, payment.CreditID("cs_test_2"), 0, person); err != nil {
			t.Error(err)
		}
		for what, decide := range map[string]func(id string) error{
			"retry":  func(id string) error { return errorOf(h.b.Resend(ctx, id, person)) },
			"refund": func(id string) error { return errorOf(h.b.Refund(ctx, id, 0, person)) },
		} {
			if err := decide("cs_test_1"); !errors.Is(err, payment.ErrState) {
				t.Errorf("%s of what was ended: %v; want %v", what, err, payment.ErrState)
			}
			if err := decide("cs_unknown"); !errors.Is(err, ledger.ErrNotFound) {
				t.Errorf("%s of an unknown payment: %v; want %v", what, err, ledger.ErrNotFound)
			}
		}
		var got []string
		for _, session := range []string{"cs_test_1", "cs_test_2"} {
			audits, _, err := h.l.Audits(ctx, payment.CreditID(session), 10, "")
			if err != nil {
				t.Error(err)
			}
			for _, a := range slices.Backward(audits) {
				got = append(got, strings.Join([]string{a.Who, a.What, a.Why, a.Before, a.After}, "|"))
			}
		}
		slices.Sort(got) // two entries of the same instant have no order
		want := []string{
			"operator|end|the customer called|paid queued  0|refunding failed ended 0",
			"operator|refund|the customer called|paid queued  0|refunding failed payment_reversed 0",
			"operator|retry|the customer called|paid queued  0|paid queued  0",
		}
		if !slices.Equal(got, want) {
			t.Errorf("audit %q; want %q", got, want)
		}
		h.finish("cs_test_1", "cs_test_2")
	})
}

// The credit is sent again with the same id, and with the device's own lifetime.
func TestResendRecallsTheOldNoteFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.run()
		h.paid("cs_test_1", "dev:1")
		time.Sleep(9 * time.Minute)
		if _, err := h.b.Resend(context.Background(), "cs_test_1", person); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute) // past its first expiry
		h.stands("cs_test_1", payment.Sent, "", payment.Paid, "")
		if n := h.hub.posted; len(n) != 2 || len(h.hub.pending) != 1 || n[0].CreditID != n[1].CreditID ||
			n[1].Expires-n[0].Expires != 9*60 {
			t.Errorf(
				"posted %+v; want the same credit twice, the second to end nine minutes later, and one of them waiting",
				n,
			)
		}
		h.hub.fetch()
		h.finish("cs_test_1")
	})
}

func TestGrantCredit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		ctx := context.Background()
		if _, err := h.b.GrantCredit(ctx, "dev:9", "", person); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("of an unknown device: %v; want %v", err, ledger.ErrNotFound)
		}
		if err := h.b.Pause(ctx, "dev:1", person); err != nil { // a paused machine is tested before it is resumed
			t.Fatal(err)
		}
		h.run()
		first, err := h.b.GrantCredit(ctx, "dev:1", "", person)
		if err != nil {
			t.Fatal(err)
		}
		second, err := h.b.GrantCredit(ctx, "dev:1", "", person)
		if err != nil || first.ID == second.ID {
			t.Errorf("two starts have the credits %s and %s (%v); want one each", first.ID, second.ID, err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := h.hub.posted; len(n) != 2 || n[0].CreditID == n[1].CreditID || n[0].PaymentStatus != "completed" {
			t.Errorf("posted %+v; want two credits", n)
		}
		time.Sleep(11 * time.Minute) // recalled before the Notecard fetched it, so there is nothing to refund
		for _, p := range []payment.Payment{first, second} {
			h.stands(p.SessionID, payment.Failed, payment.ReasonRecalled, payment.Paid, "")
			if p := h.payment(p.SessionID); !payment.Closed(p) || p.Step != payment.NoStep || p.Amount != 0 {
				t.Errorf("%+v; want it closed and free", p)
			}
		}
		if n := h.money.called(payment.StepRefund); n != 0 {
			t.Errorf("%d refunds of a free start", n)
		}
		audits, _, err := h.l.Audits(ctx, "dev:1", 10, "")
		if starts := slices.DeleteFunc(audits, func(a ledger.Audit) bool { return a.What != "start" }); err != nil ||
			len(starts) != 2 ||
			starts[0].Why != person.Reason {
			t.Errorf("audit %+v (%v); want two starts", starts, err)
		}
		h.close()
	})
}

// The original ledger has continued since the copy was made. So the copy does not repeat what it
// believes to be in flight.
func TestRestoredBackupRepeatsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told sync.Map
		h := newHouse(t, func(c *Config) { c.Changed = func(p payment.Payment) { told.Store(p.SessionID, p.Reason) } })
		h.paid("cs_sent", "dev:2")
		h.does("cs_sent", payment.StepPostNote)
		h.hub.will(payment.StepPostNote, answer{err: &upstream.Error{Outcome: upstream.Rejected, Status: 400}})
		h.paid("cs_refunding", "dev:2")
		h.does("cs_refunding", payment.StepPostNote)
		h.paid("cs_queued", "dev:1")
		if err := h.b.readEvents(context.Background(), &reading{}); err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(t.TempDir(), "copy.db")
		if err := ledger.Backup(context.Background(), h.path, copied); err != nil {
			t.Fatal(err)
		}

		time.Sleep(time.Minute)
		h.does("cs_refunding", payment.StepRefund)
		h.does("cs_queued", payment.StepPostNote)
		h.money.tells(h.pays("cs_missed", "dev:1"))
		h.close()
		h.hub.fetch()
		time.Sleep(25 * time.Hour) // Stripe has forgotten the refund's key by then

		h.path = copied
		h.told.unchecked = true // the copy does not hold what was published since
		h.open()
		h.run()
		time.Sleep(time.Minute)
		h.stands("cs_queued", payment.Failed, payment.ReasonAdopted, payment.Paid, payment.ReasonAdopted)
		if reason, _ := told.Load("cs_queued"); reason != payment.ReasonAdopted {
			t.Errorf("its page got %v; want that it is adopted", reason)
		}
		h.stands("cs_missed", payment.Failed, payment.ReasonAdopted, payment.Paid, payment.ReasonAdopted)
		h.stands("cs_sent", payment.Fetched, "", payment.Paid, "")
		h.stands("cs_refunding", payment.Failed, payment.ReasonRefused, payment.Refunded, payment.ReasonRefused)
		if notes, refunds := h.hub.notes(), h.money.called(payment.StepRefund); notes != 2 || refunds != 1 {
			t.Errorf("%d notes and %d refunds in all; want the two and the one of the first ledger", notes, refunds)
		}
		h.paid("cs_new", "dev:2") // an ordinary ledger from now on
		time.Sleep(time.Second)
		h.hub.fetch()
		h.reopen()
		h.finish("cs_sent", "cs_refunding", "cs_new")
		h.open()
		h.stands("cs_new", payment.Fetched, "", payment.Paid, "")
		h.close()
	})
}
