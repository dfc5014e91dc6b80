package process

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"notepay/internal/app"
	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/sandbox"
	"notepay/internal/vendortime"
)

// pooler starts pgbouncer with transaction pooling in front of a server, and returns its URL.
func pooler(t *testing.T, database string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer" // Debian's place, which is in root's path only
	}
	if _, err := os.Stat(program); err != nil {
		t.Skip("pgbouncer is not installed")
	}
	server, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	_ = free.Close()
	settings := filepath.Join(t.TempDir(), "pgbouncer.ini")
	text := fmt.Sprintf(`[databases]
* = host=127.0.0.1 port=%s user=notepay
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 40
server_login_retry = 1
`, server.Port(), port)
	if err := os.WriteFile(settings, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"-q", settings}
	if os.Getuid() == 0 { // it refuses to run as root
		args = append([]string{"-u", "postgres"}, args...)
		for dir := filepath.Dir(settings); len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	run := exec.Command(program, args...)
	run.Stderr = t.Output()
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = run.Process.Kill()
		_ = run.Wait()
	})
	server.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	server.RawQuery = "default_query_exec_mode=exec"
	for end := time.Now().Add(20 * time.Second); ; pause(50 * time.Millisecond) {
		conn, err := net.Dial("tcp", server.Host)
		if err == nil {
			_ = conn.Close()
			return server.String()
		}
		if time.Now().After(end) {
			t.Fatalf("pgbouncer does not listen: %v", err)
		}
	}
}

// Behind a transaction pooler no notification arrives. The instances say so once, poll, and share the
// work as they do without one.
func TestInstancesBehindAPooler(t *testing.T) {
	t.Parallel()
	s := newPooledInstances(t, 0, readsVariables...)
	logs := make([]*apptest.LockedBuffer, 2)
	for n := range logs {
		logs[n] = &apptest.LockedBuffer{W: s.w, Out: io.Discard}
		s.procs = append(s.procs, s.w.Launch(apptest.Invoked(t, s.w.Dir, s.w.Env), logs[n]))
	}
	link := s.service(0).Selling(fixture.Washer)
	const payments = 20
	paid := make([]sandbox.Session, payments)
	s.w.All(payments, func(n int) { paid[n] = s.w.Pay(link, sandbox.PayOptions{}) })
	for n, session := range paid {
		s.service(n%2).Payment(session.ID, "sent", apptest.Has(`"machine":"sent"`))
	}
	const warning = "database notifications do not arrive"
	for n := range logs {
		s.w.Until("an instance says that it polls", func() bool { return strings.Contains(logs[n].String(), warning) })
	}
	s.seeEachOther(10)
	s.stop()
	for n := range logs {
		if times := strings.Count(logs[n].String(), warning); times != 1 {
			t.Errorf("an instance says %d times that it polls; want once", times)
		}
	}
	if n := len(s.w.Notehub.Notes(fixture.Washer)); n != payments || s.calls.overlaps > 0 {
		t.Errorf("%d notes for %d payments, %d calls at once", n, payments, s.calls.overlaps)
	}
}

// Customers pay while no instance runs. Then two start, and Stripe's list of events takes a while. The
// webhooks wait at the instance that reads the list, and at the one that follows.
func TestInstancesHoldWebhooksAfterAStart(t *testing.T) {
	t.Parallel()
	s := newInstances(t, 2)
	link := s.service(0).Selling(fixture.Washer)
	s.stop()
	for range 2 {
		s.w.Pay(link, sandbox.PayOptions{NoWebhook: true})
	}
	pause(1100 * time.Millisecond) // Stripe's times are whole seconds
	s.w.Stripe.Always("GET /v1/events", sandbox.Outcome{Applied: true, Status: 200, Delay: 1200 * time.Millisecond})
	started := []*apptest.Process{s.w.Spawn(), s.w.Spawn()}
	s.mu.Lock()
	s.procs = started
	s.mu.Unlock()
	var sent sync.WaitGroup
	n := 0
	for _, e := range s.w.Stripe.Events() {
		if e.Type != "checkout.session.completed" {
			continue
		}
		s.w.Stripe.SetEndpoint(started[n%2].Url+"/webhook/stripe", fixture.TestSecret)
		n++
		posted := make(chan struct{})
		sent.Go(func() {
			close(posted)
			if status, err := s.w.Stripe.Send(e.ID); err != nil || status != http.StatusOK {
				s.Errorf("a webhook from before the start is answered %d, %v; want 200", status, err)
			}
		})
		<-posted
		pause(50 * time.Millisecond) // the address is read by then
	}
	sent.Wait()
	if n != 2 {
		t.Fatalf("%d webhooks; want 2", n)
	}
	s.w.Sent(fixture.Washer, 2)
	s.stop()
}

// inProcess starts an instance in this process, on a host whose clock is ahead.
func (s *instances) inProcess(ahead time.Duration) *apptest.Service {
	s.Helper()
	settings, err := config.Load("", func(name string) string { return s.w.Env[name] })
	if err != nil {
		s.Fatal(err)
	}
	clock := vendortime.New(func() time.Time { return time.Now().Add(ahead) })
	l, err := ledger.OpenAs(s.Context(), s.d.url, app.Identity(settings), clock)
	if err != nil {
		s.Fatal(err)
	}
	a, err := app.New(s.Context(), app.Config{
		Settings: settings,
		Ledger:   l,
		Notehub:  apptest.HubOf(settings, nil),
		Stripe:   apptest.StripeOf(settings, nil),
		Log:      slog.New(slog.NewTextHandler(s.Output(), nil)),
		Version:  fixture.TestVersion,
	})
	if err != nil {
		s.Fatal(err)
	}
	server := httptest.NewServer(a.Handler())
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { a.Run(ctx, ctx) })
	s.Cleanup(func() {
		server.Close()
		cancel()
		running.Wait()
		if err := l.Close(); err != nil {
			s.Error(err)
		}
	})
	return &apptest.Service{W: s.w, Url: server.URL}
}

// The clocks of two hosts are two minutes apart, and a call takes long. Neither takes the other's call
// for one that has ended.
func TestInstancesWithOtherClocks(t *testing.T) {
	t.Parallel()
	s := newInstances(t, 0)
	behind, ahead := s.inProcess(-time.Minute), s.inProcess(time.Minute)
	link := behind.Selling(fixture.Washer)
	ahead.Selling(fixture.Washer)
	const post = "POST /v1/projects/{project}/devices/{device}/notes/{file}"
	for n, at := range []*apptest.Service{behind, ahead} {
		s.w.Stripe.SetEndpoint(at.Url+"/webhook/stripe", fixture.TestSecret)
		s.w.Notehub.Next(post, sandbox.Outcome{Applied: true, Status: 200, Delay: 7 * time.Second, DelayEffect: true})
		paid := s.w.Pay(link, sandbox.PayOptions{})
		at.Payment(paid.ID, "sent", apptest.Has(`"machine":"sent"`))
		calls, notes := s.w.Notehub.Count(post), len(s.w.Notehub.Notes(fixture.Washer))
		if calls != n+1 || notes != n+1 {
			t.Errorf("%d posts and %d notes for %d payments", calls, notes, n+1)
		}
	}
}
