package demo

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"notepay/internal/sse"
)

const (
	readerBuffer = 256              // messages that a reader may be behind before it is dropped
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
	e := sse.Event{Name: event, Data: []byte(strings.TrimSpace(data))}
	if id > 0 {
		e.ID = strconv.FormatInt(id, 10)
	}
	return e.Bytes()
}

// events answers /demo/events?after=N: what changed since the page was made or last updated, then
// what changes, as HTML elements that take the place of those with the same id.
func (d *Demo) events(w http.ResponseWriter, r *http.Request) {
	after, _ := strconv.ParseInt(r.FormValue("after"), 10, 64)
	if last, err := strconv.ParseInt(r.Header.Get("Last-Event-ID"), 10, 64); err == nil {
		after = last
	}
	out := sse.NewStream(w)
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
	if out.Send(append(opening, message("run", sequence, d.stream.run))...) != nil {
		return
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		next := sse.Comment("still here")
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
		if out.Send(next) != nil {
			return
		}
	}
}
