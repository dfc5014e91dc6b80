package process

import (
	"context"
	"database/sql"
	"encoding/json"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

// newerMigration is a migration of a program that does not exist yet. It adds a column to all payments,
// and two indexes, which is more than a migration should do.
const newerMigration = `-- needs: 066
ALTER TABLE payments ADD COLUMN later TEXT NOT NULL DEFAULT '';
CREATE INDEX payments_later ON payments (created_at) WHERE later <> '';
CREATE INDEX payments_of_price ON payments (price_id, created_at);
`

// newerProgram builds the program with one more migration.
func newerProgram(t *testing.T) (path string) {
	t.Helper()
	dir := t.TempDir()
	file, list := filepath.Join(dir, "900.sql"), filepath.Join(dir, "overlay.json")
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {
		apptest.InModule(t, "internal", "ledger", "migrations", "900_newer.sql"): file,
	}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{file: newerMigration, list: string(overlay)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path = filepath.Join(dir, "newer")
	build := exec.Command("go", "build", "-overlay", list, "-o", path, ".")
	if apptest.UnderRace {
		build.Args = slices.Insert(build.Args, 2, "-race")
	}
	build.Dir = apptest.InModule(t)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// Two instances are under load while a third one of a newer version starts and changes a schema with
// NOTEPAY_UPGRADE_PAYMENTS payments. Each webhook is accepted soon, all three deliver, and the old ones
// may restart on the new schema.
func TestInstancesUpgrade(t *testing.T) {
	payments, err := strconv.Atoi(os.Getenv("NOTEPAY_UPGRADE_PAYMENTS"))
	if err != nil || payments < 1 {
		t.Skip("takes minutes: set NOTEPAY_UPGRADE_PAYMENTS, or run make upgradetest")
	}
	newer := newerProgram(t)
	s, links := busy(t, newInstances)
	s.w.Terminated(s.procs[2])
	s.procs = s.procs[:2]
	first := s.w.Pay(links[0], sandbox.PayOptions{})
	s.service(0).Payment(first.ID, "sent", apptest.Has(`"machine":"sent"`))
	db, err := sql.Open("pgx", s.d.url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	began := time.Now()
	if err := fixture.GrowPostgres(t.Context(), db, first.ID, 0, payments, 10); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), `CHECKPOINT`); err != nil { // or the disk is busy with them later
		t.Fatal(err)
	}
	t.Logf("%d payments were made in %v", payments, time.Since(began).Round(time.Second))

	load := &upgradeLoad{instances: s}
	ctx, end := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	defer sending.Wait()
	defer end()
	running, powerOff := context.WithCancel(t.Context())
	var hosting sync.WaitGroup
	defer hosting.Wait()
	defer powerOff()
	var hosts []*sandbox.Machine
	for _, device := range []string{fixture.Washer, "dev:0", "dev:1", "dev:2", "dev:3", "dev:4"} { // those of busy
		m := s.w.Machine(sandbox.MachineConfig{Device: device, Every: 100 * time.Millisecond})
		hosts = append(hosts, m)
		hosting.Go(func() { m.Run(running) })
	}
	for range 4 {
		sending.Go(func() { load.run(ctx, links) })
	}
	pause(2 * time.Second)
	load.report("before")

	settings := maps.Clone(s.w.Env)
	began = time.Now()
	third := s.w.Launch(apptest.Invocation(newer, s.w.Dir, settings), io.Discard)
	t.Logf("the newer one listens after %v", time.Since(began).Round(time.Millisecond))
	if n := s.d.query(`SELECT count(*) FROM migrations WHERE name = '900_newer.sql' AND needs = '066'`); n != 1 {
		t.Errorf("%d rows of the newer migration; want 1", n)
	}
	load.report("while the schema changed")
	s.mu.Lock()
	s.procs = append(s.procs, third)
	s.mu.Unlock()
	pause(2 * time.Second)
	load.report("with the newer one")

	for range 2 { // an old one restarts, and the other one goes on
		s.mu.Lock()
		old := s.procs[0]
		s.procs = slices.Clone(s.procs[1:])
		s.mu.Unlock()
		pause(200 * time.Millisecond) // what was sent to it is answered
		if err := old.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := <-old.Ended; err != nil {
			t.Errorf("an old instance ended with %v", err)
		}
		again := s.w.Spawn()
		s.mu.Lock()
		s.procs = append(s.procs[:1:1], append([]*apptest.Process{again}, s.procs[1:]...)...)
		s.mu.Unlock()
	}
	pause(3 * time.Second)
	load.report("after the old ones have restarted")
	end()
	sending.Wait()

	s.w.Until("all notes are sent", func() bool {
		return s.d.query(`SELECT count(*) FROM payments WHERE machine = 'queued'`) == 0
	})
	for n := range s.procs {
		_, _, text := s.service(n).Get("/metrics")
		if !strings.Contains(text, `notepay_attempt_seconds_count{action="note"`) {
			t.Errorf("instance %d has sent no note", n)
		}
	}
	s.stop()
	powerOff()
	hosting.Wait()
	starts := map[string]int{}
	for _, m := range hosts {
		m.Step()
		for _, start := range m.Starts() {
			starts[start.CreditID]++
		}
	}
	for credit, n := range starts {
		if n > 1 {
			t.Errorf("the machine started %d times for credit %s", n, credit)
		}
	}
	if want := 1 + int(load.sent.Load()); len(starts) != want {
		t.Errorf("%d credits were started; want %d", len(starts), want)
	}
}

// upgradeLoad sends webhooks to all instances that are there.
type upgradeLoad struct {
	*instances
	sent    atomic.Int64
	slowest atomic.Int64 // in nanoseconds, since the last report
}

// run pays and sends until ctx ends.
func (l *upgradeLoad) run(ctx context.Context, links []string) {
	for ctx.Err() == nil {
		session, err := l.w.Stripe.Pay(links[rand.IntN(len(links))], sandbox.PayOptions{NoWebhook: true})
		if err != nil {
			l.Error(err)
			return
		}
		events := l.w.Stripe.Events()
		at := slices.IndexFunc(events, func(e sandbox.Event) bool { return e.ObjectID == session.ID })
		began := time.Now()
		status, err := l.w.Stripe.Send(events[at].ID)
		if took := time.Since(began); int64(took) > l.slowest.Load() {
			l.slowest.Store(int64(took))
		}
		if err != nil || status != http.StatusOK {
			l.Errorf("a webhook is answered %d, %v; want 200", status, err)
			l.activity()
			return
		}
		l.sent.Add(1)
		pause(time.Duration(10+rand.IntN(20)) * time.Millisecond)
	}
}

// activity logs what the server's sessions do and wait for.
func (l *upgradeLoad) activity() {
	db, err := sql.Open("pgx", l.d.url)
	if err != nil {
		l.Error(err)
		return
	}
	defer db.Close()
	rows, err := db.Query(`SELECT concat_ws(' ', pid, state, wait_event_type, wait_event, 'by', pg_blocking_pids(pid),
		now() - xact_start, now() - query_start, left(query, 120))
		FROM pg_stat_activity WHERE state <> 'idle' AND pid <> pg_backend_pid()`)
	if err != nil {
		l.Error(err)
		return
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			l.Error(err)
			return
		}
		l.Log(line)
	}
	if err := rows.Err(); err != nil {
		l.Error(err)
	}
}

// report logs the slowest webhook since the last report. None may take too long.
func (l *upgradeLoad) report(when string) {
	l.Helper()
	slowest := time.Duration(l.slowest.Swap(0))
	l.Logf("%s: %d webhooks in all, the slowest took %v", when, l.sent.Load(), slowest.Round(time.Millisecond))
	if slowest > 2500*time.Millisecond {
		l.Errorf("%s: a webhook took %v; want 2.5 s at most", when, slowest)
	}
}
