package ledger

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"notepay/internal/payment"
)

func testOtherNonsense(t *testing.T, database string) {
	l := open(t, database)
	insert(t, l, testPayment("one"))
	attempt := Attempt{At: noon(), Action: payment.StepPostNote, Outcome: "ok"}
	event := StripeEvent{ID: "evt_1", Created: noon(), Received: noon(), Outcome: "ignored"}
	for name, c := range map[string]struct {
		rule, words string
		do          func(tx *Tx) error
	}{
		"an attempt for no payment": {"foreign key", "FOREIGN KEY", func(tx *Tx) error {
			return tx.AddAttempt(payment.CreditID("cs_unknown"), attempt)
		}},
		"an attempt at nothing": {"check", "action", func(tx *Tx) error {
			a := attempt
			a.Action = payment.NoStep
			return tx.AddAttempt(payment.CreditID("cs_one"), a)
		}},
		"an attempt without an outcome": {"check", "outcome", func(tx *Tx) error {
			a := attempt
			a.Outcome = ""
			return tx.AddAttempt(payment.CreditID("cs_one"), a)
		}},
		"an event that nothing came of": {"check", "outcome", func(tx *Tx) error {
			e := event
			e.Outcome = ""
			_, err := tx.AddEvent(e)
			return err
		}},
		"a device with another id": {"check", "uid LIKE", func(tx *Tx) error {
			return tx.SaveDevice(Device{UID: "imei:1"})
		}},
		"a link at a negative price": {"check", "amount", func(tx *Tx) error {
			k := link("plink_1")
			k.Plan.Amount = -1
			return tx.SaveLink(k)
		}},
		"a link for a negative duration": {"check", "duration_s", func(tx *Tx) error {
			k := link("plink_1")
			k.Plan.Duration = -time.Second
			return tx.SaveLink(k)
		}},
		"a link with a negative delay": {"check", "delayed_start_s", func(tx *Tx) error {
			k := link("plink_1")
			k.Plan.DelayedStart = -time.Second
			return tx.SaveLink(k)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			wantRefused(t, l.Update(t.Context(), c.do), c.rule, c.words)
		})
	}
}

// The schema rejects values that no method of Tx would write.
func testNonsenseStatements(t *testing.T, database string) {
	l := open(t, database)
	insert(t, l, testPayment("one"))
	mustUpdate(t, l, func(tx *Tx) error {
		_, err := tx.AddEvent(StripeEvent{ID: "evt_1", Outcome: "ignored"})
		return errors.Join(
			err,
			tx.SaveDevice(Device{UID: "dev:1"}),
			tx.SaveLink(link("plink_1")),
			tx.AddLookup(Lookup{ID: "cs_1"}),
		)
	})
	for set, words := range map[string]string{
		"payments SET livemode = 2":                     "livemode IN",
		"payments SET in_flight = 3":                    "in_flight BETWEEN",
		"payments SET posted = 2":                       "posted IN",
		"payments SET posted = 1, unclear = 2":          "unclear IN",
		"devices SET disabled = 2":                      "disabled IN",
		"links SET livemode = 2":                        "livemode IN",
		"links SET active = 2":                          "active IN",
		"stripe_events SET livemode = 2":                "livemode IN",
		"lookups SET failures = -1":                     "failures >=",
		"payments SET with_code = 2":                    "with_code IN",
		"payments SET access_code = '493817'":           "access_code",
		"payments SET with_code = 1, access_code = '1'": "access_code",
	} {
		t.Run(set, func(t *testing.T) {
			err := l.Update(t.Context(), func(tx *Tx) error {
				_, err := tx.exec("UPDATE " + set)
				return err
			})
			wantRefused(t, err, "check", words)
		})
	}
}

