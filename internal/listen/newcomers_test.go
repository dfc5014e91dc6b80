package listen

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener for connections in memory.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func TestNewcomersWait(t *testing.T) {
	t.Parallel()
	const max = 2 * time.Second
	request := func(c net.Conn) error {
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"); err != nil {
			return err
		}
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r.Body)
		return errors.Join(err, r.Body.Close())
	}
	for name, c := range map[string]struct {
		before, meanwhile func(net.Conn) error // after a second of waiting
		want              time.Duration
		open              bool // whether the connection is open then
	}{
		"no longer than until the request has arrived": {nil, request, time.Second, true},
		"not for the second request":                   {request, nil, 0, true},
		"not for a client that has gone":               {nil, net.Conn.Close, time.Second, false},
		"only for a while":                             {nil, nil, max, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n, l := &Newcomers{}, make(pipes)
				var states atomic.Int64
				answer := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }
				server := &http.Server{
					Handler:   http.HandlerFunc(answer),
					ConnState: func(net.Conn, http.ConnState) { states.Add(1) },
				}
				n.Watch(server)
				served := make(chan error, 1)
				go func() { served <- server.Serve(l) }()
				client, accepted := net.Pipe()
				l <- accepted
				synctest.Wait()
				if c.before != nil {
					if err := c.before(client); err != nil {
						t.Fatal(err)
					}
				}
				close(l)
				<-served
				done := make(chan error, 1)
				go func() {
					time.Sleep(time.Second)
					if c.meanwhile == nil {
						done <- nil
						return
					}
					done <- c.meanwhile(client)
				}()
				began := time.Now()
				n.Wait(max)
				if took := time.Since(began); took != c.want {
					t.Errorf("it waits %v; want %v", took, c.want)
				}
				if err := <-done; err != nil {
					t.Errorf("the client: %v", err)
				}
				if c.open {
					if err := request(client); err != nil {
						t.Errorf("another request: %v", err)
					}
				} else if err := request(client); err == nil {
					t.Error("the connection is still open")
				}
				if states.Load() == 0 {
					t.Error("the server's own hook is not called")
				}
				if err := server.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
