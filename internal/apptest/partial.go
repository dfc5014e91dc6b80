package apptest

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
)

// damaging calls damage when an answer's first bytes are on their way.
type damaging struct {
	http.ResponseWriter
	once   *sync.Once
	damage func()
}

func (d damaging) Write(b []byte) (int, error) {
	n, err := d.ResponseWriter.Write(b)
	d.once.Do(d.damage)
	return n, err
}

func (d damaging) Unwrap() http.ResponseWriter { return d.ResponseWriter }

// Reads gets a path through a real server and returns what a client gets of it. damage happens
// after the first bytes.
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

// ReadsAsOldProxiesDo gets a path with HTTP/1.0, where an answer of unknown length is whole when
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
