package ledger

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"notepay/internal/payment"
)

func testConfirmations(t *testing.T, database string) {
	l := open(t, database)
	later := Confirmation{
		ID:        "2",
		DeviceUID: "dev:1",
		CreditID:  payment.CreditID("cs_one"),
		State:     "done",
		At:        noon().Add(time.Minute),
		Outcome:   "taken",
	}
	earlier := Confirmation{
		ID:        "3",
		DeviceUID: "dev:1",
		CreditID:  payment.CreditID("cs_one"),
		State:     "failed",
		Code:      "E-DOOR",
		At:        noon(),
		Outcome:   "taken",
	}
	other := Confirmation{
		ID:        "4",
		DeviceUID: "dev:1",
		CreditID:  "cr_unknown",
		State:     "started",
		At:        noon(),
		Outcome:   "unknown_credit",
	}
	repeat := later
	repeat.State, repeat.Outcome = "started", "ignored"
	var isNew []bool
	mustUpdate(t, l, func(tx *Tx) error {
		isNew = nil
		for _, c := range []Confirmation{later, earlier, other, repeat} {
			n, err := tx.AddConfirmation(c)
			if err != nil {
				return err
			}
			isNew = append(isNew, n)
		}
		return nil
	})
	if want := []bool{true, true, true, false}; !slices.Equal(isNew, want) {
		t.Errorf("AddConfirmation said new %v; want %v", isNew, want)
	}
	if got, err := l.Confirmations(t.Context(), payment.CreditID("cs_one")); err != nil ||
		!slices.Equal(got, []Confirmation{earlier, later}) {
		t.Errorf("got %+v, %v; want %+v and %+v", got, err, earlier, later)
	}
	for id, want := range map[string]bool{"2": true, "4": true, "5": false, "": false} {
		if read := inTx(l, func(tx *Tx) (bool, error) { return tx.HasConfirmation(id) }); read.err != nil ||
			read.got != want {
			t.Errorf("HasConfirmation(%q): %v, %v; want %v", id, read.got, read.err, want)
		}
	}
	for credit, want := range map[string]bool{
		payment.CreditID("cs_one"): true,
		"cr_unknown":               true,
		"cr_other":                 false,
		"":                         false,
	} {
		if read := inTx(l, func(tx *Tx) (bool, error) { return tx.Answered(credit) }); read.err != nil ||
			read.got != want {
			t.Errorf("Answered(%q): %v, %v; want %v", credit, read.got, read.err, want)
		}
	}
	err := l.Update(t.Context(), func(tx *Tx) error {
		_, err := tx.AddConfirmation(Confirmation{ID: "6", At: noon()})
		return err
	})
	wantRefused(t, err, "check", "outcome")
}

func testCursors(t *testing.T, database string) {
	l := open(t, database)
	cursor := func(name, want string) {
		t.Helper()
		if got, err := l.Cursor(t.Context(), name); err != nil || got != want {
			t.Errorf("cursor %s: %q, %v; want %q", name, got, err, want)
		}
	}
	cursor("confirmations", "")
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(
			tx.SetCursor("confirmations", "7"),
			tx.SetCursor("others", "1"),
			tx.SetCursor("confirmations", "8-abc"),
		)
	})
	cursor("confirmations", "8-abc")
	cursor("others", "1")
	errStop := errors.New("the power goes")
	err := l.Update(t.Context(), func(tx *Tx) error { return errors.Join(tx.SetCursor("others", "2"), errStop) })
	if !errors.Is(err, errStop) {
		t.Errorf("got %v; want %v", err, errStop)
	}
	cursor("others", "1")
	closeLedger(t, l)
	l = open(t, database)
	cursor("confirmations", "8-abc")
}

