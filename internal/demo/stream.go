package demo

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	readerBuffer = 256              // messages that a reader may be behind before it is dropped
	writeLimit   = 5 * time.Second  // for one message, so that closing the server does not wait for a stuck reader
	heartbeat    = 20 * time.Second // finds out readers that are gone
)

// stream sends server-sent events to everybody who looks at the page. It is safe for concurrent
// use.
type stream struct {
	run string // differs from start to start: a page of an earlier one loads itself again

	mu      sync.Mutex
	readers map[chan []byte]bool
}

func (s *stream) subscribe() chan []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readers == nil {
		s.readers = make(map[chan []byte]bool)
	}
	reader := make(chan []byte, readerBuffer)
	s.readers[reader] = true
	return reader
}

func (s *stream) leave(reader chan []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.readers, reader)
}

// send gives a message to all readers. One that does not keep up is dropped: its channel is closed,
// and its browser comes back.
func (s *stream) send(message []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for reader := range s.readers {
		select {
		case reader <- message:
		default:
			close(reader)
			delete(s.readers, reader)
		}
	}
}

func (s *stream) watched() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.readers) > 0
}

func (s *stream) sendLine(l line) {
	if s.watched() {
		s.send(message("line", l.sequence, render("line", l)))
	}
}

// message renders one event. The id, if it is not 0, is the point in the sequence from which a
// browser that comes back goes on.
func message(event string, id int64, data string) []byte {
	var m bytes.Buffer
	fmt.Fprintf(&m, "event: %s\n", event)
	if id > 0 {
		fmt.Fprintf(&m, "id: %d\n", id)
	}
	for text := range strings.SplitSeq(strings.TrimSpace(data), "\n") {
		fmt.Fprintf(&m, "data: %s\n", text)
	}
	m.WriteString("\n")
	return m.Bytes()
}

// events answers /demo/events?after=N: what changed since the page was made or last heard of, then
// what changes, as HTML elements that take the place of those with the same id.
func (d *Demo) events(w http.ResponseWriter, r *http.Request) {
	after, _ := strconv.ParseInt(r.FormValue("after"), 10, 64)
	if last, err := strconv.ParseInt(r.Header.Get("Last-Event-ID"), 10, 64); err == nil {
		after = last
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	write := func(messages ...[]byte) error {
		_ = out.SetWriteDeadline(time.Now().Add(writeLimit)) // not every writer can
		for _, m := range messages {
			if _, err := w.Write(m); err != nil {
				return err
			}
		}
		return out.Flush()
	}
	reader := d.stream.subscribe()
	defer d.stream.leave(reader)
	var opening [][]byte
	for _, f := range d.fragments() {
		opening = append(opening, f.message())
	}
	lines, sequence := d.wire.after(after)
	for _, l := range lines {
		opening = append(opening, message("line", 0, render("line", l)))
	}
	if write(append(opening, message("run", sequence, d.stream.run))...) != nil {
		return
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		next := []byte(": still here\n\n")
		select {
		case m, ok := <-reader:
			if !ok {
				return
			}
			next = m
		case <-beat.C:
		case <-r.Context().Done():
			return
		case <-d.stopped:
			return
		}
		if write(next) != nil {
			return
		}
	}
}
