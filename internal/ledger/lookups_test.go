package ledger

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

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

func testLateLookups(t *testing.T, database string) {
	l := open(t, database)
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(
			tx.AddLookup(Lookup{ID: "cs_old", PaidAt: noon(), DueAt: noon()}),
			tx.AddLookup(Lookup{ID: "cs_new", PaidAt: noon().Add(time.Hour), DueAt: noon()}),
		)
	})
	got, err := l.LateLookups(t.Context(), noon().Add(time.Minute), 10)
	if err != nil || len(got) != 1 || got[0].ID != "cs_old" {
		t.Errorf("%+v, %v; want cs_old", got, err)
	}
}
