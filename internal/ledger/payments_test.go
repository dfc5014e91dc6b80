package ledger

import (
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"notepay/internal/payment"
)

// fullPayment returns a payment without zero fields, so that a forgotten or swapped column shows.
func fullPayment(t *testing.T) payment.Payment {
	t.Helper()
	p := testPayment("full")
	p.DelayedStart, p.Livemode = 5*time.Minute, true
	p.Funds, p.RefundedAmount = payment.Refunding, 100
	p.Delivery, p.Reason, p.ReviewReason = payment.Failed, "refused", "money_kept"
	times := []*time.Time{
		&p.PaidAt,
		&p.CreatedAt,
		&p.SentAt,
		&p.StartedAt,
		&p.EndsAt,
		&p.ExpiresAt,
		&p.ConfirmBy,
		&p.RefundAt,
		&p.DueAt,
		&p.BackoffUntil,
		&p.DeliveryAt,
		&p.FundsAt,
		&p.FundsBackoffUntil,
	}
	for n, at := range times {
		*at = noon().Add(time.Duration(n)*time.Minute + 789*time.Millisecond)
	}
	p.FundsFailures, p.LostAmount = 2, 50
	p.NoteFile, p.Pulses, p.Output = "washers.qis", 3, 2
	p.Step, p.FencingToken, p.InFlight, p.Failures = payment.StepRefund, 7, true, 3
	p.MaybeAccepted, p.OutcomeUnknown, p.NotFoundAfterUnclear = true, true, true
	p.MachineCode, p.HoldsDevice, p.CancelReason = "E-DOOR", true, "ended"
	p.RecallStatus, p.NoteIDs, p.PendingNotice = payment.RecallDeleted, "1:7,1:8", "refunded"
	p.RefundSeq, p.RefundAmount, p.RefundTarget, p.ReconcileRefund = 2, 150, 250, true
	p.CardLast4, p.ReceiptURL, p.Rev = "4242", "https://pay.stripe.com/receipts/1", 3
	p.NeedsAccessCode, p.AccessCode = true, "493817"
	p.RefundReference, p.Discount = "74312345678901234567890", 30
	for n, v := 0, reflect.ValueOf(p); n < v.NumField(); n++ {
		if v.Field(n).IsZero() {
			t.Fatalf("the test leaves %s zero", v.Type().Field(n).Name)
		}
	}
	return p
}