func testLookups(t *testing.T, database string) {
	l := open(t, database)
	lookup := func(id string, minute int) Lookup {
		return Lookup{ID: id, PaidAt: noon2020(minute), DueAt: noon2020(minute)}
	}
	future := time.Now().Add(time.Hour).Truncate(time.Millisecond).UTC()
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(
			tx.AddLookup(lookup("cs_second", 2)),
			tx.AddLookup(lookup("cs_first", 1)),
			tx.AddLookup(lookup("pi_third", 3)),
			tx.AddLookup(Lookup{ID: "cs_later", PaidAt: noon(), DueAt: future}),
			tx.AddLookup(lookup("cs_second", 0)),
		)
	})
	claim := func(lease time.Time, limit int) (claimed []Lookup) {
		t.Helper()
		mustUpdate(t, l, func(tx *Tx) (err error) {
			claimed, err = tx.ClaimLookups(lease, limit)
			return err
		})
		slices.SortFunc(claimed, func(a, b Lookup) int { return strings.Compare(a.ID, b.ID) })
		return claimed
	}

	lease := noon2020(30) // a lease that has expired
	want := []Lookup{
		{ID: "cs_first", PaidAt: noon2020(1), DueAt: lease, FencingToken: 1},
		{ID: "cs_second", PaidAt: noon2020(2), DueAt: lease, FencingToken: 2}, // requested twice
	}
	stale := claim(lease, 2)
	if !slices.Equal(stale, want) {
		t.Fatalf("the first claim: got %+v; want the two that are due longest, %+v", stale, want)
	}
	claimed := claim(future, 99)
	if got := ids(claimed); !slices.Equal(got, []string{"cs_first", "cs_second", "pi_third"}) ||
		claimed[0].FencingToken != 2 || claimed[2].FencingToken != 1 {
		t.Fatalf("the second claim: got %+v; want the two whose lease is over once more, and the third", claimed)
	}
	if again := claim(future, 99); len(again) != 0 {
		t.Errorf("what is claimed was claimed again: %+v", again)
	}

	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(
			tx.PostponeLookup(stale[0], noon2020(0)),
			tx.PostponeLookup(claimed[1], noon2020(40)),
			tx.DropLookup(claimed[2]),
			tx.DropLookup(stale[1]),
			tx.DropLookup(Lookup{ID: "cs_unknown"}),
		)
	})
	want = []Lookup{{ID: "cs_second", PaidAt: noon2020(2), DueAt: future, FencingToken: 4, Failures: 1}}
	under := claim(future, 99)
	if !slices.Equal(under, want) {
		t.Fatalf("after a good postponement and drop and stale ones: got %+v; want %+v", under, want)
	}

	// A look-up that was requested again while it was running does not end: its result may be too
	// old.
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(
			tx.AddLookup(lookup("cs_second", 50)),
			tx.DropLookup(under[0]),
			tx.PostponeLookup(under[0], future),
		)
	})
	want[0].FencingToken = 6
	if got := claim(future, 99); !slices.Equal(got, want) {
		t.Errorf("after it was asked for again: got %+v; want %+v", got, want)
	}

	// Handled is kept when the look-up is requested again without it. A delay is not a failure.
	handled := lookup("cs_handled", 0)
	handled.Handled = "delivered"
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(tx.AddLookup(handled), tx.AddLookup(lookup("cs_handled", 0)))
	})
	got := claim(future, 99)
	if len(got) != 1 || got[0].Handled != "delivered" {
		t.Fatalf("got %+v; want the one that was handled", got)
	}
	mustUpdate(t, l, func(tx *Tx) error { return tx.DelayLookup(got[0], noon2020(0)) })
	if got = claim(future, 99); len(got) != 1 || got[0].Failures != 0 {
		t.Errorf("got %+v; want it due again, without a failure", got)
	}
}

func ids(list []Lookup) (ids []string) {
	for _, l := range list {
		ids = append(ids, l.ID)
	}
	return ids
}

