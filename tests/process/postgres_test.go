package process

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/payment"
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

	_, first := paidEvent(w, link)
	d.do("hang")
	began := time.Now()
	if status, err := w.Stripe.Send(first); err != nil || status != http.StatusServiceUnavailable {
		t.Errorf("the first webhook while the server hangs is answered %d, %v; want 503", status, err)
	}
	if took := time.Since(began); took > 5500*time.Millisecond {
		t.Errorf("the first webhook was answered after %v; want at most 5.5 s", took)
	}
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
	began = time.Now()
	w.PaidMeanwhile(s, link, func() {
		if took := time.Since(began); took > 5500*time.Millisecond {
			t.Errorf("the webhook was answered after %v; want at most 5.5 s", took)
		}
		d.do("resume")
	})
	if status, err := w.Stripe.Send(first); err != nil || status != http.StatusOK {
		t.Errorf("the first webhook is answered %d, %v when it is repeated; want 200", status, err)
	}
	if n := len(w.Sent(fixture.Washer, 3)); n != 3 {
		t.Errorf("%d notes for three payments", n)
	}
	w.Terminated(p)
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
	// A service of another project is refused, because the row of this one outlived the restart.
	second := time.Now()
	other := map[string]string{"NOTEHUB_PROJECT_UID": "app:22222222-2222-2222-2222-222222222222"}
	if code, _, complaint := w.CommandWith(other, "serve"); code != 1 ||
		!strings.Contains(complaint, ledger.ErrLocked.Error()) {
		t.Errorf("a service of another project: %d, %q; want %v", code, complaint, ledger.ErrLocked)
	}
	if took := time.Since(second); took > 5*time.Second {
		t.Errorf("the other service was refused after %v; want a few seconds", took)
	}
	d.do("restart")
	w.Terminated(p)
}

// The server restarts and crashes while 16 senders deliver webhooks. Each webhook is accepted or put
// off, sales go on at once, and nothing that was accepted is lost or done twice.
func TestPostgresRestartsUnderLoad(t *testing.T) {
	t.Parallel()
	d, w, p, s, link := onPostgres(t)
	machine := w.Machine(sandbox.MachineConfig{Device: fixture.Washer, Every: 100 * time.Millisecond})
	running, powerOff := context.WithCancel(t.Context())
	var hosting sync.WaitGroup
	defer hosting.Wait()
	defer powerOff()
	hosting.Go(func() { machine.Run(running) })
	const senders = 16
	var all sync.WaitGroup
	var over atomic.Bool
	var lastAccepted atomic.Int64
	var accepted sync.Map
	for range senders {
		all.Go(func() {
			for !over.Load() {
				session, err := w.Stripe.Pay(link, sandbox.PayOptions{NoWebhook: true})
				if err != nil {
					t.Error(err)
					return
				}
				events := w.Stripe.Events()
				at := slices.IndexFunc(events, func(e sandbox.Event) bool { return e.ObjectID == session.ID })
				for {
					status, err := w.Stripe.Send(events[at].ID)
					if status == http.StatusOK {
						lastAccepted.Store(time.Now().UnixNano())
						accepted.Store(session.ID, true)
						break
					}
					if err != nil || status != http.StatusServiceUnavailable {
						t.Errorf("a webhook is answered %d, %v; want 200 or 503", status, err)
						return
					}
					pause(10 * time.Millisecond)
				}
				pause(20 * time.Millisecond)
			}
		})
	}
	for _, verb := range []string{"restart", "crash", "restart", "crash"} {
		pause(500 * time.Millisecond)
		d.do(verb)
		up := time.Now()
		for lastAccepted.Load() < up.UnixNano() {
			if time.Since(up) > 20*time.Second {
				t.Fatalf("no webhook is accepted 20 s after a %s", verb)
			}
			pause(time.Millisecond)
		}
		if took := time.Since(up); took > time.Second {
			t.Errorf("the first webhook is accepted %v after a %s; want 1 s at most", took, verb)
		}
	}
	over.Store(true)
	all.Wait()
	n, queued := 0, func(text string) bool { return strings.Contains(text, `"machine":"queued"`) }
	accepted.Range(func(session, _ any) bool {
		n++
		s.Payment(session.(string), "sent", func(text string) bool { return !queued(text) })
		return true
	})
	t.Logf("%d webhooks were accepted", n)
	w.Terminated(p)
	machine.Step()
	starts := map[string]int{}
	for _, start := range machine.Starts() {
		starts[start.CreditID]++
	}
	accepted.Range(func(session, _ any) bool {
		if credit := payment.CreditID(session.(string)); starts[credit] != 1 {
			t.Errorf("the machine started %d times for session %s; want once", starts[credit], session)
		}
		return true
	})
}

// An operator or a proxy may end all sessions while the server goes on.
func TestPostgresEndsTheSessions(t *testing.T) {
	t.Parallel()
	d, w, p, s, link := onPostgres(t)
	if n := d.query(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid()`); n < 2 {
		t.Fatalf("%d sessions ended; want those of the writer and the lease", n)
	}
	session := w.Pay(link, sandbox.PayOptions{})
	s.Payment(session.ID, "sent", apptest.Has(`"machine":"sent"`))
	const connections = `SELECT count(*) FROM pg_stat_activity WHERE usename = 'notepay' AND pid <> pg_backend_pid()`
	if n := d.query(connections); n > 13 {
		t.Errorf("%d connections; want at most 13", n)
	}
	w.Terminated(p)
}

func TestPostgresLeaseIsTakenByAnother(t *testing.T) {
	t.Parallel()
	d, _, p, _, _ := onPostgres(t)
	d.query(`DELETE FROM instances RETURNING 1`)
	p.Loses(t)
}

func TestPostgresReplicaIsPromoted(t *testing.T) {
	t.Parallel()
	d, w, p, _, _ := onPostgres(t)
	began := time.Now()
	d.do("promote")
	p.Loses(t)
	next := w.Spawn() // like a supervisor
	(&apptest.Service{W: w, Url: next.Url}).Selling(fixture.Washer)
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("the next service sells %v after the promotion; want a few seconds", took)
	}
	w.Terminated(next)
}

func TestPostgresAfterKill(t *testing.T) {
	t.Parallel()
	_, w, p, _, _ := onPostgres(t)
	if err := p.Cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.Ended
	began := time.Now()
	next := w.Spawn()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the next start took %v; want the rest of the lease at most", took)
	}
	w.Terminated(next)
}

// open opens the database. The caller closes it.
func (d *database) open() *sql.DB {
	d.Helper()
	db, err := sql.Open("pgx", d.url)
	if err != nil {
		d.Fatal(err)
	}
	return db
}

// query reads a number from the database.
func (d *database) query(query string) (n int) {
	d.Helper()
	db := d.open()
	defer db.Close()
	if err := db.QueryRow(query).Scan(&n); err != nil {
		d.Fatalf("%s: %v", query, err)
	}
	return n
}
