package ledger

import (
	"errors"
	"testing"
	"time"
)

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