func testEvents(t *testing.T, database string) {
	l := open(t, database)
	first := StripeEvent{
		ID:       "evt_1",
		Type:     "checkout.session.completed",
		ObjectID: "cs_1",
		Livemode: true,
		Created:  noon().Add(-time.Minute),
		Received: noon(),
		Outcome:  "payment_recorded",
		Body:     `{"id":"evt_1"}`,
	}
	newer := StripeEvent{ID: "evt_0", Created: noon(), Received: noon().Add(time.Second), Outcome: "ignored"}
	repeat := first
	repeat.Outcome, repeat.Body = "duplicate_payment_ignored", "{}"
	var isNew []bool
	mustUpdate(t, l, func(tx *Tx) error {
		isNew = nil
		for _, e := range []StripeEvent{first, newer, repeat, repeat} {
			added, err := tx.AddEvent(e)
			if err != nil {
				return err
			}
			isNew = append(isNew, added)
		}
		return nil
	})
	if want := []bool{true, true, false, false}; !slices.Equal(isNew, want) {
		t.Errorf("AddEvent said new %v; want %v", isNew, want)
	}
	first.Repeats = 2
	for limit, want := range map[int][]StripeEvent{10: {newer, first}, 1: {newer}} {
		if got, err := l.Events(t.Context(), limit); err != nil || !slices.Equal(got, want) {
			t.Errorf("Events(%d): got %+v, %v; want %+v", limit, got, err, want)
		}
	}
}

func testDevices(t *testing.T, database string) {
	l := open(t, database)
	washer := Device{
		UID:          "dev:1",
		Name:         "Washer",
		Fleets:       []string{"fleet:1", "fleet:2"},
		Disabled:     true,
		LastActivity: noon(),
	}
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(
			tx.SaveDevice(Device{UID: "dev:1", Name: "old name"}),
			tx.SaveDevice(Device{UID: "dev:2"}),
			tx.SaveDevice(Device{UID: "dev:3"}),
			tx.SaveDevice(washer),
			tx.RemoveDevice("dev:2"),
			tx.RemoveDevice("dev:unknown"),
		)
	})
	got, err := l.Devices(t.Context())
	slices.SortFunc(got, func(a, b Device) int { return strings.Compare(a.UID, b.UID) })
	if want := []Device{washer, {UID: "dev:3"}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

// link returns an active link.
func link(id string) Link {
	return Link{
		ID:        id,
		Livemode:  true,
		DeviceUID: "dev:1",
		URL:       "https://buy.stripe.com/" + id,
		ReturnURL: "https://pay.example.com",
		Active:    true,
		Plan: payment.Offer{
			PriceID:         "price_warm",
			Name:            "Warm wash",
			Description:     "40 degrees",
			Image:           "https://files.stripe.com/1",
			Amount:          350,
			Currency:        "eur",
			Duration:        time.Hour,
			DelayedStart:    5 * time.Minute,
			AccessCode:      true,
			CurrencyOptions: "gbp=300,usd=400",
		},
		Manual: true,
	}
}

func testLinks(t *testing.T, database string) {
	l := open(t, database)
	sold, other, test := link("plink_1"), link("plink_2"), link("plink_3")
	other.DeviceUID, other.Plan = "dev:2", payment.Offer{PriceID: "price_cold"}
	test.Livemode = false
	changed := sold
	changed.Active, changed.ReturnURL = false, "https://new.example.com"
	changed.Plan = payment.Offer{PriceID: "price_hot", Name: "Hot wash", Amount: 500, Currency: "usd"}
	changed.DeviceUID, changed.URL, changed.Livemode, changed.Manual = "dev:9", "https://elsewhere", false, false
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(tx.SaveLink(sold), tx.SaveLink(other), tx.SaveLink(test), tx.SaveLink(changed))
	})
	sold.Active, sold.ReturnURL = false, "https://new.example.com" // all other columns stay as first stored

	read := inTx(l, func(tx *Tx) (Link, error) { return tx.Link("plink_1") })
	if read.err != nil || read.got != sold {
		t.Errorf("Link: got %+v, %v; want %+v", read.got, read.err, sold)
	}
	read = inTx(l, func(tx *Tx) (Link, error) { return tx.Link("plink_unknown") })
	if !errors.Is(read.err, ErrNotFound) {
		t.Errorf("an unknown link: got %+v, %v; want %v", read.got, read.err, ErrNotFound)
	}
	for livemode, want := range map[bool][]Link{true: {sold, other}, false: {test}} {
		got, err := l.Links(t.Context(), livemode)
		slices.SortFunc(got, func(a, b Link) int { return strings.Compare(a.ID, b.ID) })
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("Links(%v): got %+v, %v; want %+v", livemode, got, err, want)
		}
	}
}

