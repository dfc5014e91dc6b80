package ledger

import (
	"cmp"
	"errors"
	"slices"
	"testing"
	"time"

	"notepay/internal/payment"
)

func session(id string, ends time.Time) Session {
	return Session{ID: id, Livemode: true, DeviceUID: "dev:1", Manual: true, Ends: ends, Plan: link("").Plan}
}

func testSessions(t *testing.T, database string) {
	l := open(t, database)
	now := time.Now().Truncate(time.Millisecond).UTC()
	sold, over := session("cs_1", now.Add(time.Minute)), session("cs_2", now.Add(-time.Minute))
	later, test := session("cs_3", now.Add(time.Hour)), session("cs_4", now.Add(time.Minute))
	paid, old := session("cs_5", now.Add(time.Minute)), session("cs_6", now.Add(-32*24*time.Hour))
	later.Plan.Name, later.DeviceUID, test.Livemode, over.Plan.PriceID = "Very warm wash", "dev:2", false, "price_cold"
	for _, s := range []Session{old, sold, over, later, test, paid} {
		mustUpdate(t, l, func(tx *Tx) error { return tx.AddSession(s) })
	}
	p := testPayment("one")
	p.SessionID, p.ID = paid.ID, payment.CreditID(paid.ID)
	insert(t, l, p)

	mustUpdate(t, l, func(tx *Tx) error {
		for _, want := range []Session{sold, over, later, test} {
			if got, err := tx.Session(want.ID); err != nil || got != want {
				t.Errorf("%s reads %+v, %v; want %+v", want.ID, got, err, want)
			}
		}
		if got, err := tx.Session(old.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("a session of a month ago reads %+v, %v; want it forgotten", got, err)
		}
		return nil
	})
	sorted := func(list []Session, err error) []Session {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(list, func(a, b Session) int { return cmp.Compare(a.ID, b.ID) })
		return list
	}
	if got := sorted(l.OpenSessions(t.Context(), true, now)); !slices.Equal(got, []Session{sold, later}) {
		t.Errorf("open are %+v; want those that have neither ended nor a payment", got)
	}
	buyer := func() (Session, error) { return l.BuyerSession(t.Context(), "browser", "dev:1", "price_warm") }
	mine, second := session("cs_8", now.Add(time.Minute)), session("cs_9", now.Add(time.Minute))
	for _, s := range []*Session{&mine, &second} {
		s.Plan.PriceID, s.Browser, s.URL = "price_warm", "browser", "https://pay.example.com/"+s.ID
	}
	mustUpdate(t, l, func(tx *Tx) error { return tx.AddSession(mine) })
	if got, err := buyer(); err != nil || got != mine {
		t.Errorf("the buyer has %+v, %v; want %+v", got, err, mine)
	}
	if err := l.Update(t.Context(), func(tx *Tx) error { return tx.AddSession(second) }); err == nil {
		t.Error("a second open session of a buyer was stored")
	}
	mustUpdate(t, l, func(tx *Tx) error { return errors.Join(tx.ReplaceSession(mine.ID), tx.AddSession(second)) })
	if got, err := buyer(); err != nil || got != second {
		t.Errorf("the buyer has %+v, %v; want %+v", got, err, second)
	}
	mine.State = SessionReplaced
	if got := sorted(l.OpenSessions(t.Context(), true, now)); !slices.Equal(got, []Session{sold, later, mine, second}) {
		t.Errorf("open are %+v; want also the replaced one", got)
	}
	mustUpdate(t, l, func(tx *Tx) error { return errors.Join(tx.EndSession(mine.ID), tx.EndSession(second.ID)) })
	if got, err := buyer(); !errors.Is(err, ErrNotFound) {
		t.Errorf("after its end the buyer has %+v, %v; want none", got, err)
	}
	if got := sorted(l.OpenSessions(t.Context(), true, now)); !slices.Equal(got, []Session{sold, later}) {
		t.Errorf("open are %+v; want none that has ended", got)
	}
	plans, err := l.SessionPlans(t.Context(), true)
	slices.SortFunc(plans, func(a, b payment.Offer) int { return cmp.Compare(a.PriceID, b.PriceID) })
	if want := []payment.Offer{over.Plan, later.Plan}; err != nil || !slices.Equal(plans, want) {
		t.Errorf("the plans are %+v, %v; want the last sold of each price, %+v", plans, err, want)
	}

	free := session("cs_7", now)
	free.Plan.Amount = -1
	for name, bad := range map[string]Session{
		"a known session":   sold,
		"a PaymentIntent":   session("pi_1", now),
		"a negative amount": free,
	} {
		if err := l.Update(t.Context(), func(tx *Tx) error { return tx.AddSession(bad) }); err == nil {
			t.Errorf("%s was stored", name)
		}
	}
}
