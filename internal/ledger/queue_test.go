package ledger

import (
	"errors"
	"slices"
	"testing"
	"time"

	"notepay/internal/payment"
)

// sessions returns the names of payments, in their order.
func sessions(list []payment.Payment) (names []string) {
	for _, p := range list {
		names = append(names, p.SessionID[len("cs_"):])
	}
	return names
}

func wantSessions(t *testing.T, what string, read reading[[]payment.Payment], want ...string) {
	t.Helper()
	if got := sessions(read.got); read.err != nil || !slices.Equal(got, want) {
		t.Errorf("%s: got %q, %v; want %q", what, got, read.err, want)
	}
}

// at returns a payment with a step and its due time.
func at(name string, step payment.Step, due time.Time, change ...func(*payment.Payment)) payment.Payment {
	p := testPayment(name)
	p.Step, p.DueAt = step, due
	for _, c := range change {
		c(&p)
	}
	return p
}

func testDueForStripe(t *testing.T, database string) {
	l := open(t, database)
	soon := time.Now().Add(time.Hour)
	failedBefore := func(p *payment.Payment) { p.Failures, p.FundsFailures = 1, 1 }
	insert(t, l,
		at("second", payment.StepRefund, noon2020(2)),
		at("first", payment.StepCapture, noon2020(1)),
		at("third", payment.StepCancel, noon2020(3)),
		at("not_yet", payment.StepRefund, soon),
		at("for_notehub", payment.StepRecall, noon2020(0)),
		at("for_time", payment.StepWait, noon2020(0)),
		idle(testPayment("nothing_to_do")),
		// of the same device: calls to Stripe do not wait for each other
		at("under_way", payment.StepRefund, soon, func(p *payment.Payment) { p.InFlight = true }),
		at("again_second", payment.StepRefund, noon2020(5), failedBefore),
		at("again_first", payment.StepCapture, noon2020(4), failedBefore),
	)
	due := func(again bool, limit int) reading[[]payment.Payment] {
		return inTx(l, func(tx *Tx) ([]payment.Payment, error) { return tx.DueForStripe(again, limit) })
	}
	wantSessions(t, "fresh ones", due(false, 99), "first", "second", "third")
	wantSessions(t, "those that failed before", due(true, 99), "again_first", "again_second")
	wantSessions(t, "no more than the limit", due(false, 1), "first")
	wantSessions(t, "what only waits",
		inTx(l, func(tx *Tx) ([]payment.Payment, error) { return tx.DueWaits(99) }), "for_time")

	stats, err := l.Stats(t.Context())
	if err != nil || stats.NextStripe != noon2020(1) || stats.NextNotehub != noon2020(0) ||
		stats.NextWait != noon2020(0) {
		t.Errorf("figures %+v, %v; want Stripe's next at %v", stats, err, noon2020(1))
	}
}

func testDueWaits(t *testing.T, database string) {
	l := open(t, database)
	insert(t, l,
		at("second", payment.StepWait, noon2020(2)),
		at("first", payment.StepWait, noon2020(1)),
		at("not_yet", payment.StepWait, time.Now().Add(time.Hour)),
		at("a_call", payment.StepPostNote, noon2020(0)),
	)
	due := func(limit int) reading[[]payment.Payment] {
		return inTx(l, func(tx *Tx) ([]payment.Payment, error) { return tx.DueWaits(limit) })
	}
	wantSessions(t, "all", due(99), "first", "second")
	wantSessions(t, "one", due(1), "first")
}

func testSilentAt(t *testing.T, database string) {
	l := open(t, database)
	type change = func(*payment.Payment)
	row := func(name string, machine payment.DeliveryStatus, by time.Time, changes ...change) payment.Payment {
		p := idle(testPayment(name))
		p.Delivery, p.ConfirmBy, p.MaybeAccepted, p.SentAt = machine, by, true, noon()
		if machine == payment.Failed {
			p.Reason = "unconfirmed"
		}
		for _, c := range changes {
			c(&p)
		}
		return p
	}
	insert(t, l,
		row("second", payment.Fetched, noon2020(2)),
		row("first", payment.Fetched, noon2020(1)),
		row("at_the_moment", payment.Fetched, noon2020(30)),
		row("not_yet", payment.Fetched, noon2020(31)),
		row("not_known_to_be_fetched", payment.Sent, noon2020(0)),
		row("says_nothing_ever", payment.Fetched, time.Time{}),
		row("has_answered", payment.Started, noon2020(0)),
		row("was_given_up", payment.Failed, noon2020(0)),
		row("under_way", payment.Fetched, noon2020(0), func(p *payment.Payment) {
			p.Step, p.DueAt, p.InFlight = payment.StepPostNote, noon(), true
		}),
	)
	silent := func(limit int) reading[[]payment.Payment] {
		return inTx(l, func(tx *Tx) ([]payment.Payment, error) { return tx.SilentAt(noon2020(30), limit) })
	}
	wantSessions(t, "all", silent(99), "first", "second", "at_the_moment")
	wantSessions(t, "one", silent(1), "first")
	if stats, err := l.Stats(t.Context()); err != nil || stats.NextSilent != noon2020(0) || !stats.Awaited {
		t.Errorf("figures %+v, %v; want the next silent at %v and some awaited", stats, err, noon2020(0))
	}
}

