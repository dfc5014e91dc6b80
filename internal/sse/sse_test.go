package sse

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestEvent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		event Event
		want  string
	}{
		{Event{Name: "page", ID: "x1", Data: []byte("<p>\n</p>")}, "event: page\nid: x1\ndata: <p>\ndata: </p>\n\n"},
		{Event{ID: "evt_1", Data: []byte(`{"id":1}`)}, "id: evt_1\ndata: {\"id\":1}\n\n"},
		{Event{Name: "changed", ID: "1", Data: []byte{}}, "event: changed\nid: 1\ndata:\n\n"},
		{Event{ID: "1", Retry: 2 * time.Second}, "id: 1\nretry: 2000\n\n"},
		{Event{Retry: 1500 * time.Millisecond}, "retry: 1500\n\n"},
		{Event{Data: []byte("a\n\nb\n")}, "data: a\ndata: \ndata: b\n\n"},
	} {
		if got := string(c.event.Append([]byte("before|"))); got != "before|"+c.want {
			t.Errorf("%+v is written as %q; want %q", c.event, got, c.want)
		}
	}
}

func TestComment(t *testing.T) {
	t.Parallel()
	if got := string(Comment("still here")) + string(Comment("")); got != ": still here\n\n:\n\n" {
		t.Errorf("comments are written as %q", got)
	}
}

func TestStream(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	s := NewStream(w)
	if _, ok := s.Detach(); ok {
		t.Error("a recorder gave a connection away")
	}
	if err := s.Send(Event{Retry: ReconnectDelay}.Bytes(), Comment("")); err != nil {
		t.Fatal(err)
	}
	if !w.Flushed || w.Body.String() != "retry: 2000\n\n:\n\n" {
		t.Errorf("sent %q, flushed %v; want both messages at once", w.Body, w.Flushed)
	}
	if kind, cache := w.Header().Get("Content-Type"), w.Header().Get("Cache-Control"); kind != "text/event-stream" ||
		cache != "no-store" {
		t.Errorf("headers %v; want a stream that is not stored", w.Header())
	}
}

func TestDetach(t *testing.T) {
	t.Parallel()
	streams, ends := make(chan *Stream), make(chan (<-chan struct{}), 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Transfer-Encoding", "identity")
		s := NewStream(w)
		if err := s.Send(); err != nil {
			t.Error(err)
		}
		gone, ok := s.Detach()
		if !ok {
			t.Error("the server kept its connection")
		}
		ends <- gone
		streams <- s
	}))
	defer server.Close()
	answer, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	s, gone := <-streams, <-ends
	defer s.Close()
	if s.response != nil || s.control != nil {
		t.Error("a detached stream keeps the server's buffers")
	}
	if err := s.Send(Event{Data: []byte("after the handler")}.Bytes()); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(answer.Body).ReadString('\n'); line != "data: after the handler\n" {
		t.Errorf("read %q, %v; want the event", line, err)
	}
	select {
	case <-gone:
		t.Error("gone is closed while the reader is there")
	default:
	}
	_ = answer.Body.Close()
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("gone is open although the reader hung up")
	}
}

func TestSendGivesUpAReaderThatTakesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn, reader := net.Pipe()
		defer reader.Close()
		s := &Stream{conn: conn}
		began := time.Now()
		if err := s.Send([]byte(strings.Repeat(":", 100))); !errors.Is(err, os.ErrDeadlineExceeded) ||
			time.Since(began) != WriteTimeout {
			t.Errorf("Send returned %v after %v; want the deadline after %v", err, time.Since(began), WriteTimeout)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Send(Comment("")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("Send on a closed stream: %v; want an error", err)
		}
	})
}
