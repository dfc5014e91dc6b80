package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/config"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// pipes is a listener whose connections are net.Pipes, which live within a bubble and hold nothing back: a reader that does not read is
// one who does not take anything.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// serve answers as the program does, with all its time limits.
func (f *front) serve() (*http.Server, *pipes) {
	listener := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := f.server.HTTPServer(f.handler)
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(listener) })
	f.Cleanup(func() {
		if err := server.Close(); err != nil {
			f.Errorf("close: %v", err)
		}
		served.Wait()
	})
	return server, listener
}

// reader is a browser with a live page.
type reader struct {
	f     *front
	conn  net.Conn
	mu    sync.Mutex
	text  string
	ended bool
}

// ask sends a request on a connection of its own and reads nothing.
func (p *pipes) ask(f *front, path string, header ...string) net.Conn {
	f.Helper()
	ours, theirs := net.Pipe()
	p.conns <- theirs
	request := "GET " + path + " HTTP/1.1\r\nHost: pay.test\r\n"
	for i := 0; i < len(header); i += 2 {
		request += header[i] + ": " + header[i+1] + "\r\n"
	}
	if _, err := io.WriteString(ours, request+"\r\n"); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = ours.Close() })
	return ours
}

// read opens a stream and reads it until it ends.
func (p *pipes) read(f *front, path string, header ...string) *reader {
	f.Helper()
	r := &reader{f: f, conn: p.ask(f, path, header...)}
	response, err := http.ReadResponse(bufio.NewReader(r.conn), nil)
	if err != nil {
		f.Fatal(err)
	}
	if kind := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || kind != "text/event-stream" || response.Header.Get("Cache-Control") != "no-store" {
		f.Fatalf("%s: %s, %v; want a stream that nobody stores", path, response.Status, response.Header)
	}
	go r.follow(response.Body)
	synctest.Wait()
	return r
}

// follow reads what comes, line by line.
func (r *reader) follow(body io.Reader) {
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		r.mu.Lock()
		r.text += lines.Text() + "\n"
		r.mu.Unlock()
	}
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
}

// heard is what came since it was asked last, and whether the stream has ended.
func (r *reader) heard() (text string, ended bool) {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	text, r.text = r.text, ""
	return text, r.ended
}

func (r *reader) hears(parts ...string) (text string) {
	r.f.Helper()
	text, _ = r.heard()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			r.f.Errorf("the stream says %q; want %q", text, part)
		}
	}
	return text
}

// livePage is where the payment of a session is shown.
func (f *front) livePage(session sandbox.Session) string {
	f.Helper()
	path := f.get("/payment/success?session_id=" + session.ID).Header().Get("Location")
	if !strings.HasPrefix(path, "/session/") {
		f.Fatalf("the success page leads to %q; want a live page", path)
	}
	return path
}

func TestALivePageFollowsItsPayment(t *testing.T) {
	t.Parallel()
	inFront(t, func(s *config.Settings) { s.ConfirmWithin = 2 * time.Minute }, func(f *front) {
		_, listener := f.serve()
		f.run()
		f.notehub.Always(postNote, sandbox.Outcome{Status: 503})
		session := f.buy(sandbox.PayOptions{})
		page := f.livePage(session)
		token := strings.TrimPrefix(page, "/session/")
		english, german := listener.read(f, page+"/events"), listener.read(f, page+"/events", "Accept-Language", "de-AT")
		english.hears("retry: 2000\n", "event: page\n", "<h1>Payment received</h1>")
		german.hears("<h1>Zahlung erhalten</h1>", "3,50")

		f.notehub.Clear(postNote)
		for range 60 { // until the note is tried again
			if len(f.notehub.Notes(washer)) > 0 {
				break
			}
			f.pass(time.Second)
		}
		english.hears("<h1>Waiting for the machine</h1>")
		german.hears("<h1>Warten auf die Maschine</h1>")

		confirmed := payment.Confirmation{EventID: "1", DeviceUID: washer, CreditID: creditOf(session), State: "started", At: time.Now()}
		if err := f.server.Bridge.Confirm(f.Context(), confirmed); err != nil {
			f.Fatal(err)
		}
		text := english.hears("<h1>The machine has started</h1>")
		if now := german.hears("<h1>Die Maschine ist gestartet</h1>"); strings.Count(now, "event: page") != 1 {
			f.Errorf("one change is told as %q", now)
		}
		_, id, _ := strings.Cut(text, "id: ")
		id, _, _ = strings.Cut(id, "\n")

		again := listener.read(f, page+"/events", "Last-Event-ID", id)
		if text := again.hears("retry: 2000\n"); strings.Contains(text, "event:") {
			f.Errorf("who comes back is told what it knows: %q", text)
		}
		f.pass(2 * time.Minute) // longer than a request may take to be read
		if text, ended := again.heard(); ended || strings.Count(text, ": still here\n") < 7 || strings.Contains(text, "event:") {
			f.Errorf("in two quiet minutes the stream ended (%v) or says %q; want signs of life", ended, text)
		}
		if strings.Contains(f.logs.String(), token) || strings.Contains(f.get("/metrics").Body.String(), token) {
			f.Errorf("the log or the metrics tell the page's token")
		}
	})
}

func TestAnOpenPageTellsThatTheMachineHasThePayment(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		_, listener := f.serve()
		f.run()
		page := f.livePage(f.buy(sandbox.PayOptions{}))
		f.pass(time.Second)
		r := listener.read(f, page+"/events")
		r.hears("<h1>Waiting for the machine</h1>")
		f.pass(time.Minute)
		if text, _ := r.heard(); strings.Contains(text, "event:") {
			f.Errorf("while the note is pending the page is told %q; want no news", text)
		}
		f.notehub.Fetch(washer, "payment.qi")
		f.pass(30 * time.Second)
		r.hears("<h1>The machine got your payment</h1>", "The machine got it")
	})
}