func testAwaited(t *testing.T, database string) {
	l := open(t, database)
	p := testPayment("sent")
	p.Delivery, p.MaybeAccepted, p.SentAt = payment.Sent, true, noon()
	insert(t, l, p)
	awaited := func(want bool) {
		t.Helper()
		if stats, err := l.Stats(t.Context()); err != nil || stats.Awaited != want {
			t.Errorf("%s: awaited %v (%v); want %v", p.Delivery, stats.Awaited, err, want)
		}
	}
	awaited(false) // the machine does not confirm
	p.ConfirmBy = noon()
	mustUpdate(t, l, func(tx *Tx) error { return tx.SavePayment(p) })
	awaited(true)
	p.Delivery = payment.Started
	mustUpdate(t, l, func(tx *Tx) error { return tx.SavePayment(p) })
	awaited(false)
}

func testOccupant(t *testing.T, database string) {
	l := open(t, database)
	occupies := func(name, device string) payment.Payment {
		p := testPayment(name)
		p.DeviceUID, p.HoldsDevice = device, true
		return p
	}
	first := occupies("first", "dev:1")
	insert(t, l, first, testPayment("of_the_same_device"), occupies("of_another", "dev:2"))
	occupant := func(device string) reading[payment.Payment] {
		return inTx(l, func(tx *Tx) (payment.Payment, error) { return tx.Occupant(device) })
	}
	wantPayment(t, "the occupant", first, occupant("dev:1"))
	if read := occupant("dev:3"); !errors.Is(read.err, ErrNotFound) {
		t.Errorf("of a free device: %+v, %v; want %v", read.got, read.err, ErrNotFound)
	}
	if list, err := l.Occupants(t.Context()); err != nil || len(list) != 2 {
		t.Errorf("occupants %q, %v; want both", sessions(list), err)
	}
	err := l.Update(t.Context(), func(tx *Tx) error {
		_, err := tx.InsertPayment(occupies("second", "dev:1"))
		return err
	})
	if err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("a second one for the same device: %v; want it refused, and not as a repeat", err)
	}
	first.HoldsDevice = false
	mustUpdate(t, l, func(tx *Tx) error { return tx.SavePayment(first) })
	insert(t, l, occupies("third", "dev:1"))
}

func testLastOfDevice(t *testing.T, database string) {
	l := open(t, database)
	row := func(name, device string, minute int) payment.Payment {
		p := testPayment(name)
		p.DeviceUID, p.CreatedAt = device, noon2020(minute)
		return p
	}
	insert(t, l,
		row("oldest", "dev:1", 1),
		row("newest", "dev:1", 3),
		row("middle", "dev:1", 2),
		row("other", "dev:2", 4),
	)
	last := func(device string, limit int) reading[[]payment.Payment] {
		return inTx(l, func(tx *Tx) ([]payment.Payment, error) { return tx.LastOfDevice(device, limit) })
	}
	wantSessions(t, "all", last("dev:1", 99), "newest", "middle", "oldest")
	wantSessions(t, "two", last("dev:1", 2), "newest", "middle")
	wantSessions(t, "of an unknown device", last("dev:9", 2))
}

func testStats(t *testing.T, database string) {
	l := open(t, database)
	wantStats := func(when string, want Stats) {
		t.Helper()
		if got, err := l.Stats(t.Context()); err != nil || got != want {
			t.Errorf("%s: got %+v, %v; want %+v", when, got, err, want)
		}
	}
	wantStats("of an empty ledger", Stats{})

	started := idle(testPayment("started"))
	started.Delivery, started.ReviewReason, started.MaybeAccepted = payment.Started, "refund_failed", true
	started.CreatedAt, started.SentAt = noon2020(0), noon2020(0)
	waitsForNothing := idle(testPayment("waits_for_nothing"))
	waitsForNothing.CreatedAt = noon2020(0)
	insert(t, l, started, waitsForNothing)
	wantStats("of one that a person must look at and one without a next step", Stats{NeedsAttention: 1})

	soon := time.Now().Add(time.Hour)
	queued, older, ranOut := testPayment("queued"), testPayment("older"), testPayment("ran_out")
	queued.CreatedAt, queued.DueAt, queued.ExpiresAt = noon2020(2), noon2020(7), soon
	older.CreatedAt, older.DueAt, older.ExpiresAt, older.Failures = noon2020(1), noon2020(6), time.Time{}, 2
	ranOut.CreatedAt, ranOut.DueAt, ranOut.ExpiresAt = noon2020(0), soon, noon2020(5)
	insert(t, l, queued, older, ranOut)
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(
			tx.AddLookup(Lookup{ID: "cs_2", PaidAt: tx.Now, DueAt: noon2020(9)}),
			tx.AddLookup(Lookup{ID: "cs_1", PaidAt: tx.Now, DueAt: noon2020(8)}),
		)
	})
	want := Stats{
		Queued:         3,
		OldestQueued:   noon2020(0),
		NeedsAttention: 1,
		NextNotehub:    noon2020(6),
		NextLookup:     noon2020(8),
	}
	wantStats("with the failed one due first", want)
	if oldest, err := l.OldestUntried(t.Context()); err != nil || !oldest.Equal(noon2020(2)) {
		t.Errorf("the oldest that has not run out and was not tried is of %v (%v); want %v", oldest, err, noon2020(2))
	}

	older.DueAt = noon2020(8)
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(
			tx.SavePayment(older),
			tx.AddLookup(Lookup{ID: "cs_3", PaidAt: tx.Now.Add(-16 * time.Minute), DueAt: soon}),
		)
	})
	want.NextNotehub, want.NeedsAttention = noon2020(7), 2
	wantStats("with the fresh one due first and a look-up that is late", want)
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
		t.Errorf("after another process took over: got %+v; want the other payment alone", got)
	}
	claimed.Rev++
	wantPayment(t, "the claimed one", claimed, second(l.Payment(t.Context(), claimed.ID)))
}
