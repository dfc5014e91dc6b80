package process

import (
	"bufio"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/sandbox"
)

// database is a PostgreSQL server for one test. It ends with the test, even if the test is killed.
type database struct {
	*testing.T
	url     string
	verbs   io.Writer
	answers *bufio.Scanner
}

func startPostgres(t *testing.T) *database {
	t.Helper()
	if os.Getenv("NOTEPAY_TEST_POSTGRES") == "" {
		t.Skip("NOTEPAY_TEST_POSTGRES is not set: run this by tests/postgres.sh")
	}
	script := exec.Command(apptest.InModule(t, "tests", "postgres.sh"), "-")
	script.Stderr = t.Output()
	verbs, err := script.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	answers, err := script.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := script.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = verbs.Close()
		if err := script.Wait(); err != nil {
			t.Errorf("tests/postgres.sh: %v", err)
		}
	})
	d := &database{T: t, verbs: verbs, answers: bufio.NewScanner(answers)}
	d.url = d.answer()
	return d
}

func (d *database) answer() string {
	d.Helper()
	if !d.answers.Scan() {
		d.Fatalf("tests/postgres.sh ended: %v", d.answers.Err())
	}
	return d.answers.Text()
}

// do runs a command of the server: stop, restart, promote, hang or resume.
func (d *database) do(verb string) {
	d.Helper()
	if _, err := fmt.Fprintln(d.verbs, verb); err != nil {
		d.Fatal(err)
	}
	if answer := d.answer(); answer != verb {
		d.Fatalf("%s: tests/postgres.sh says %s", verb, answer)
	}
}

// onPostgres starts a service on a new server and waits until it sells.
func onPostgres(t *testing.T) (*database, *apptest.World, *apptest.Process, *apptest.Service, string) {
	t.Helper()
	d := startPostgres(t)
	w := apptest.NewWorld(t).Set("DATABASE_URL", d.url)
	p := w.Spawn()
	s := &apptest.Service{W: w, Url: p.Url}
	w.Stripe.SetEndpoint(s.Url+"/webhook/stripe", fixture.TestSecret)
	return d, w, p, s, s.Selling(fixture.Washer)
}

func TestPostgresHangs(t *testing.T) {
	t.Parallel()
	d, w, p, s, link := onPostgres(t)
	paid := w.Pay(link, sandbox.PayOptions{})
	s.Payment(paid.ID, "sent", apptest.Has(`"machine":"sent"`))
	_, header, _ := s.Get("/payment/success?session_id=" + paid.ID)

	d.do("hang")
	for range 3 { // the first requests may use idle connections, and the later ones find a full pool
		if status, text := s.Within(6*time.Second, "/health"); status != http.StatusServiceUnavailable {
			t.Errorf("/health while the server hangs: %d %s; want 503", status, text)
		}
	}
	report := s.ClosedFor("sales stop", http.StatusServiceUnavailable)
	if !strings.Contains(report, "does not answer") {
		t.Errorf("/health says %s; want the reason", report)
	}
	if status, text := s.Within(6*time.Second, "/metrics"); status != http.StatusOK ||
		!strings.Contains(text, "notepay_devices") {
		t.Errorf("/metrics while the server hangs: %d; want what does not need the database", status)
	}
	s.Within(6*time.Second, header.Get("Location"))
	began := time.Now()
	w.PaidMeanwhile(s, link, func() {
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("the webhook was answered after %v; want at most 6 s", took)
		}
		d.do("resume")
	})
	w.Terminated(p)
	if n := len(w.Notehub.Notes(fixture.Washer)); n != 2 {
		t.Errorf("%d notes for two payments", n)
	}
}

func TestPostgresHangsWhileTheServiceStops(t *testing.T) {
	t.Parallel()
	d, w, p, s, link := onPostgres(t)
	d.do("hang")
	w.Pay(link, sandbox.PayOptions{}) // its webhook is in flight
	s.Within(6*time.Second, "/health")
	w.Terminated(p)
	d.do("resume")
}

func TestPostgresIsGone(t *testing.T) {
	t.Parallel()
	d, w, p, s, _ := onPostgres(t)
	d.do("stop")
	if report := s.ClosedFor("sales stop", http.StatusServiceUnavailable); !strings.Contains(
		report, "cannot record payments",
	) {
		t.Errorf("/health says %s; want the reason", report)
	}
	s.Within(6*time.Second, "/health")
	w.Terminated(p)
}

func TestPostgresRestarts(t *testing.T) {
	t.Parallel()
	d, w, p, s, link := onPostgres(t)
	d.do("restart")
	s.Selling(fixture.Washer)
	session := w.Pay(link, sandbox.PayOptions{})
	s.Payment(session.ID, "sent", apptest.Has(`"machine":"sent"`))
	// The service took the lock again before it wrote.
	if code, _, complaint := w.Command("serve"); code != 1 || !strings.Contains(complaint, ledger.ErrLocked.Error()) {
		t.Errorf("a second service: %d, %q; want %v", code, complaint, ledger.ErrLocked)
	}
	d.do("restart")
	w.Terminated(p) // with or without the lock
}

func TestPostgresLockIsLost(t *testing.T) {
	t.Parallel()
	d, w, p, _, _ := onPostgres(t)
	db, err := sql.Open("pgx", d.url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var n int
	err = db.QueryRow(`SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory'`).Scan(&n)
	if err != nil || n != 1 {
		t.Fatalf("%d sessions ended, %v; want that with the lock", n, err)
	}
	p.Loses(t)
	next := w.Spawn() // like a supervisor
	(&apptest.Service{W: w, Url: next.Url}).Selling(fixture.Washer)
	w.Terminated(next)
}

// Another service opened the database during the restart, and it has the lock or had it.
func TestPostgresLockIsTakenByAnother(t *testing.T) {
	t.Parallel()
	d, _, p, _, _ := onPostgres(t)
	db, err := sql.Open("pgx", d.url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`UPDATE facts SET value = value + 1 WHERE name = 'opened'`); err != nil {
		t.Fatal(err)
	}
	d.do("restart")
	p.Loses(t)
}

func TestPostgresReplicaIsPromoted(t *testing.T) {
	t.Parallel()
	d, _, p, _, _ := onPostgres(t)
	d.do("promote")
	p.Loses(t)
}
