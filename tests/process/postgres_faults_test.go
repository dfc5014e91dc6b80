package process

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/ledger/pgtest"
	"notepay/internal/sandbox"
)

// paidEvent makes a customer pay without a webhook, and returns the session and its event.
func paidEvent(w *apptest.World, link string) (session sandbox.Session, event string) {
	w.Helper()
	session = w.Pay(link, sandbox.PayOptions{NoWebhook: true})
	for _, e := range w.Stripe.Events() {
		if e.ObjectID == session.ID {
			event = e.ID
		}
	}
	return session, event
}

// wantAccepted sends a webhook until it is accepted, which has to be soon. Before that it may only be
// put off.
func wantAccepted(w *apptest.World, event string) {
	w.Helper()
	began := time.Now()
	for {
		status, err := w.Stripe.Send(event)
		took := time.Since(began)
		switch {
		case err != nil || status != http.StatusOK && status != http.StatusServiceUnavailable:
			w.Fatalf("the webhook is answered %d, %v; want 200 or 503", status, err)
		case took > 10*time.Second:
			w.Fatalf("the webhook is answered %d after %v; want 200 within 10 s", status, took)
		case status == http.StatusOK:
			w.Logf("a webhook is accepted after %v", took)
			return
		}
		pause(50 * time.Millisecond)
	}
}

