// Package ledgertest gives tests new SQLite ledgers without running all migrations for each.
//
// A new ledger is a copy of one that was opened once and did no work. It has no birth, and no
// payments.
package ledgertest

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"notepay/internal/ledger"
	"notepay/internal/vendortime"
)

// Fresh returns the path of a new ledger in a folder of the test. It is safe for concurrent use.
func Fresh(t testing.TB) string {
	t.Helper()
	empty, err := emptyLedger()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "notepay.db")
	if err := os.WriteFile(path, empty, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// emptyLedger returns the file of a ledger that was opened and closed before its clock was known.
var emptyLedger = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "notepay-empty-ledger-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "notepay.db")
	l, err := ledger.OpenBy(context.Background(), path, vendortime.New(nil))
	if err != nil {
		return nil, err
	}
	if err := l.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})
