package process

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/sandbox"
)

func TestRestoreOfABackup(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	copied, database := filepath.Join(t.TempDir(), "copy.db"), w.Env["DATABASE_URL"]
	p := w.Spawn()
	w.Stripe.SetEndpoint(p.Url+"/webhook/stripe", fixture.TestSecret)
	s := &apptest.Service{W: w, Url: p.Url}
	link := s.Selling(fixture.Washer)
	first := w.Pay(link, sandbox.PayOptions{})
	w.Sent(fixture.Washer, 1)
	w.Until("Stripe is answered", w.Stripe.Settled)
	if code, out, complaint := w.Command("backup", copied); code != 0 {
		t.Fatalf("backup: %d, %q, %q", code, out, complaint)
	}
	second := w.Pay(link, sandbox.PayOptions{})
	w.Sent(fixture.Washer, 2)
	w.Until("Stripe is answered", w.Stripe.Settled)
	inUse := ledger.ErrLocked.Error() + "; stop it first"
	if code, _, complaint := w.Command("restore", copied); code != 1 || !strings.Contains(complaint, inUse) {
		t.Errorf("while the service runs: %d, %q; want it refused", code, complaint)
	}
	p.Kill(t)

	// The copy replaces the ledger by hand, and the log of the dead ledger is still there.
	whole, err := os.ReadFile(database)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(copied)
	if err == nil {
		err = os.WriteFile(database, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	code, _, complaint := w.Command("serve")
	if code != 1 || !strings.Contains(complaint, database+"-wal is the log of another ledger") ||
		!strings.Contains(complaint, "notepay restore") {
		t.Errorf("serve with a foreign log: %d, %q; want the log named, and what to do", code, complaint)
	}
	if code, _, complaint := w.Command("check"); code == 0 || strings.Contains(complaint, "database disk image") {
		t.Errorf("check with a foreign log: %d, %q", code, complaint)
	}
	if err := os.WriteFile(database, whole, 0o600); err != nil {
		t.Fatal(err)
	}

	code, out, complaint := w.Command("restore", copied)
	if code != 0 || !strings.Contains(out, "is now the ledger") ||
		!strings.Contains(out, "is kept as "+database+".replaced-") {
		t.Fatalf("restore: %d, %q, %q", code, out, complaint)
	}
	// Stripe's times have a resolution of a second, so the test waits for the next one before it
	// uses the copy.
	time.Sleep(time.Until(second.PaidAt.Truncate(time.Second).Add(1100 * time.Millisecond)))
	again := w.Start()
	again.Payment(first.ID, "sent", apptest.Has(`"machine":"sent"`))
	w.Resend(second.ID, "checkout.session.completed")
	again.Payment(second.ID, "adopted", apptest.Has(`"reason":"adopted"`))
	if again.Selling(fixture.Washer) != link {
		t.Errorf("the link is another one; want the old %s", link)
	}
	w.Stopped(again)
	if n := len(w.Notehub.Notes(fixture.Washer)); n != 2 {
		t.Errorf("%d notes; want one for each payment", n)
	}
}

func TestRestoreCommandLine(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	for _, args := range [][]string{{"restore"}, {"restore", ""}, {"restore", "a", "b"}} {
		code, _, complaint := w.Command(args...)
		if code != 2 || !strings.Contains(complaint, "restore takes one argument") {
			t.Errorf("%q: %d, %q", args, code, complaint)
		}
	}
	code, _, complaint := w.Command("restore", filepath.Join(t.TempDir(), "none.db"))
	if code != 1 || !strings.Contains(complaint, "no such file") {
		t.Errorf("a copy that is not there: %d, %q", code, complaint)
	}
}

// While the ledger's file is moved, notepay acknowledges no payment and stops sales.
func TestLedgerMovedWhileTheServiceRuns(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("open files cannot be moved there")
	}
	w := apptest.NewWorld(t)
	database := w.Env["DATABASE_URL"]
	p := w.Spawn()
	w.Stripe.SetEndpoint(p.Url+"/webhook/stripe", fixture.TestSecret)
	s := &apptest.Service{W: w, Url: p.Url}
	link := s.Selling(fixture.Washer)
	w.Pay(link, sandbox.PayOptions{})
	w.Sent(fixture.Washer, 1)
	w.Until("Stripe is answered", w.Stripe.Settled)
	if err := os.Rename(database, database+".away"); err != nil {
		t.Fatal(err)
	}
	session := w.Pay(link, sandbox.PayOptions{NoWebhook: true})
	event := ""
	for _, e := range w.Stripe.Events() {
		if e.ObjectID == session.ID {
			event = e.ID
		}
	}
	if status, err := w.Stripe.Send(event); err != nil || status < 500 {
		t.Errorf("the webhook is answered %d, %v; want Stripe to send it again", status, err)
	}
	w.Until("nothing is sold", func() bool {
		status, _, _ := s.Get("/pay?device=" + fixture.Washer)
		return status != http.StatusTemporaryRedirect
	})
	status, _, text := s.Get("/health")
	if status != http.StatusServiceUnavailable || !strings.Contains(text, "notepay restore COPY") {
		t.Errorf("/health answers %d: %s", status, text)
	}
	if err := os.Rename(database+".away", database); err != nil {
		t.Fatal(err)
	}
	w.Until("it sells again", func() bool {
		status, _, _ := s.Get("/pay?device=" + fixture.Washer)
		return status == http.StatusTemporaryRedirect
	})
	if status, err := w.Stripe.Send(event); err != nil || status != http.StatusOK {
		t.Errorf("the webhook is answered %d, %v; want it taken", status, err)
	}
	w.Sent(fixture.Washer, 2)
	p.Kill(t)
	w.Stopped(w.Start())
}

func TestDamagedLedgerStopsSales(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	database := w.Env["DATABASE_URL"]
	s := w.Start()
	link := s.Selling(fixture.Washer)
	for range 20 {
		w.Pay(link, sandbox.PayOptions{})
	}
	w.Sent(fixture.Washer, 20)
	w.Until("Stripe is answered", w.Stripe.Settled)
	w.Stopped(s)
	whole, err := os.ReadFile(database)
	if err != nil {
		t.Fatal(err)
	}
	damaged := append([]byte(nil), whole...)
	for page := 4096; page < len(damaged); page += 4096 {
		// These are leaf pages of the events' table, whose ids begin so.
		if damaged[page] == 13 && strings.Contains(string(damaged[page:page+4096]), "evt_1") {
			copy(damaged[page:], "\xff\xff\xff\xff\xff\xff\xff\xff")
		}
	}
	if err := os.WriteFile(database, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	p := w.Spawn()
	s = &apptest.Service{W: w, Url: p.Url}
	s.Selling(fixture.Washer)
	if status, _, text := s.Get("/api/stripe-events", "Authorization", "Bearer operator-token-1234"); status < 500 {
		t.Errorf("reading what is damaged answers %d: %s", status, text)
	}
	w.Until("nothing is sold", func() bool {
		status, _, _ := s.Get("/pay?device=" + fixture.Washer)
		return status != http.StatusTemporaryRedirect
	})
	status, _, text := s.Get("/health")
	if status != http.StatusServiceUnavailable || !strings.Contains(text, "damaged") {
		t.Errorf("/health answers %d: %s", status, text)
	}
	p.Kill(t)
	err = errors.Join(os.Remove(database+"-wal"), os.Remove(database+"-shm"), os.WriteFile(database, whole, 0o600))
	if err != nil {
		t.Fatal(err)
	}
}