func creditOf(s sandbox.Session) string { return payment.CreditID(s.ID) }

func TestACountdownMovesByItself(t *testing.T) {
	t.Parallel()
	inFront(t, func(s *config.Settings) { s.ConfirmWithin = 2 * time.Minute }, func(f *front) {
		f.stripe.SetPrice(warm, func(p *sandbox.Price) { p.Metadata = map[string]string{"duration": "30m", "delayed_start": "5m"} })
		_, listener := f.serve()
		f.run()
		session := f.buy(sandbox.PayOptions{})
		r := listener.read(f, f.livePage(session)+"/events")
		confirmed := payment.Confirmation{EventID: "1", DeviceUID: washer, CreditID: creditOf(session), State: "started", At: time.Now()}
		if err := f.server.Bridge.Confirm(f.Context(), confirmed); err != nil {
			f.Fatal(err)
		}
		r.hears("<h1>The machine starts soon</h1>", "starts in about 5 minutes")
		f.pass(4 * time.Minute)
		r.hears("starts in about 4 minutes", "starts in about a minute")
		f.pass(2 * time.Minute)
		r.hears("Time left: about 30 minutes")
		f.pass(30 * time.Minute)
		r.hears("Time left: about a minute", "<h1>Finished</h1>")
	})
}

func TestASlowReaderIsDroppedAndHoldsUpNobody(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		_, listener := f.serve()
		session := f.order(sandbox.PayOptions{})
		page := f.livePage(session)
		slow, stalled := listener.ask(f, page+"/events"), listener.ask(f, page+"/events")
		if _, err := http.ReadResponse(bufio.NewReader(stalled), nil); err != nil { // the head, and then no more
			f.Fatal(err)
		}
		quick := listener.read(f, page+"/events")
		quick.hears("<h1>Payment received</h1>")
		f.run()
		quick.hears("<h1>Waiting for the machine</h1>")
		f.pass(6 * time.Second)
		for _, conn := range []net.Conn{slow, stalled} {
			if rest, err := io.ReadAll(conn); err != nil || len(rest) > 0 {
				f.Errorf("a reader who takes nothing got %q, %v; want to be dropped", rest, err)
			}
		}
		if _, ended := quick.heard(); ended {
			f.Errorf("the other reader was dropped with it")
		}
	})
}

func TestAStreamEndsWithItsReaderAndThereAreNotTooMany(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		_, listener := f.serve()
		page := f.livePage(f.order(sandbox.PayOptions{}))
		var open []*reader
		for range 8 {
			open = append(open, listener.read(f, page+"/events"))
		}
		w := f.get(page + "/events")
		f.answers("a ninth", w, http.StatusTooManyRequests, "Open on too many screens")
		if w.Header().Get("Retry-After") != "60" {
			f.Errorf("Retry-After %q; want a minute", w.Header().Get("Retry-After"))
		}
		_ = open[0].conn.Close()
		f.pass(time.Second)
		listener.read(f, page+"/events").hears("<h1>Payment received</h1>")
		f.answers("another's", f.get("/session/"+strings.Repeat("0", 32)+"/events"), http.StatusNotFound, "Payment not found")
	})
}

func TestTheEndDoesNotWaitForOpenPages(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		server, listener := f.serve()
		page := f.livePage(f.order(sandbox.PayOptions{}))
		r := listener.read(f, page+"/events")
		began := time.Now()
		ctx, cancel := context.WithTimeout(f.Context(), 5*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil || time.Since(began) > time.Second {
			f.Errorf("the end took %v, %v; want it at once", time.Since(began), err)
		}
		if _, ended := r.heard(); !ended {
			f.Errorf("the stream goes on after the end")
		}
	})
}

func TestAServiceWithOpenPagesStopsInTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.start()
	session := w.pay(s.selling(washer), sandbox.PayOptions{})
	s.payment(session.ID, "sent", has(`"machine":"sent"`))
	_, header, _ := s.get("/payment/success?session_id=" + session.ID)
	response, err := noRedirects.Get(s.url + header.Get("Location") + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	noRedirects.CloseIdleConnections() // the server would wait for one that was opened beside another and never used
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(response.Body); err != nil {
		t.Errorf("the stream was cut: %v; want an orderly end", err)
	}
	if strings.Contains(s.logs.String(), "requests cut off") {
		t.Errorf("the end waited for an open page:\n%s", s.logs)
	}
}

func TestAStreamThatCannotLeaveTheServerIsServedAllTheSame(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		events := f.livePage(f.order(sandbox.PayOptions{})) + "/events"
		w := f.do(http.MethodHead, events, "")
		if w.Code != http.StatusOK || w.Body.Len() > 0 || w.Header().Get("Content-Type") != "text/event-stream" {
			f.Errorf("HEAD: %d %v %s; want the head of a stream", w.Code, w.Header(), w.Body)
		}
		ctx, leave := context.WithCancel(f.Context())
		stream := httptest.NewRecorder() // like HTTP/2, it has no connection to give away
		var served sync.WaitGroup
		served.Go(func() {
			f.handler.ServeHTTP(stream, httptest.NewRequest(http.MethodGet, events, nil).WithContext(ctx))
		})
		f.run()
		leave()
		served.Wait()
		for _, title := range []string{"<h1>Payment received</h1>", "<h1>Waiting for the machine</h1>"} {
			f.answers("the stream", stream, http.StatusOK, title)
		}
	})
}