func testRepeatedEvents(t *testing.T, database string) {
	l := open(t, database)
	repeat := func(id string) bool {
		t.Helper()
		read := inTx(l, func(tx *Tx) (bool, error) { return tx.RepeatOfEvent(id) })
		if read.err != nil {
			t.Fatal(read.err)
		}
		return read.got
	}
	if repeat("evt_1") {
		t.Error("an event that is not stored was a repeat")
	}
	mustUpdate(t, l, func(tx *Tx) error {
		_, err := tx.AddEvent(StripeEvent{ID: "evt_1", Created: noon(), Received: noon(), Outcome: "ignored"})
		return err
	})
	for n := range 2 {
		if !repeat("evt_1") {
			t.Errorf("repeat %d of the stored event was none", n+1)
		}
	}
	if repeat("evt_2") {
		t.Error("another event was a repeat")
	}
	if list, err := l.Events(t.Context(), 10); err != nil || len(list) != 1 || list[0].Repeats != 2 {
		t.Errorf("%+v, %v; want one event with two repeats", list, err)
	}
}

func testDisputes(t *testing.T, database string) {
	l := open(t, database)
	first := payment.Dispute{
		ID:            "dp_1",
		PaymentIntent: "pi_1",
		Status:        "needs_response",
		Amount:        350,
		Currency:      "eur",
		ReportedAt:    noon(),
	}
	second := payment.Dispute{
		ID:            "dp_2",
		PaymentIntent: "pi_1",
		Status:        "warning_needs_response",
		Amount:        100,
		Currency:      "eur",
		Refundable:    true,
		ReportedAt:    noon(),
	}
	other := payment.Dispute{ID: "dp_3", PaymentIntent: "pi_2", Status: "won", Currency: "usd", ReportedAt: noon()}
	for _, d := range []payment.Dispute{first, second, other} {
		mustUpdate(t, l, func(tx *Tx) error { return tx.SaveDispute(d) })
	}
	first.Status, first.Amount, first.ReportedAt = "lost", 300, noon().Add(time.Hour)
	mustUpdate(t, l, func(tx *Tx) error { return tx.SaveDispute(first) })
	for intent, want := range map[string][]payment.Dispute{"pi_1": {first, second}, "pi_2": {other}, "pi_3": nil} {
		if read := inTx(l, func(tx *Tx) ([]payment.Dispute, error) { return tx.Disputes(intent) }); read.err != nil ||
			!slices.Equal(read.got, want) {
			t.Errorf("disputes about %s: %+v, %v; want %+v", intent, read.got, read.err, want)
		}
	}
}

func testPauses(t *testing.T, database string) {
	l := open(t, database)
	first := Pause{DeviceUID: "dev:1", Reason: "it leaks", By: "a person", At: noon()}
	automatic := Pause{
		DeviceUID: "dev:1",
		Reason:    "silent",
		By:        "notepay",
		At:        noon().Add(time.Minute),
		Automatic: true,
	}
	other := Pause{DeviceUID: "dev:2", At: noon()}
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(
			tx.SaveDevice(Device{UID: "dev:1"}),
			tx.Pause(first),
			tx.Pause(other),
			tx.Pause(automatic),
			tx.RemoveDevice("dev:1"),
		)
	})
	of := func(device string, want Pause, known bool) {
		t.Helper()
		for what, read := range map[string]reading[Pause]{
			"PauseOf":    second(l.PauseOf(t.Context(), device)),
			"Tx.PauseOf": inTx(l, func(tx *Tx) (Pause, error) { return tx.PauseOf(device) }),
		} {
			if is, err := Found(read.err); err != nil || is != known || known && read.got != want {
				t.Errorf("%s(%s): %+v, %v; want %+v, known %v", what, device, read.got, read.err, want, known)
			}
		}
	}
	of("dev:1", automatic, true) // a removed device keeps its pause
	of("dev:3", Pause{}, false)
	mustUpdate(t, l, func(tx *Tx) error { return errors.Join(tx.Resume("dev:1"), tx.Resume("dev:3")) })
	of("dev:1", Pause{}, false)
	if list, err := l.Pauses(t.Context()); err != nil || !slices.Equal(list, []Pause{other}) {
		t.Errorf("pauses %+v, %v; want %+v", list, err, other)
	}
}

