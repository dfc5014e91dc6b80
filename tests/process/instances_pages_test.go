package process

import (
	"bufio"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

// leading reports whether an instance leads, by its metrics.
func (s *instances) leading(n int) bool {
	_, _, text := s.service(n).Get("/metrics")
	return strings.Contains(text, "\nnotepay_leader 1\n")
}

// A leader that is suspended loses the lead, and does not take it back when it goes on.
func TestInstancesStoppedLeader(t *testing.T) {
	t.Parallel()
	s := newInstances(t, 2)
	s.w.Until("the first instance leads alone", func() bool { return s.leading(0) && !s.leading(1) })
	signal := func(sig syscall.Signal) {
		if err := s.procs[0].Cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	began := time.Now()
	s.w.Until("the other one leads", func() bool { return s.leading(1) })
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("the other one leads after %v; want 15 s at most", took)
	}
	signal(syscall.SIGCONT)
	s.w.Until("the woken one does not lead", func() bool { return !s.leading(0) })
	for range 3 {
		pause(time.Second)
		if s.leading(0) || !s.leading(1) || s.leaders() != 1 {
			t.Error("the lead went back to the woken instance")
		}
	}
	link := s.service(0).Selling(fixture.Washer)
	paid := s.w.Pay(link, sandbox.PayOptions{})
	s.service(0).Payment(paid.ID, "sent", apptest.Has(`"machine":"sent"`))
	s.stop()
}

// page reads a live page's stream and remembers the last that it was told.
type page struct {
	mu   sync.Mutex
	text string
}

func (s *instances) watch(n int, path string) *page {
	s.Helper()
	response, err := apptest.NoRedirects.Get(s.service(n).Url + path + "/events")
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = response.Body.Close() })
	p := &page{}
	go func() {
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			p.mu.Lock()
			p.text += lines.Text() + "\n"
			p.mu.Unlock()
			s.w.Stir()
		}
	}()
	return p
}

// says reports whether the page was told a text.
func (p *page) says(text string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Contains(p.text, text)
}