func testPaymentRoundTrip(t *testing.T, database string) {
	l := open(t, database)
	full := fullPayment(t)
	bare := payment.Payment{
		ID:        payment.CreditID("cs_bare"),
		SessionID: "cs_bare",
		Token:     "token_bare",
		Funds:     payment.Paid,
		Delivery:  payment.Queued,
		PaidAt:    noon(),
		CreatedAt: noon(),
	}
	saved := fullPayment(t)
	saved.ID, saved.SessionID = payment.CreditID("cs_saved"), "cs_saved"
	saved.PaymentIntent, saved.Token = "pi_saved", "token_saved"
	saved.DeviceUID = "dev:saved" // full holds the other device
	before := payment.Payment{
		ID:            saved.ID,
		SessionID:     saved.SessionID,
		PaymentIntent: saved.PaymentIntent,
		Token:         saved.Token,
		DeviceUID:     saved.DeviceUID,
		Amount:        saved.Amount,
		Discount:      saved.Discount,
		Currency:      saved.Currency,
		Livemode:      saved.Livemode,
		PaidAt:        saved.PaidAt,
		CreatedAt:     saved.CreatedAt,
		CardLast4:     saved.CardLast4,
		ReceiptURL:    saved.ReceiptURL,
		Rev:           saved.Rev,
		Funds:         payment.Paid,
		Delivery:      payment.Queued,
	}
	insert(t, l, full, bare, before)
	mustUpdate(t, l, func(tx *Tx) error {
		other := saved // the immutable columns must not change
		other.SessionID, other.PaymentIntent, other.Token, other.DeviceUID = "cs_moved", "", "token_moved", "dev:9"
		other.Amount, other.Discount, other.Currency, other.Livemode = 999, 1, "usd", false
		other.PaidAt, other.CreatedAt = noon2020(0), noon2020(1)
		other.CardLast4, other.ReceiptURL = "1111", "https://example.com"
		// both statuses change now
		now := tx.Now.UTC().Truncate(time.Millisecond)
		saved.DeliveryAt, saved.FundsAt, saved.Rev = now, now, before.Rev+1
		return tx.SavePayment(other)
	})

	for name, want := range map[string]payment.Payment{
		"all fields":               full,
		"zero times and no intent": bare,
		"saved":                    saved,
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			wantPayment(t, "Payment by credit id", want, second(l.Payment(ctx, want.ID)))
			wantPayment(t, "Payment by session", want, second(l.Payment(ctx, want.SessionID)))
			wantPayment(t, "PaymentOfToken", want, second(l.PaymentOfToken(ctx, want.Token)))
			if list, err := l.PaymentsOfTokens(ctx, []string{"token_of_nobody", want.Token}); err != nil ||
				len(list) != 1 || list[0] != want {
				t.Errorf("PaymentsOfTokens: got %+v, %v; want %+v alone", list, err, want)
			}
			wantPayment(t, "Tx.Payment", want,
				inTx(l, func(tx *Tx) (payment.Payment, error) { return tx.Payment(want.ID) }))
			if want.PaymentIntent != "" {
				wantPayment(t, "Payment by intent", want, second(l.Payment(ctx, want.PaymentIntent)))
				wantPayment(t, "Tx.PaymentOfIntent", want, inTx(l, func(tx *Tx) (payment.Payment, error) {
					return tx.PaymentOfIntent(want.PaymentIntent)
				}))
			}
		})
	}
	for what, read := range map[string]reading[payment.Payment]{
		"Payment":            second(l.Payment(t.Context(), "cs_unknown")),
		"Payment of nothing": second(l.Payment(t.Context(), "")),
		"PaymentOfToken":     second(l.PaymentOfToken(t.Context(), "cs_full")),
		"Tx.Payment":         inTx(l, func(tx *Tx) (payment.Payment, error) { return tx.Payment("cs_full") }),
		"Tx.PaymentOfIntent": inTx(l, func(tx *Tx) (payment.Payment, error) { return tx.PaymentOfIntent("") }),
	} {
		if !errors.Is(read.err, ErrNotFound) {
			t.Errorf("%s of an unknown key: got error %v; want %v", what, read.err, ErrNotFound)
		}
	}
}

func wantPayment(t *testing.T, what string, want payment.Payment, read reading[payment.Payment]) {
	t.Helper()
	if read.err != nil || read.got != want {
		t.Errorf("%s: got %+v, %v; want %+v", what, read.got, read.err, want)
	}
}

func testPaymentOnce(t *testing.T, database string) {
	l := open(t, database)
	first := testPayment("first")
	insert(t, l, first)

	sameSession := testPayment("other")
	sameSession.SessionID, sameSession.ID = first.SessionID, first.ID
	sameIntent := testPayment("other")
	sameIntent.PaymentIntent = first.PaymentIntent
	for name, p := range map[string]payment.Payment{
		"the same again":         first,
		"the same session":       sameSession,
		"the same PaymentIntent": sameIntent,
	} {
		var inserted bool
		mustUpdate(t, l, func(tx *Tx) (err error) {
			inserted, err = tx.InsertPayment(p)
			return err
		})
		if inserted {
			t.Errorf("%s: got a second payment; want none", name)
		}
	}
	if list, _, err := l.Payments(t.Context(), Filter{Limit: 10}); err != nil || len(list) != 1 || list[0] != first {
		t.Errorf("got %+v, %v; want the first payment, unchanged", list, err)
	}

	anotherCredit := testPayment("other")
	anotherCredit.SessionID = first.SessionID
	if err := l.Update(t.Context(), func(tx *Tx) error {
		return second(tx.InsertPayment(anotherCredit)).err
	}); err == nil || !strings.Contains(err.Error(), "not the credit") {
		t.Errorf("another credit for the same session: got %v; want it refused", err)
	}

	free, alsoFree := testPayment("free"), testPayment("also_free")
	free.PaymentIntent, alsoFree.PaymentIntent = "", ""
	insert(t, l, free, alsoFree) // sessions without a PaymentIntent do not collide
}

