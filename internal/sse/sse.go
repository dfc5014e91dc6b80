// Package sse writes server-sent events (text/event-stream, WHATWG HTML, section 9.2).
//
// It promises that a reader who takes no more is given up after WriteTimeout, and that a detached
// stream keeps none of the server's buffers. It does not know what the events say or when they are
// due.
package sse

import (
	"bytes"
	"net"
	"net/http"
	"strconv"
	"time"
)

const (
	// WriteTimeout bounds each call of Send, so that a stuck reader holds up neither its stream nor
	// the end of the server.
	WriteTimeout = 5 * time.Second
	// HeartbeatInterval is the usual time between two heartbeats. Proxies cut connections that are
	// silent for longer.
	HeartbeatInterval = 15 * time.Second
	// ReconnectDelay is the usual time after which a browser reconnects.
	ReconnectDelay = 2 * time.Second
)

// Event is one event. Empty fields are left out.
type Event struct {
	Name  string
	ID    string        // the browser sends it as Last-Event-ID when it reconnects
	Retry time.Duration // after which the browser reconnects, in whole milliseconds
	Data  []byte        // nil: browsers apply ID and Retry, and tell the page nothing
}

// Append appends the event to b as it is sent, and returns the result.
func (e Event) Append(b []byte) []byte {
	if e.Name != "" {
		b = append(append(append(b, "event: "...), e.Name...), '\n')
	}
	if e.ID != "" {
		b = append(append(append(b, "id: "...), e.ID...), '\n')
	}
	if e.Retry > 0 {
		b = append(strconv.AppendInt(append(b, "retry: "...), e.Retry.Milliseconds(), 10), '\n')
	}
	if e.Data != nil && len(e.Data) == 0 {
		b = append(b, "data:\n"...)
	}
	for line := range bytes.Lines(e.Data) {
		b = append(append(append(b, "data: "...), bytes.TrimSuffix(line, []byte("\n"))...), '\n')
	}
	return append(b, '\n')
}

// Bytes returns the event as it is sent.
func (e Event) Bytes() []byte { return e.Append(nil) }

// Comment returns a comment of one line, which readers ignore. It serves as a heartbeat.
func Comment(text string) []byte {
	if text == "" {
		return []byte(":\n\n")
	}
	return []byte(": " + text + "\n\n")
}

// Stream writes to one reader. It is not safe for concurrent use.
type Stream struct {
	response http.ResponseWriter // nil once detached, because it holds the server's buffers
	control  *http.ResponseController
	conn     net.Conn // set by Detach
}

// NewStream makes the answer w a stream. It sets the headers, and removes the server's limit for
// reading a request, which would end the stream. The caller may set more headers before the first
// Send.
func NewStream(w http.ResponseWriter) *Stream {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // recorders in tests have no deadlines
	return &Stream{response: w, control: control}
}

// Send writes messages and flushes them. It returns an error when the reader is gone, or does not
// take them within WriteTimeout.
func (s *Stream) Send(messages ...[]byte) error {
	if s.conn != nil {
		if err := s.conn.SetWriteDeadline(time.Now().Add(WriteTimeout)); err != nil {
			return err
		}
		for _, m := range messages {
			if _, err := s.conn.Write(m); err != nil {
				return err
			}
		}
		return nil
	}
	_ = s.control.SetWriteDeadline(time.Now().Add(WriteTimeout)) // recorders in tests have no deadlines
	for _, m := range messages {
		if _, err := s.response.Write(m); err != nil {
			return err
		}
	}
	return s.control.Flush()
}

// Detach takes the connection from the server, so that the handler can return while the stream
// lives on. The server keeps 15 kB for each request that it serves, most of it buffers, and a
// stream needs none of them.
//
// The header must have been sent, with Transfer-Encoding: identity, because the stream then ends
// with its connection. gone is closed when the reader hangs up. The caller must call Close.
// Detach returns false, and the stream works as before, if the server cannot give the connection
// away, as with HTTP/2.
func (s *Stream) Detach() (gone <-chan struct{}, ok bool) {
	conn, _, err := s.control.Hijack()
	if err != nil {
		return nil, false
	}
	s.response, s.control, s.conn = nil, nil, conn
	closed := make(chan struct{})
	go drain(conn, closed)
	return closed, true
}

// Close closes the connection of a detached stream.
func (s *Stream) Close() error { return s.conn.Close() }

// drain discards what the reader sends, and closes gone when the reader hangs up.
func drain(conn net.Conn, gone chan<- struct{}) {
	defer close(gone)
	for one := make([]byte, 1); ; {
		if _, err := conn.Read(one); err != nil {
			return
		}
	}
}
