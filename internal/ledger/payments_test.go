package ledger

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"slices"
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
	p.Step, p.FencingToken, p.InFlight, p.Failures = payment.StepRefund, 7, true, 3
	p.MaybeAccepted, p.OutcomeUnknown, p.NotFoundAfterUnclear = true, true, true
	p.MachineCode, p.HoldsDevice, p.CancelReason = "E-DOOR", true, "ended"
	p.RecallStatus, p.NoteIDs, p.PendingNotice = payment.RecallDeleted, "1:7,1:8", "refunded"
	p.RefundSeq, p.RefundAmount, p.RefundTarget, p.ReconcileRefund = 2, 150, 250, true
	p.CardLast4, p.ReceiptURL = "4242", "https://pay.stripe.com/receipts/1"
	p.NeedsAccessCode, p.AccessCode = true, "493817"
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
		Currency:      saved.Currency,
		Livemode:      saved.Livemode,
		PaidAt:        saved.PaidAt,
		CreatedAt:     saved.CreatedAt,
		CardLast4:     saved.CardLast4,
		ReceiptURL:    saved.ReceiptURL,
		Funds:         payment.Paid,
		Delivery:      payment.Queued,
	}
	insert(t, l, full, bare, before)
	mustUpdate(t, l, func(tx *Tx) error {
		other := saved // the immutable columns must not change
		other.SessionID, other.PaymentIntent, other.Token, other.DeviceUID = "cs_moved", "", "token_moved", "dev:9"
		other.Amount, other.Currency, other.Livemode = 999, "usd", false
		other.PaidAt, other.CreatedAt = noon2020(0), noon2020(1)
		other.CardLast4, other.ReceiptURL = "1111", "https://example.com"
		// both statuses change now
		now := tx.Now.UTC().Truncate(time.Millisecond)
		saved.DeliveryAt, saved.FundsAt = now, now
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

// reading is the result of a read.
type reading[T any] struct {
	got T
	err error
}

func second[T any](got T, err error) reading[T] { return reading[T]{got, err} }

func inTx[T any](l *Ledger, read func(*Tx) (T, error)) (r reading[T]) {
	err := l.Update(context.Background(), func(tx *Tx) error {
		r.got, r.err = read(tx)
		return nil
	})
	r.err = errors.Join(r.err, err)
	return r
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
	sameSession.SessionID = first.SessionID
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
		"an id that is no credit's":           {"id LIKE", func(p *row) { p.ID = "py" + p.ID[2:] }},
		"an id that is too short":             {"length(id)", func(p *row) { p.ID = p.ID[:18] }},
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
	l := open(t, database)
	for _, money := range []payment.FundsStatus{
		payment.Authorized, payment.Capturing, payment.Paid, payment.Canceling, payment.Canceled, payment.CaptureFailed,
		payment.Refunding, payment.Refunded, payment.RefundFailed, payment.Disputed, payment.DisputeLost,
	} {
		p := testPayment("money_" + string(money))
		p.Funds, p.RefundSeq = money, 1
		insert(t, l, p)
	}
	for _, machine := range []payment.DeliveryStatus{
		payment.Queued, payment.Sent, payment.Fetched, payment.Started, payment.Done, payment.Failed,
	} {
		p := idle(testPayment("machine_" + string(machine)))
		p.Delivery, p.SentAt, p.MaybeAccepted = machine, noon(), true
		if machine == payment.Failed {
			p.Reason = "refused"
		}
		insert(t, l, p)
	}
	for _, step := range []payment.Step{
		payment.StepPostNote, payment.StepCheckPending, payment.StepRecall,
		payment.StepCapture, payment.StepCancel, payment.StepRefund,
	} {
		p := testPayment("step_" + string(step))
		p.Step, p.InFlight = step, true
		insert(t, l, p)
	}
	free, all := testPayment("free"), testPayment("refunded_whole")
	free.Amount, free.Duration = 0, 0
	all.RefundedAmount = all.Amount
	insert(t, l, free, all)
}

func testDueForNotehub(t *testing.T, database string) {
	l := open(t, database)
	soon := time.Now().Add(time.Hour)
	row := func(name, device string, due time.Time, change func(p *payment.Payment)) payment.Payment {
		p := testPayment(name)
		p.DeviceUID, p.DueAt = device, due
		if change != nil {
			change(&p)
		}
		return p
	}
	failedBefore := func(p *payment.Payment) { p.Failures = 2 }
	inFlight := func(p *payment.Payment) { p.InFlight = true }
	insert(t, l,
		row("second", "dev:1", noon2020(2), nil),
		row("first", "dev:2", noon2020(1), func(p *payment.Payment) { p.Step = payment.StepCheckPending }),
		row("third_same_device", "dev:1", noon2020(3), func(p *payment.Payment) { p.Step = payment.StepRecall }),
		row("not_yet", "dev:3", soon, nil),
		row("money_is_not_for_notehub", "dev:3", noon2020(0), func(p *payment.Payment) { p.Step = payment.StepRefund }),
		idle(row("nothing_to_do", "dev:3", noon2020(0), nil)),
		row("under_way", "dev:4", soon, inFlight),
		row("behind_the_one_under_way", "dev:4", noon2020(0), nil),
		row("again_behind_the_one_under_way", "dev:4", noon2020(0), failedBefore),
		row("interrupted", "dev:5", noon2020(4), inFlight),
		row("behind_the_interrupted", "dev:5", noon2020(5), nil),
		row("again_second", "dev:6", noon2020(7), failedBefore),
		row("again_first", "dev:7", noon2020(6), failedBefore),
	)
	for _, c := range []struct {
		name  string
		again bool
		limit int
		want  []string
	}{
		{
			"fresh ones, the earliest due first", false, 99,
			[]string{"first", "second", "third_same_device", "interrupted", "behind_the_interrupted", "just_now"},
		},
		{"those that failed before", true, 99, []string{"again_first", "again_second"}},
		{"no more than the limit", false, 2, []string{"first", "second"}},
		{"none for a limit of 0", false, 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			errRollBack := errors.New("only looked")
			err := l.Update(t.Context(), func(tx *Tx) error {
				got = nil
				if _, err := tx.InsertPayment(row("just_now", "dev:8", tx.Now, nil)); err != nil {
					return err
				}
				due, err := tx.DueForNotehub(c.again, c.limit)
				if err != nil {
					return err
				}
				for _, p := range due {
					got = append(got, p.SessionID[len("cs_"):])
				}
				return errRollBack
			})
			if err != errRollBack {
				t.Fatal(err)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q; want %q", got, c.want)
			}
		})
	}
}

func testOrphanedLeases(t *testing.T, database string) {
	l := open(t, database)
	claimed, other := testPayment("claimed"), testPayment("other")
	other.DueAt = noon2020(0)
	claimed.InFlight, claimed.DueAt = true, time.Now().Add(time.Hour).Truncate(time.Millisecond).UTC()
	insert(t, l, claimed, other)
	due := func() []payment.Payment {
		t.Helper()
		read := inTx(l, func(tx *Tx) ([]payment.Payment, error) { return tx.DueForNotehub(false, 10) })
		if read.err != nil {
			t.Fatal(read.err)
		}
		return read.got
	}
	if got := due(); len(got) != 0 {
		t.Errorf("while a call to their device is under way: got %+v; want none", got)
	}
	closeLedger(t, l)
	l = open(t, database)
	if got := due(); !slices.Equal(got, []payment.Payment{other}) {
		t.Errorf("after another process has taken over: got %+v; want the other payment alone", got)
	}
	wantPayment(t, "the claimed one", claimed, second(l.Payment(t.Context(), claimed.ID)))
}

// noon2020 returns a time long in the past.
func noon2020(minute int) time.Time { return time.Date(2020, 1, 1, 12, minute, 0, 0, time.UTC) }

func testAttempts(t *testing.T, database string) {
	l := open(t, database)
	insert(t, l, testPayment("one"), testPayment("other"))
	id := payment.CreditID("cs_one")
	later := Attempt{
		At:      noon().Add(time.Second),
		Action:  payment.StepCheckPending,
		Outcome: "ok",
		Status:  200,
		Took:    12 * time.Millisecond,
	}
	earlier := Attempt{
		At:      noon(),
		Action:  payment.StepPostNote,
		Outcome: "retry",
		Detail:  "unclear: connection reset",
		Took:    3 * time.Second,
	}
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(
			tx.AddAttempt(id, later),
			tx.AddAttempt(id, earlier),
			tx.AddAttempt(payment.CreditID("cs_other"), later),
		)
	})
	got, err := l.Attempts(t.Context(), id)
	if want := []Attempt{earlier, later}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if got, err := l.Attempts(t.Context(), "cr_unknown"); err != nil || len(got) != 0 {
		t.Errorf("attempts of an unknown payment: got %+v, %v; want none", got, err)
	}
	all, err := l.AttemptsOf(t.Context(), id, "cr_unknown", payment.CreditID("cs_other"))
	if err != nil || len(all) != 2 || !slices.Equal(all[id], []Attempt{earlier, later}) ||
		!slices.Equal(all[payment.CreditID("cs_other")], []Attempt{later}) {
		t.Errorf("of several at once: got %+v, %v", all, err)
	}
	if none, err := l.AttemptsOf(t.Context()); err != nil || len(none) != 0 {
		t.Errorf("of none: got %+v, %v", none, err)
	}
	if read := inTx(l, func(tx *Tx) ([]Attempt, error) { return tx.Attempts(id) }); read.err != nil ||
		!slices.Equal(read.got, []Attempt{earlier, later}) {
		t.Errorf("within a transaction: got %+v, %v", read.got, read.err)
	}
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(
			tx.AddAttempt(id, Attempt{At: noon(), Action: payment.StepPostNote, Outcome: "ok", Status: 200}),
			tx.AddAttempt(id, Attempt{At: noon(), Action: payment.StepPostNote, Outcome: "retry", Status: 503}),
			tx.AddAttempt(id, Attempt{At: noon(), Action: payment.StepPostNote, Outcome: "retry", Status: 429}),
			tx.AddAttempt(id, Attempt{At: noon(), Action: payment.StepPostNote, Outcome: "failed", Status: 404}),
		)
	})
	// One call had no reply, one was accepted, and one got a 5xx status.
	if read := inTx(l, func(tx *Tx) (int, error) { return tx.NotesPosted(id) }); read.err != nil || read.got != 3 {
		t.Errorf("NotesPosted: %d, %v; want the 3 that may be there", read.got, read.err)
	}
}

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
