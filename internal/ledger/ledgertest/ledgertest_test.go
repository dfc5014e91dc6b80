package ledgertest_test

import (
	"testing"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/ledger/ledgertest"
	"notepay/internal/vendortime"
)

// TestFreshIsLikeANewLedger checks that a fresh ledger has no history: its first start is a ledger's
// birth, and no start takes it for a copy.
func TestFreshIsLikeANewLedger(t *testing.T) {
	t.Parallel()
	path := ledgertest.Fresh(t)
	l, err := ledger.OpenBy(t.Context(), path, vendortime.New(nil))
	if err != nil {
		t.Fatal(err)
	}
	if !l.CreatedAt().IsZero() || l.Settled() || len(l.Notices()) != 0 {
		t.Errorf("born %v, settled %t, notices %q; want a ledger without a birth",
			l.CreatedAt(), l.Settled(), l.Notices())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	if l, err = ledger.Open(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if born := l.CreatedAt(); born.Before(before.Add(-time.Second)) || len(l.Notices()) != 0 {
		t.Errorf("born %v, notices %q; want now and none", born, l.Notices())
	}
}
