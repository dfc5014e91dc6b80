package apptest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing/synctest"

	"notepay/internal/sandbox"
)

// pipes is a listener whose connections are net.Pipes, which live within a bubble and hold nothing
// back: a reader that does not read is one who does not take anything.
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

// Serve answers as the program does, with all its time limits.
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

// Reader is a browser with a live page.
type Reader struct {
	f     *Front
	Conn  net.Conn
	mu    sync.Mutex
	text  string
	ended bool
}

// Ask sends a request on a connection of its own and reads nothing.
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
		f.Fatalf("%s: %s, %v; want a stream that nobody stores", path, response.Status, response.Header)
	}
	go r.follow(response.Body)
	synctest.Wait()
	return r
}

// follow reads what comes, line by line.
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

// Heard is what came since it was asked last, and whether the stream has ended.
func (r *Reader) Heard() (text string, ended bool) {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	text, r.text = r.text, ""
	return text, r.ended
}

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

// LivePage is where the payment of a session is shown.
func (f *Front) LivePage(session sandbox.Session) string {
	f.Helper()
	path := f.Get("/payment/success?session_id=" + session.ID).Header().Get("Location")
	if !strings.HasPrefix(path, "/session/") {
		f.Fatalf("the success page leads to %q; want a live page", path)
	}
	return path
}