func testSaveUnknownPayment(t *testing.T, database string) {
	l := open(t, database)
	err := l.Update(t.Context(), func(tx *Tx) error { return tx.SavePayment(testPayment("unknown")) })
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v; want %v", err, ErrNotFound)
	}
}

func testNonsensePayments(t *testing.T, database string) {
	l := open(t, database)
	type row = payment.Payment
	for name, c := range map[string]struct {
		words string
		spoil func(p *row)
	}{
		"a negative amount":                   {"amount", func(p *row) { p.Amount = -1 }},
		"a negative duration":                 {"duration_s", func(p *row) { p.Duration = -time.Second }},
		"a negative delay of the start":       {"delayed_start_s", func(p *row) { p.DelayedStart = -time.Second }},
		"money in no known state":             {"money = ", func(p *row) { p.Funds = "stolen" }},
		"money in no state":                   {"money = ", func(p *row) { p.Funds = "" }},
		"a negative refund":                   {"refunded_amount", func(p *row) { p.RefundedAmount = -1 }},
		"a refund over the amount":            {"refunded_amount", func(p *row) { p.RefundedAmount = p.Amount + 1 }},
		"a machine in no known state":         {"machine = ", func(p *row) { p.Delivery = "flying" }},
		"a machine that failed for no reason": {"reason", func(p *row) { p.Delivery = payment.Failed }},
		"started without a post": {"posted", func(p *row) {
			p.Delivery, p.SentAt = payment.Started, noon()
		}},
		"a refund that was not ordered":  {"refund_number", func(p *row) { p.Funds = payment.Refunding }},
		"a refund of more than was paid": {"refund_goal", func(p *row) { p.RefundTarget = p.Amount + 1 }},
		"a deletion without a recall":    {"note_ids", func(p *row) { p.NoteIDs = "1:7" }},
		"an unknown end of a recall":     {"recalled", func(p *row) { p.RecallStatus = "eaten" }},
		"an unknown word to the machine": {"tell", func(p *row) { p.PendingNotice = "sing" }},
		"sent at no time": {"sent_at", func(p *row) {
			p.Delivery, p.MaybeAccepted = payment.Sent, true
		}},
		"sent without a post": {"posted", func(p *row) { p.Delivery, p.SentAt = payment.Sent, noon() }},
		"fetched and sent at no time": {"sent_at", func(p *row) {
			p.Delivery, p.MaybeAccepted = payment.Fetched, true
		}},
		"fetched without a post": {"posted", func(p *row) {
			p.Delivery, p.SentAt = payment.Fetched, noon()
		}},
		"unclear without a post":   {"unclear", func(p *row) { p.OutcomeUnknown = true }},
		"an unknown step":          {"step = ", func(p *row) { p.Step = "dance" }},
		"a step that is never due": {"due_at", func(p *row) { p.DueAt = time.Time{} }},
		"due for no step":          {"due_at", func(p *row) { p.Step = payment.NoStep }},
		"in flight without a step": {"in_flight", func(p *row) { *p = idle(*p); p.InFlight = true }},
		"fewer failures than none": {"failures", func(p *row) { p.Failures = -1 }},
		"paid at no time":          {"paid_at", func(p *row) { p.PaidAt = time.Time{} }},
		"recorded at no time":      {"created_at", func(p *row) { p.CreatedAt = time.Time{} }},
	} {
		t.Run(name, func(t *testing.T) {
			p := testPayment("nonsense")
			c.spoil(&p)
			rule := "check"
			if p.PaidAt.IsZero() || p.CreatedAt.IsZero() {
				rule = "not null"
			}
			err := l.Update(t.Context(), func(tx *Tx) error {
				_, err := tx.InsertPayment(p)
				return err
			})
			wantRefused(t, err, rule, c.words)
			good := testPayment(name)
			if unspoilt := testPayment("nonsense"); !reflect.DeepEqual(immutable(&p), immutable(&unspoilt)) {
				return // SavePayment does not write this column
			}
			insert(t, l, good)
			spoilt := good
			c.spoil(&spoilt)
			err = l.Update(t.Context(), func(tx *Tx) error { return tx.SavePayment(spoilt) })
			wantRefused(t, err, rule, c.words)
			wantPayment(t, "after the refusal", good, second(l.Payment(t.Context(), good.ID)))
		})
	}
}