// Customers watch their page at one instance while another one settles the payment, also after the
// database has ended all sessions, and so those that listen.
func TestInstancesShowEachOthersPayments(t *testing.T) {
	t.Parallel()
	s := newInstances(t, 2)
	link := s.service(0).Selling(fixture.Washer)
	s.service(1).Selling(fixture.Washer)
	longest := time.Duration(0)
	for n := range 3 {
		at, other := n%2, 1-n%2
		if n == 2 {
			s.d.query(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
				WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		}
		s.w.Stripe.SetEndpoint(s.service(at).Url+"/webhook/stripe", fixture.TestSecret)
		paid := s.w.Pay(link, sandbox.PayOptions{})
		var header http.Header
		s.w.Until("the payment has a page", func() (found bool) {
			var status int
			status, header, _ = s.service(other).Get("/payment/success?session_id=" + paid.ID)
			return status == http.StatusSeeOther
		})
		shown := s.watch(other, header.Get("Location"))
		s.w.Until("the page shows the payment", func() bool { return shown.says("<h1>") })
		s.service(at).Payment(paid.ID, "sent", apptest.Has(`"machine":"sent"`))
		operator := []string{"Authorization", "Bearer " + apptest.OperatorToken, "Content-Type", "application/json"}
		status, _, text := s.service(at).Do(http.MethodPost, "/api/payments/"+paid.ID+"/refund",
			`{"reason":"test"}`, operator...)
		if status != http.StatusOK {
			t.Fatalf("refund: %d %s", status, text)
		}
		began := time.Now()
		s.w.Until("the page shows the refund", func() bool {
			return shown.says("Refund requested") || shown.says("Refunded")
		})
		longest = max(longest, time.Since(began))
	}
	t.Logf("a page shows what the other instance did after %v at most", longest)
	if longest > 4*time.Second {
		t.Errorf("a page shows what the other instance did after %v; want 3 s at most", longest)
	}
	s.stop()
}

// An operator is signed in at all instances, also after a restart, until they sign out at one. A form
// that reaches two instances at once acts once.
func TestInstancesShareTheOperator(t *testing.T) {
	t.Parallel()
	s := newInstances(t, 2)
	s.service(0).Selling(fixture.Washer)
	form := []string{"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin",
		"Accept", "text/html"}
	_, header, _ := s.service(0).Do(http.MethodPost, "/operator/sign-in",
		url.Values{"token": {apptest.OperatorToken}, "next": {"/operator/payments"}}.Encode(), form...)
	cookie, _, _ := strings.Cut(header.Get("Set-Cookie"), ";")
	form = append(form, "Cookie", cookie)
	signedIn := func(when string, want int) {
		t.Helper()
		for n := range s.procs {
			if status, _, _ := s.service(n).Get("/operator/devices", form...); status != want {
				t.Errorf("%s: instance %d answers %d; want %d", when, n, status, want)
			}
		}
	}
	signedIn("signed in at the first", http.StatusOK)

	_, _, shown := s.service(1).Get("/operator/devices", form...)
	once := apptest.OnceField.FindStringSubmatch(shown)
	if once == nil {
		t.Fatalf("no form on %s", shown)
	}
	start := "/operator/devices/" + fixture.Washer + "/start"
	press := url.Values{"once": {once[1]}, "back": {"/operator/devices"}, "reason": {"test"}}.Encode()
	s.w.All(6, func(n int) {
		if status, _, text := s.service(n%2).Do(http.MethodPost, start, press, form...); status != http.StatusSeeOther {
			t.Errorf("a press is answered %d: %s", status, text)
		}
	})
	s.w.Sent(fixture.Washer, 1)
	if n := s.d.query(`SELECT count(*) FROM audit WHERE what = 'start'`); n != 1 {
		t.Errorf("%d starts in the audit; want 1", n)
	}

	s.kill(0)
	s.w.Terminated(s.procs[1])
	s.procs[1] = s.w.Spawn()
	signedIn("after restarts", http.StatusOK)
	s.service(1).Do(http.MethodPost, "/operator/sign-out", "once="+once[1], form...)
	signedIn("signed out at the second", http.StatusUnauthorized)
	if n := len(s.w.Notehub.Notes(fixture.Washer)); n != 1 {
		t.Errorf("%d notes for one free start", n)
	}
	s.stop()
}

// A browser that meets several instances has one open Checkout Session for a machine and a plan. When
// the machine stops selling, its sessions expire, also those of an instance that has died.
func TestInstancesShareCheckoutSessions(t *testing.T) {
	t.Parallel()
	s := newInstances(t, 2, "CHECKOUT", "session")
	const browsers = 8
	cookies := make([]string, browsers)
	page := "/use/" + fixture.Washer
	for n := range cookies {
		s.w.Until("the machine is offered", func() bool {
			_, header, text := s.service(n%2).Get(page, "Accept", "text/html")
			cookies[n], _, _ = strings.Cut(header.Get("Set-Cookie"), ";")
			return strings.Contains(text, `name="price_id"`)
		})
	}
	to := make([]string, 2*browsers)
	press := func(at, browser int) string {
		status, header, text := s.service(at).Do(http.MethodPost, page, "price_id="+fixture.Warm,
			"Content-Type", "application/x-www-form-urlencoded", "Cookie", cookies[browser])
		if status != http.StatusSeeOther {
			t.Errorf("the button: %d %s; want 303", status, text)
		}
		return header.Get("Location")
	}
	s.w.All(2*browsers, func(n int) { to[n] = press(n%2, n/2) }) // a double tap that meets two instances
	open := func() (n int) {
		for _, session := range s.w.Stripe.Sessions() {
			if session.Status == "open" {
				n++
			}
		}
		return n
	}
	for browser := range browsers {
		if to[2*browser] != to[2*browser+1] {
			t.Errorf("a browser was led to %s and to %s", to[2*browser], to[2*browser+1])
		}
		if again := press(browser%2, browser); again != to[2*browser] {
			t.Errorf("a reload leads to %s; want %s", again, to[2*browser])
		}
	}
	t.Logf("%d sessions were made for %d browsers", len(s.w.Stripe.Sessions()), browsers)
	s.w.Until("one open session for each browser", func() bool { return open() == browsers })
	pause(4 * time.Second) // no session that is in use is ended
	if n := open(); n != browsers {
		t.Errorf("%d open sessions; want %d", n, browsers)
	}

	s.procs[0].Kill(t)
	began := time.Now()
	operator := []string{"Authorization", "Bearer " + apptest.OperatorToken, "Content-Type", "application/json"}
	s.service(1).Do(http.MethodPost, "/api/devices/"+fixture.Washer+"/pause", `{"reason":"test"}`, operator...)
	s.w.Until("all sessions have ended", func() bool { return open() == 0 })
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the sessions of a dead instance have ended after %v; want 20 s at most", took)
	}
	ended := s.w.Stripe.Count("POST /v1/checkout/sessions/{id}/expire")
	pause(4 * time.Second)
	if n := s.w.Stripe.Count("POST /v1/checkout/sessions/{id}/expire") - ended; n > 0 {
		t.Errorf("sessions that had ended were expired %d more times", n)
	}
	s.w.Terminated(s.procs[1])
}
