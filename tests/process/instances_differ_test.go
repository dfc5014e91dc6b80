package process

import (
	"database/sql"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
)

// launch starts an instance whose log is kept.
func (s *instances) launch(settings ...string) *apptest.LockedBuffer {
	s.Helper()
	log := &apptest.LockedBuffer{W: s.w, Out: io.Discard}
	env := maps.Clone(s.w.Env)
	for i := 0; i < len(settings); i += 2 {
		env[settings[i]] = settings[i+1]
	}
	s.procs = append(s.procs, s.w.Launch(apptest.Invoked(s.T, s.w.Dir, env), log))
	return log
}

// Instances whose settings differ say which settings those are.
func TestInstancesWithOtherSettings(t *testing.T) {
	t.Parallel()
	s := newInstances(t, 0)
	logs := []*apptest.LockedBuffer{s.launch(), s.launch("CREDIT_LIFETIME", "11m", "NOTE_FILE", "other.qi")}
	const names = "CREDIT_LIFETIME, NOTE_FILE"
	for n, log := range logs {
		s.w.Until("the health names what differs", func() bool {
			_, _, text := s.service(n).Get("/health")
			return strings.Contains(text, "have other settings") && strings.Contains(text, names)
		})
		if text := log.String(); !strings.Contains(text, `msg="settings of instances differ"`) ||
			!strings.Contains(text, names) {
			t.Errorf("instance %d does not log what differs", n)
		}
	}
	wants := func(want string) {
		t.Helper()
		_, out, complaint := s.w.Command("check")
		if !strings.Contains(out, want) {
			t.Errorf("check prints %s %s; want %q in it", out, complaint, want)
		}
	}
	wants("1 of 2 have other settings than these: ")
	wants(names)
	s.w.Terminated(s.procs[1])
	s.procs = s.procs[:1]
	s.w.Until("the health is good again", func() bool {
		_, _, text := s.service(0).Get("/health")
		return !strings.Contains(text, "have other settings")
	})
	wants("1 at work, with these settings")
	s.stop()
}

// accused returns the instances that report a second installation.
func (s *instances) accused() (list []int) {
	for n := range s.procs {
		if _, _, text := s.service(n).Get("/health"); strings.Contains(text, apptest.TwinsText) {
			list = append(list, n)
		}
	}
	return list
}

// Instances that lead in turns sign the same Payment Link over each other's signatures. None takes
// another one for a second installation.
func TestInstancesAreNoTwins(t *testing.T) {
	t.Parallel()
	s := newInstances(t, 2)
	s.service(0).Selling(fixture.Washer)
	signed := func() string { return fmt.Sprint(s.w.Stripe.Links()[0].Metadata) }
	for turn := range 5 {
		want, before := turn%2, signed()
		s.w.Until("the other instance leads", func() bool {
			if s.leading(want) && !s.leading(1-want) {
				return true
			}
			s.d.query(`UPDATE leader SET until = 0, term = term + 1, holder = '' RETURNING 1`)
			pause(time.Second + rand.N(time.Second)) // so that it is not the same one that takes it each time
			return false
		})
		s.refresh(want)
		s.w.Until("it has signed", func() bool { return turn == 0 || signed() != before })
	}
	if list := s.accused(); len(list) > 0 {
		t.Errorf("the instances %v take another one for a second installation", list)
	}
	s.stop()
}

// Another installation works on the same machines and payments, with a ledger of its own. It and the
// instances detect each other.
func TestInstancesBesideAnotherInstallation(t *testing.T) {
	t.Parallel()
	s := newInstances(t, 2, "POLL_INTERVAL", "10s") // for the events of Stripe, which only go to the instances
	s.service(1).Selling(fixture.Washer)
	ours := s.w.Env["DATABASE_URL"]
	s.w.Set("DATABASE_URL", filepath.Join(s.w.Dir, "foreign.db"))
	foreign := s.w.Spawn()
	s.w.Set("DATABASE_URL", ours)
	other := &apptest.Service{W: s.w, Url: foreign.Url}
	s.w.Until("an instance detects the other installation", func() bool { return len(s.accused()) > 0 })
	s.w.Until("the other installation detects the instances", func() bool {
		_, _, text := other.Get("/health")
		return strings.Contains(text, apptest.TwinsText)
	})
	s.w.Terminated(foreign)
	s.stop()
}

// newestSchema returns the name of the newest schema that this program knows.
func newestSchema(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(apptest.InModule(t, "internal", "ledger", "migrations", "*.sql"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d migrations, %v", len(files), err)
	}
	return strings.TrimSuffix(filepath.Base(slices.Max(files)), ".sql")
}

// A ledger that a newer program has upgraded is refused at once, with both versions.
func TestPostgresOfANewerProgram(t *testing.T) {
	t.Parallel()
	d := startPostgres(t)
	testNewerProgram(t, "pgx", d.url)
}

// The same with SQLite.
func TestLedgerOfANewerProgram(t *testing.T) {
	t.Parallel()
	testNewerProgram(t, "sqlite", "")
}

func testNewerProgram(t *testing.T, driver, database string) {
	t.Helper()
	w := apptest.NewWorld(t)
	if database == "" {
		database = w.Env["DATABASE_URL"]
	}
	w.Set("DATABASE_URL", database)
	s := w.Start()
	w.Stopped(s)
	change := func(statement string) {
		t.Helper()
		db, err := sql.Open(driver, database)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	change(`INSERT INTO migrations (name) VALUES ('999_from_tomorrow.sql')`)
	// The machine is busy with other tests, so the start of the program alone takes as long as it takes.
	fastest := time.Minute
	for range 3 {
		began := time.Now()
		w.Command("version")
		started := time.Now()
		code, _, complaint := w.Command("serve")
		fastest = min(fastest, time.Since(started)-started.Sub(began))
		if code != 1 || !strings.Contains(complaint, "999_from_tomorrow") ||
			!strings.Contains(complaint, newestSchema(t)) {
			t.Errorf("serve: %d, %q; want exit code 1 and both versions", code, complaint)
		}
	}
	t.Logf("serve is refused within %v", fastest)
	if fastest > 2*time.Second {
		t.Errorf("serve is refused after %v; want 2 s at most", fastest)
	}
	code, out, complaint := w.Command("check")
	if code != 1 || !strings.Contains(out, "999_from_tomorrow") || !strings.Contains(out, newestSchema(t)) {
		t.Errorf("check: %d, %s, %q; want exit code 1 and both versions", code, out, complaint)
	}
	change(`DELETE FROM migrations WHERE name = '999_from_tomorrow.sql'`) // the invariants read the ledger
}
