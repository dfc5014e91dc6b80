package apptest

import (
	"database/sql"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"notepay/internal/fixture"
)

// PlainCopy copies a ledger in use with anything but `notepay backup`: nothing in the copy says
// that it is one.
func PlainCopy(t *testing.T, from, to string) {
	t.Helper()
	path, err := filepath.Abs(from)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?mode=rw&_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), `VACUUM INTO $1`, to); err != nil {
		t.Fatal(err)
	}
}

// Copied makes a plain copy of the ledger. The function that it returns starts the service on the
// copy, as on a snapshot of the whole machine: nothing beside the copy tells that it is one.
func (f *Front) Copied() (restore func()) {
	f.Helper()
	copied := filepath.Join(f.TempDir(), "copy.db")
	PlainCopy(f.T, f.Path, copied)
	return func() {
		f.Stop()
		f.CloseLedger()
		f.Path = copied
		f.Open()
		f.Run()
	}
}

// HandlerOfOthers has Stripe send its events to somebody else, who accepts them all, and not to us.
func (f *Front) HandlerOfOthers() {
	ours := f.Handler
	f.Stripe.SetEndpoint("http://others.test/hook", fixture.TestSecret)
	f.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/hook") {
			ours.ServeHTTP(w, r)
		}
	})
}
