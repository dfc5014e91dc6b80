package process

import (
	"database/sql"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

// litestream does to a ledger what Litestream does: it adds its two tables, keeps a transaction for
// reading open so that only it removes the log, and copies pages into the file now and then.
type litestream struct {
	*testing.T
	db *sql.DB
	tx *sql.Tx
}

func newLitestream(t *testing.T, path string) *litestream {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)&_pragma=wal_autocheckpoint(0)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	l := &litestream{T: t, db: db}
	l.exec(`CREATE TABLE IF NOT EXISTS _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)`)
	l.exec(`CREATE TABLE IF NOT EXISTS _litestream_lock (id INTEGER)`)
	l.exec(`INSERT INTO _litestream_seq (id, seq) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET seq = seq + 1`)
	l.hold()
	return l
}

func (l *litestream) exec(query string, args ...any) {
	l.Helper()
	if _, err := l.db.ExecContext(l.Context(), query, args...); err != nil {
		l.Fatalf("%s: %v", query, err)
	}
}

// hold opens the transaction for reading.
func (l *litestream) hold() {
	l.Helper()
	var err error
	if l.tx, err = l.db.BeginTx(l.Context(), nil); err != nil {
		l.Fatal(err)
	}
	var n int
	if err := l.tx.QueryRow(`SELECT COUNT(1) FROM _litestream_seq`).Scan(&n); err != nil {
		l.Fatal(err)
	}
}

// replicate returns a copy of the ledger as it is now, as `litestream restore` makes one.
func (l *litestream) replicate() (path string) {
	l.Helper()
	if err := l.tx.Rollback(); err != nil {
		l.Fatal(err)
	}
	l.exec(`PRAGMA wal_checkpoint(PASSIVE)`)
	l.exec(`UPDATE _litestream_seq SET seq = seq + 1`)
	path = filepath.Join(l.TempDir(), "restored.db")
	l.exec(`VACUUM INTO ?`, path)
	l.hold()
	return path
}

// A copy that Litestream streamed has no stamp, and lacks the latest payments. It knows itself for a
// copy all the same when notepay restores it.
func TestRestoreOfWhatLitestreamStreamed(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t).Set("CONFIRM_WITHIN", "1h")
	p := w.Spawn()
	w.Stripe.SetEndpoint(p.Url+"/webhook/stripe", fixture.TestSecret)
	s := &apptest.Service{W: w, Url: p.Url}
	link := s.Selling(fixture.Washer)
	stream := newLitestream(t, w.Env["DATABASE_URL"])
	first := w.Pay(link, sandbox.PayOptions{})
	w.Sent(fixture.Washer, 1)
	w.Until("Stripe is answered", w.Stripe.Settled)
	copied := stream.replicate()
	later := []sandbox.Session{w.Pay(link, sandbox.PayOptions{}), w.Pay(link, sandbox.PayOptions{})}
	w.Sent(fixture.Washer, 3)
	w.Until("Stripe is answered", w.Stripe.Settled)
	if _, _, health := s.Get("/health"); !strings.Contains(health, `"status":"ok"`) {
		t.Errorf("beside Litestream: %s; want ok", health)
	}
	p.Kill(t)
	if err := stream.tx.Rollback(); err != nil {
		t.Error(err)
	}
	if err := stream.db.Close(); err != nil {
		t.Error(err)
	}
	if code, out, complaint := w.Command("restore", copied); code != 0 {
		t.Fatalf("restore: %d, %q, %q", code, out, complaint)
	}
	time.Sleep(time.Until(later[1].PaidAt.Truncate(time.Second).Add(1100 * time.Millisecond)))
	again := w.Start()
	again.Payment(first.ID, "sent", apptest.Has(`"money":"paid"`))
	for _, one := range later {
		w.Resend(one.ID, "checkout.session.completed")
		// The earlier ledger sent it, so the money stays and the machine is not started again.
		text := again.Payment(one.ID, "adopted", apptest.Has(`"reason":"adopted"`))
		if !apptest.Has(`"money":"paid"`)(text) {
			t.Errorf("the money is not kept: %s", text)
		}
	}
	if n := w.Stripe.Count("POST /v1/refunds"); n != 0 {
		t.Errorf("%d refunds of what machines have; want none", n)
	}
	if status, _, _ := again.Get("/health"); status != http.StatusOK {
		t.Errorf("/health: %d", status)
	}
	w.Sent(fixture.Washer, 3)
}