func testOneActiveLink(t *testing.T, database string) {
	l := open(t, database)
	save := func(id string, change func(k *Link)) error {
		k := link(id)
		change(&k)
		return l.Update(t.Context(), func(tx *Tx) error { return tx.SaveLink(k) })
	}
	for _, c := range []struct {
		name    string
		refused bool
		id      string
		change  func(k *Link)
	}{
		{"the first", false, "plink_1", func(*Link) {}},
		{"a second active one", true, "plink_2", func(*Link) {}},
		{"a second that is not active", false, "plink_2", func(k *Link) { k.Active = false }},
		{"the second, to be activated beside the first", true, "plink_2", func(*Link) {}},
		{"one for another device", false, "plink_3", func(k *Link) { k.DeviceUID = "dev:2" }},
		{"one for another price", false, "plink_4", func(k *Link) { k.Plan.PriceID = "price_cold" }},
		{"one of the other mode", false, "plink_5", func(k *Link) { k.Livemode = false }},
		{"the first, to be deactivated", false, "plink_1", func(k *Link) { k.Active = false }},
		{"the second, after that", false, "plink_2", func(*Link) {}},
	} {
		err := save(c.id, c.change)
		if c.refused && constraint(err) != "unique" || !c.refused && err != nil {
			t.Errorf("%s: got error %v; want refused %v", c.name, err, c.refused)
		}
	}
}

func testMeta(t *testing.T, database string) {
	l := open(t, database)
	later := noon().Add(time.Hour + 123*time.Millisecond)
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(
			tx.SetMeta("moved", noon()),
			tx.SetMeta("moved", later),
			tx.SetMetaOnce("stays", noon()),
			tx.SetMetaOnce("stays", later),
			tx.SetMeta("zero", time.Time{}),
		)
	})
	for name, want := range map[string]time.Time{"moved": later, "stays": noon(), "zero": {}} {
		if got, err := l.Meta(t.Context(), name); err != nil || got != want {
			t.Errorf("Fact(%s): got %v, %v; want %v", name, got, err, want)
		}
		if read := inTx(l, func(tx *Tx) (time.Time, error) { return tx.Meta(name) }); read.err != nil ||
			read.got != want {
			t.Errorf("Tx.Fact(%s): got %v, %v; want %v", name, read.got, read.err, want)
		}
	}
	_, err := l.Meta(t.Context(), "unknown")
	if known, other := Found(err); known || other != nil {
		t.Errorf("an unknown fact: Has(%v) = %v, %v; want false, nil", err, known, other)
	}
	if known, err := Found(nil); !known || err != nil {
		t.Errorf("Has(nil) = %v, %v; want true, nil", known, err)
	}
	if known, err := Found(ErrClosed); known || err != ErrClosed {
		t.Errorf("Has(%v) = %v, %v; want false and the error", ErrClosed, known, err)
	}

	if err := l.Probe(t.Context()); err != nil {
		t.Errorf("probe: %v", err)
	}
	if at, err := l.Meta(t.Context(), "probe"); err != nil || time.Since(at).Abs() > time.Hour {
		t.Errorf("the probe was stored as %v, %v; want now", at, err)
	}
}

func testBirth(t *testing.T, database string) {
	before := time.Now().Truncate(time.Second)
	l := open(t, database)
	born := l.CreatedAt()
	if born.Before(before) || born.After(time.Now()) || born.Nanosecond() != 0 {
		t.Errorf("born %v; want the whole second in which it was made, %v", born, before)
	}
	closeLedger(t, l)
	if got := open(t, database).CreatedAt(); !got.Equal(born) {
		t.Errorf("born %v after it was opened again; want %v", got, born)
	}
}
