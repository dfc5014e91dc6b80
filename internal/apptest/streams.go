package apptest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing/synctest"
)

// Serve serves the handler with all limits of the program, and returns the server and its listener.
func (f *Front) Serve() (*http.Server, *pipes) {
	listener := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := f.Server.HTTPServer(f.Handler)
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

// pipes is a listener whose connections are net.Pipes, which work in fake time. They have no
// buffer, so a client that does not read blocks the server.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Accept implements net.Listener.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *pipes) Close() error { p.once.Do(func() { close(p.closed) }); return nil }

// Addr implements net.Listener.
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// Ask sends a GET request on its own connection and reads nothing.
func (p *pipes) Ask(f *Front, path string, header ...string) net.Conn {
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

// Read opens a stream and reads it until it ends.
func (p *pipes) Read(f *Front, path string, header ...string) *Reader {
	f.Helper()
	r := &Reader{f: f, Conn: p.Ask(f, path, header...)}
	response, err := http.ReadResponse(bufio.NewReader(r.Conn), nil)
	if err != nil {
		f.Fatal(err)
	}
	if kind := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK ||
		kind != "text/event-stream" ||
		response.Header.Get("Cache-Control") != "no-store" {
		f.Fatalf("%s: %s, %v; want a stream that is not stored", path, response.Status, response.Header)
	}
	go r.follow(response.Body)
	synctest.Wait()
	return r
}

// Press submits a form on its own connection and reads the answer as it arrives.
func (p *pipes) Press(f *Front, path, cookie, form string) *Reader {
	f.Helper()
	ours, theirs := net.Pipe()
	p.conns <- theirs
	r := &Reader{f: f, Conn: ours}
	f.Cleanup(func() { _ = ours.Close() })
	_, err := fmt.Fprintf(
		ours,
		"POST %s HTTP/1.1\r\nHost: pay.test\r\nCookie: %s\r\nSec-Fetch-Site: same-origin\r\nContent-Type: "+
			"application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
		path,
		cookie,
		len(form),
		form,
	)
	if err != nil {
		f.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(ours), nil)
	if err != nil || response.StatusCode != http.StatusOK {
		f.Fatalf("%s: %v, %v; want a page", path, response, err)
	}
	go r.follow(response.Body)
	synctest.Wait()
	return r
}

// Reader is a browser that reads a stream.
type Reader struct {
	f     *Front
	Conn  net.Conn
	mu    sync.Mutex
	text  string
	ended bool
}

// follow reads the body line by line.
func (r *Reader) follow(body io.Reader) {
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

// Heard returns what has arrived since the last call, and whether the stream has ended.
func (r *Reader) Heard() (text string, ended bool) {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	text, r.text = r.text, ""
	return text, r.ended
}

// Hears checks that what has arrived since the last call contains parts, and returns it.
func (r *Reader) Hears(parts ...string) (text string) {
	r.f.Helper()
	text, _ = r.Heard()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			r.f.Errorf("the stream says %q; want %q", text, part)
		}
	}
	return text
}

// EventStream is the operator's event stream, as far as it was read. Mu guards Text.
type EventStream struct {
	Mu    sync.Mutex
	Sent  http.Header
	Text  strings.Builder
	Leave context.CancelFunc
	Done  chan struct{}
}

// ListenToEvents opens the operator's event stream until the test ends.
func (f *Front) ListenToEvents(query string, header ...string) *EventStream {
	ctx, cancel := context.WithCancel(f.Context())
	s := &EventStream{Sent: http.Header{}, Leave: cancel, Done: make(chan struct{})}
	r := httptest.NewRequest("GET", "/api/events?"+query, nil).WithContext(ctx)
	r.Header.Set("Authorization", "Bearer "+OperatorToken)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	go func() {
		defer close(s.Done)
		f.Handler.ServeHTTP(s, r)
	}()
	synctest.Wait()
	return s
}

// Header implements http.ResponseWriter.
func (s *EventStream) Header() http.Header { return s.Sent }

// WriteHeader implements http.ResponseWriter.
func (s *EventStream) WriteHeader(int) {}

// Flush implements http.Flusher.
func (s *EventStream) Flush() {}

// Write implements http.ResponseWriter.
func (s *EventStream) Write(b []byte) (int, error) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.Text.Write(b)
}

// Ids returns the ids of the events that were read.
func (s *EventStream) Ids() (ids []string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	for line := range strings.Lines(s.Text.String()) {
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			ids = append(ids, strings.TrimSpace(id))
		}
	}
	return ids
}

// Reads gets a path through a real server and returns the body that the client gets. damage is
// called after the first bytes.
func (f *Front) Reads(path string, damage func(), header ...string) (body string, err error) {
	f.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.Handler.ServeHTTP(damaging{w, &sync.Once{}, damage}, r)
	}))
	defer server.Close()
	r, err := http.NewRequest("GET", server.URL+path, nil)
	if err != nil {
		f.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := server.Client().Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

// damaging calls damage when the first bytes of an answer were written.
type damaging struct {
	http.ResponseWriter
	once   *sync.Once
	damage func()
}

// Write implements http.ResponseWriter.
func (d damaging) Write(b []byte) (int, error) {
	n, err := d.ResponseWriter.Write(b)
	d.once.Do(d.damage)
	return n, err
}

// Unwrap returns the underlying writer, for http.ResponseController.
func (d damaging) Unwrap() http.ResponseWriter { return d.ResponseWriter }

// ReadsAsOldProxiesDo gets a path with HTTP/1.0. There an answer of unknown length is complete when
// the connection is closed in order.
func (f *Front) ReadsAsOldProxiesDo(path string) (answer string, err error) {
	f.Helper()
	server := httptest.NewServer(f.Handler)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		f.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.0\r\n\r\n"); err != nil {
		f.Fatal(err)
	}
	text, err := io.ReadAll(conn)
	return string(text), err
}
