package ledger

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"
)

// takeBack undoes a migration, so that the ledger is one of an older notepay.
func takeBack(t *testing.T, path string) {
	t.Helper()
	err := runOn(t.Context(), path, "mode=rw", func(db *sql.DB) error {
		_, err := db.ExecContext(t.Context(), `DROP TABLE requests;
			ALTER TABLE audit DROP COLUMN amount; ALTER TABLE audit DROP COLUMN currency;
			DELETE FROM migrations WHERE name = '012_requests.sql'`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpenKeepsACopyBeforeAMigration(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notepay.db")
	first := open(t, path)
	insert(t, first, testPayment("one"))
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	copies := func() []string {
		t.Helper()
		found, err := filepath.Glob(path + ".before-*")
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	reopen := func() {
		t.Helper()
		if err := open(t, path).Close(); err != nil {
			t.Fatal(err)
		}
	}
	reopen()
	if found := copies(); len(found) != 0 {
		t.Fatalf("%v; want no copy of a ledger that is up to date", found)
	}
	takeBack(t, path)
	reopen()
	found := copies()
	if len(found) != 1 || found[0] != path+".before-012_requests" {
		t.Fatalf("%v; want one copy", found)
	}
	info, err := os.Stat(found[0])
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v; want a file for its owner alone", info, err)
	}
	restored := filepath.Join(t.TempDir(), "restored.db")
	if _, err := Restore(t.Context(), restored, found[0]); err != nil {
		t.Fatal(err)
	}
	l := open(t, restored)
	if payments, _, err := l.Payments(t.Context(), Filter{Limit: 10}); err != nil || len(payments) != 1 {
		t.Errorf("%v, %v; want the payment in the copy", payments, err)
	}
}

func TestOpenMigratesNothingWithoutACopy(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notepay.db")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	takeBack(t, path)
	// The place of the partial copy is taken by a directory that is not empty.
	blocked := path + ".before-012_requests.partial"
	if err := os.MkdirAll(filepath.Join(blocked, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if l, err := Open(t.Context(), path); err == nil {
		t.Errorf("%v; want an error", l.Close())
	}
	if err := os.RemoveAll(blocked); err != nil {
		t.Fatal(err)
	}
	open(t, path) // which could not be if the first start had migrated
	if _, err := os.Stat(path + ".before-012_requests"); err != nil {
		t.Error(err)
	}
}