func testSensiblePayments(t *testing.T, database string) {
	insert(t, open(t, database), sensiblePayments()...)
}

// sensiblePayments returns payments in all states.
func sensiblePayments() (list []payment.Payment) {
	for _, money := range []payment.FundsStatus{
		payment.Authorized, payment.Capturing, payment.Paid, payment.Canceling, payment.Canceled, payment.CaptureFailed,
		payment.Refunding, payment.Refunded, payment.RefundFailed, payment.Disputed, payment.DisputeLost,
	} {
		p := testPayment("money_" + string(money))
		p.Funds, p.RefundSeq = money, 1
		list = append(list, p)
	}
	for _, machine := range []payment.DeliveryStatus{
		payment.Queued, payment.Sent, payment.Fetched, payment.Started, payment.Done, payment.Failed,
	} {
		p := idle(testPayment("machine_" + string(machine)))
		p.Delivery, p.SentAt, p.MaybeAccepted = machine, noon(), true
		if machine == payment.Failed {
			p.Reason = "refused"
		}
		list = append(list, p)
	}
	for _, step := range []payment.Step{
		payment.StepPostNote, payment.StepCheckPending, payment.StepRecall,
		payment.StepCapture, payment.StepCancel, payment.StepRefund,
	} {
		p := testPayment("step_" + string(step))
		p.Step, p.InFlight = step, true
		list = append(list, p)
	}
	free, all := testPayment("free"), testPayment("refunded_whole")
	free.Amount, free.Duration = 0, 0
	all.RefundedAmount = all.Amount
	return append(list, free, all)
}

// noon2020 returns a time long in the past.
func noon2020(minute int) time.Time { return time.Date(2020, 1, 1, 12, minute, 0, 0, time.UTC) }

// A claim over an orphaned lease must write in_flight. Otherwise the device would be free for a
// second call.
func TestChangePaymentTakesOverAnOrphanedLease(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.db")
	first, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	p := testPayment("taken over")
	p.InFlight = true
	insert(t, first, p)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	l := open(t, path)
	mustUpdate(t, l, func(tx *Tx) error {
		before, err := tx.Payment(p.ID)
		if err != nil {
			return err
		}
		after := before
		after.FencingToken++
		after.DueAt = tx.Now.Add(time.Minute)
		return tx.ChangePayment(before, after)
	})
	other := testPayment("other")
	other.DueAt = noon2020(0)
	insert(t, l, other)
	mustUpdate(t, l, func(tx *Tx) error {
		due, err := tx.DueForNotehub(false, 10)
		if err == nil && len(due) != 0 {
			t.Errorf("due are %+v; want none while the device has a call under way", due)
		}
		return err
	})
}

func testCardLearnedLater(t *testing.T, database string) {
	l := open(t, database)
	p := testPayment("a")
	insert(t, l, p)
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(tx.SetCharge(p.ID, "4242", "https://pay.stripe.com/receipts/1"), tx.SavePayment(p))
	})
	if got, err := l.Payment(t.Context(), p.ID); err != nil || got.CardLast4 != "4242" ||
		got.ReceiptURL != "https://pay.stripe.com/receipts/1" {
		t.Errorf("card %q, receipt %q, %v; want those of the charge", got.CardLast4, got.ReceiptURL, err)
	}
}