func testAudit(t *testing.T, database string) {
	l := open(t, database)
	var want []string
	for n := range 5 {
		a := Audit{
			At:       noon2020(n),
			Who:      "a person",
			What:     []string{"pause", "resume"}[n%2],
			Subject:  "dev:1",
			Why:      fmt.Sprint(n),
			Before:   "b",
			After:    "a",
			Amount:   int64(n),
			Currency: strings.Repeat("eur", min(n, 1)),
		}
		mustUpdate(t, l, func(tx *Tx) error { return tx.AddAudit(a) })
		want = append(want, a.Why)
	}
	slices.Reverse(want)
	mustUpdate(t, l, func(tx *Tx) error {
		return tx.AddAudit(Audit{Who: "notepay", What: "pause", Subject: "dev:2", Why: "now"})
	})
	var got []string
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		list, next, err := l.Audits(t.Context(), "dev:1", 2, cursor)
		if err != nil || len(list) > 2 || pages > 3 {
			t.Fatalf("page %d: %+v, %v", pages, list, err)
		}
		for _, a := range list {
			got = append(got, a.Why)
		}
		cursor = next
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q; want %q", got, want)
	}
	all, next, err := l.Audits(t.Context(), "", 6, "")
	if err != nil || len(all) != 6 || next != "" || time.Since(all[0].At).Abs() > time.Hour || all[0].Why != "now" ||
		all[5].Before != "b" || all[5].After != "a" || all[1].Amount != 4 || all[1].Currency != "eur" ||
		all[5].Amount != 0 || all[0].Amount != 0 {
		t.Errorf("all: %+v, %q, %v; want six, the one of now first", all, next, err)
	}
	for what, want := range map[string]time.Time{"pause": noon2020(4), "resume": noon2020(3), "start": {}} {
		if read := inTx(l, func(tx *Tx) (time.Time, error) { return tx.LastAudit("dev:1", what) }); read.err != nil ||
			read.got != want {
			t.Errorf("the last %s: %v, %v; want %v", what, read.got, read.err, want)
		}
	}
	for words, a := range map[string]Audit{"who": {What: "pause"}, "what": {Who: "notepay"}} {
		wantRefused(t, l.Update(t.Context(), func(tx *Tx) error { return tx.AddAudit(a) }), "check", words)
	}
}

// A stamped backup gets a new birth, and its open payments are returned until they are quarantined.
func testRestored(t *testing.T, database string) {
	l := open(t, database)
	due := testPayment("due")
	insert(t, l, due, idle(testPayment("closed")))
	restored := func(want ...string) {
		t.Helper()
		wantSessions(t, "restored", inTx(l, func(tx *Tx) ([]payment.Payment, error) { return tx.Restored() }), want...)
	}
	restored() // not a backup
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(tx.SetMeta("born", noon2020(0)), tx.SetMeta(metaBackup, noon2020(1)))
	})
	closeLedger(t, l)

	for n := range 2 { // two starts without SetQuarantined
		l = open(t, database)
		if time.Since(l.CreatedAt()).Abs() > time.Hour {
			t.Errorf("born %v; want now", l.CreatedAt())
		}
		own := testPayment(fmt.Sprintf("own%d", n)) // paid before the others are quarantined
		own.PaidAt = l.Now()
		insert(t, l, own)
		restored("due")
		if at, err := l.Meta(t.Context(), MetaEventsRead); err != nil || !at.Equal(noon2020(0)) {
			t.Errorf("events are read from %v, %v; want from the birth of the ledger that never read any", at, err)
		}
		if _, err := l.Meta(t.Context(), metaBackup); !errors.Is(err, ErrNotFound) {
			t.Errorf("the stamp: %v; want it taken off", err)
		}
		closeLedger(t, l)
	}
	l = open(t, database)
	mustUpdate(t, l, func(tx *Tx) error { return tx.SetQuarantined() })
	restored()
	closeLedger(t, l)
	l = open(t, database)
	restored()
}