// After a failover the connections may lead to a server that is read-only now.
func TestPostgresBecomesReadOnly(t *testing.T) {
	t.Parallel()
	d, w, p, _, link := onPostgres(t)
	d.exec(`ALTER DATABASE postgres SET default_transaction_read_only = on`)
	d.query(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	_, event := paidEvent(w, link)
	tries := 0
	w.Until("webhooks find that the server is read-only", func() bool {
		tries++ // the first one finds that its connection has ended
		status, err := w.Stripe.Send(event)
		if err != nil || status != http.StatusServiceUnavailable {
			t.Fatalf("the webhook is answered %d, %v while the server is read-only; want 503", status, err)
		}
		return tries > 3 && d.query(`SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid()`) > 0
	})
	d.exec(`BEGIN READ WRITE; ALTER DATABASE postgres RESET default_transaction_read_only; COMMIT`)
	wantAccepted(w, event) // new connections are good, and those that are there stay read-only
	w.Sent(fixture.Washer, 1)
	w.Terminated(p)
}

// silentLine carries connections to a server. It can lose all that existing ones carry without
// closing them, as a host does that is gone.
type silentLine struct {
	url  string
	dead atomic.Pointer[atomic.Bool] // of the connections made since the last silence
}

func newSilentLine(t *testing.T, database string) *silentLine {
	t.Helper()
	l := &silentLine{}
	l.dead.Store(new(atomic.Bool))
	l.url = pgtest.Line(t, database, func(client, server net.Conn) {
		dead := l.dead.Load()
		go carry(server, client, dead)
		go carry(client, server, dead)
	})
	return l
}

func carry(to, from net.Conn, dead *atomic.Bool) {
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		if err != nil && !dead.Load() {
			_, _ = to.Close(), from.Close()
		}
		if err != nil {
			return
		}
		if dead.Load() {
			continue
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// The host of the server is gone without a word, and another one has its address.
func TestPostgresFallsSilent(t *testing.T) {
	t.Parallel()
	d := startPostgres(t)
	line := newSilentLine(t, d.url)
	w := apptest.NewWorld(t).Set("DATABASE_URL", line.url)
	p := w.Spawn()
	s := &apptest.Service{W: w, Url: p.Url}
	w.Stripe.SetEndpoint(s.Url+"/webhook/stripe", fixture.TestSecret)
	link := s.Selling(fixture.Washer)
	w.All(8, func(int) { w.Pay(link, sandbox.PayOptions{}) }) // so that idle connections are there
	w.Sent(fixture.Washer, 8)
	line.dead.Swap(new(atomic.Bool)).Store(true)
	_, event := paidEvent(w, link)
	wantAccepted(w, event)
	w.Sent(fixture.Washer, 9)
	w.Terminated(p)
}

// An operator has turned off the wait for the disk in the database. The server crashes when webhooks
// were just accepted.
func TestPostgresCrashesAfterAcknowledgements(t *testing.T) {
	t.Parallel()
	d := startPostgres(t)
	d.exec(`ALTER DATABASE postgres SET synchronous_commit = off`)
	d.exec(`ALTER SYSTEM SET wal_writer_delay = '10s'`) // what does not wait for the disk is lost for certain
	d.exec(`SELECT pg_reload_conf()`)
	w := apptest.NewWorld(t).Set("DATABASE_URL", d.url)
	p := w.Spawn()
	s := &apptest.Service{W: w, Url: p.Url}
	w.Stripe.SetEndpoint(s.Url+"/webhook/stripe", fixture.TestSecret)
	link := s.Selling(fixture.Washer)
	const rounds, each = 5, 20
	signal := func(sig syscall.Signal) {
		if err := p.Cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	for round := range rounds {
		var events [each]string
		for n := range events {
			_, events[n] = paidEvent(w, link)
		}
		w.All(each, func(n int) {
			if status, err := w.Stripe.Send(events[n]); err != nil || status != http.StatusOK {
				t.Errorf("a webhook is answered %d, %v; want 200", status, err)
			}
		})
		signal(syscall.SIGSTOP) // so that it does not record again what was lost
		d.do("crash")
		if n := d.query(`SELECT count(*) FROM payments`); n != (round+1)*each {
			t.Errorf("round %d: after a crash there are %d payments of %d acknowledged ones", round, n, (round+1)*each)
		}
		signal(syscall.SIGCONT)
		s.Selling(fixture.Washer)
	}
	w.Sent(fixture.Washer, rounds*each)
	w.Terminated(p)
}

// exec runs statements.
func (d *database) exec(statements string) {
	d.Helper()
	db := d.open()
	defer db.Close()
	if _, err := db.Exec(statements); err != nil {
		d.Fatalf("%s: %v", statements, err)
	}
}

// Three instances under load keep to the number of connections that the README tells operators to
// plan for.
func TestInstancesConnections(t *testing.T) {
	t.Parallel()
	const each, senders, length = 13, 24, 5 * time.Second
	s := newInstances(t, 0, readsVariables...)
	database := s.w.Env["DATABASE_URL"]
	names := []string{"first", "second", "third"}
	for _, name := range names {
		s.w.Set("DATABASE_URL", database+"?application_name="+name)
		s.procs = append(s.procs, s.w.Spawn())
	}
	s.w.Set("DATABASE_URL", database)
	link := s.service(0).Selling(fixture.Washer)
	for n := range names {
		s.service(n).Selling(fixture.Washer)
	}
	ctx, end := context.WithTimeout(t.Context(), length)
	defer end()
	var sending sync.WaitGroup
	var accepted atomic.Int64
	read := func(url string) {
		request, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			t.Error(err)
			return
		}
		request.Header.Set("Authorization", "Bearer "+apptest.OperatorToken)
		response, err := apptest.NoRedirects.Do(request)
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
	for n := range senders {
		sending.Go(func() {
			for ctx.Err() == nil {
				session, event := paidEvent(s.w, link)
				if status, err := s.w.Stripe.Send(event); err != nil || status != http.StatusOK {
					t.Errorf("a webhook is answered %d, %v; want 200", status, err)
				}
				accepted.Add(1)
				at := s.procs[n%len(names)].Url
				for _, path := range []string{
					"/payment/success?session_id=" + session.ID, "/api/payments/" + session.ID, "/api/payments",
					"/operator/payments", "/health", "/metrics",
				} {
					read(at + path)
				}
			}
		})
	}
	most := map[string]int{}
	for ctx.Err() == nil {
		for _, name := range names {
			n := s.d.query(fmt.Sprintf(`SELECT count(*) FROM pg_stat_activity WHERE application_name = '%s'`, name))
			most[name] = max(most[name], n)
		}
		pause(50 * time.Millisecond)
	}
	sending.Wait()
	t.Logf("%d webhooks were accepted, connections: %v", accepted.Load(), most)
	for _, name := range names {
		if n := most[name]; n < 4 || n > each {
			t.Errorf("the %s instance has %d connections; want %d at most, and some", name, n, each)
		}
	}
	s.stop()
}
