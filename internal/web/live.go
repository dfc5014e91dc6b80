package web

import (
	"bytes"
	"errors"
	"hash/fnv"
	"net/http"
	"strconv"
	"sync"
	"time"

	"notepay/internal/ledger"
)

// Live knows which live pages are open, and tells them that their payment changed. It never waits for a reader: who is told twice while
// it writes looks once. It is safe for concurrent use.
type Live struct {
	mu    sync.Mutex
	open  map[string]map[chan struct{}]bool // by token
	total int
	ended chan struct{}
	end   sync.Once
	looks chan struct{} // those who read the ledger or make a page just now
}

const (
	mostOfOne = 8      // streams of one payment: a customer has few screens, and a link may get about
	mostOfAll = 20_000 // streams altogether, each of which takes a socket and some 30 kB
	mostLooks = 16     // at once: more make no page sooner
)

// NewLive makes a hub without pages.
func NewLive() *Live {
	return &Live{open: map[string]map[chan struct{}]bool{}, ended: make(chan struct{}), looks: make(chan struct{}, mostLooks)}
}

// Changed tells the pages of a payment that it changed. It returns at once.
func (l *Live) Changed(p ledger.Payment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for news := range l.open[p.Token] {
		select {
		case news <- struct{}{}:
		default: // it has not looked since it was told last
		}
	}
}

// End ends all streams, and those that begin later: the server stops, and browsers come back to the next one.
func (l *Live) End() { l.end.Do(func() { close(l.ended) }) }

// join opens a stream of a page, unless there are too many. What changes from then on comes through the channel.
func (l *Live) join(token string) (news chan struct{}, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= mostOfAll || len(l.open[token]) >= mostOfOne {
		return nil, false
	}
	if l.open[token] == nil {
		l.open[token] = map[chan struct{}]bool{}
	}
	news = make(chan struct{}, 1)
	l.open[token][news] = true
	l.total++
	return news, true
}

func (l *Live) leave(token string, news chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open[token], news)
	if len(l.open[token]) == 0 {
		delete(l.open, token)
	}
	l.total--
}

// look does something that needs much stack in a goroutine of its own: thousands of streams that wait would keep theirs.
func (l *Live) look(f func()) {
	l.looks <- struct{}{}
	done := make(chan struct{})
	go func() {
		defer func() { <-l.looks; close(done) }()
		f()
	}()
	<-done
}

const (
	heartbeat  = 15 * time.Second // proxies cut what is silent for longer; countdowns move with it
	writeLimit = 5 * time.Second  // a reader that takes no more for so long is dropped
	reconnect  = "2000"           // milliseconds, after which a browser that lost its stream comes back
)

// Events is the stream of a payer's page (text/event-stream): each event is the page's inner part as it is then, so that a reader who lost
// any number of them has everything with the next. Its id is a digest of it: a browser that comes back is not told what it knows.
func (c *Customer) Events(w http.ResponseWriter, r *http.Request) error {
	token := r.PathValue("token")
	news, ok := c.Live.join(token)
	if !ok {
		return c.Show(w, r, Page{Status: http.StatusTooManyRequests, Title: phrase("payment.many.title"), Lines: []Phrase{phrase("payment.many.hint")}, RetryAfter: time.Minute})
	}
	defer c.Live.leave(token, news)
	var p ledger.Payment
	var err error
	read := func() { p, err = c.paymentOfToken(r) } // the ledger tells, not the news: two changes may be told in the wrong order
	if c.Live.look(read); errors.Is(err, ledger.ErrNotFound) {
		return c.notFound(w, r, "payment.unknown.open")
	}
	if err != nil {
		return err
	}

	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would keep events back
	out := stream{w, http.NewResponseController(w)}
	if out.write([]byte("retry: "+reconnect+"\n\n")) != nil {
		return nil
	}
	l, told := languageOf(r), r.Header.Get("Last-Event-ID")
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		var message []byte
		var id string
		c.Live.look(func() { message, id, err = c.event(p, l) })
		if err != nil {
			return err
		}
		if id == told {
			message = []byte(": still here\n\n")
		}
		if out.write(message) != nil {
			return nil // it is gone, or too slow
		}
		told = id
		select {
		case <-news:
			if c.Live.look(read); err != nil && r.Context().Err() == nil {
				return err // the browser comes back
			}
		case <-beat.C:
		case <-r.Context().Done():
		case <-c.Live.ended:
			return nil
		}
		if r.Context().Err() != nil {
			return nil
		}
	}
}

// event is a payment's page as an event, and the event's id.
func (c *Customer) event(p ledger.Payment, l Language) (message []byte, id string, err error) {
	page := c.payment(p, time.Now())
	inner, err := view{Page: page, Language: l, Brand: c.Brand, Data: page.data}.inner()
	if err != nil {
		return nil, "", err
	}
	digest := fnv.New64a()
	digest.Write(inner)
	id = strconv.FormatUint(digest.Sum64(), 36)
	inner = bytes.ReplaceAll(bytes.TrimSpace(inner), []byte("\n"), []byte("\ndata: "))
	return append([]byte("event: page\nid: "+id+"\ndata: "), append(inner, "\n\n"...)...), id, nil
}

// stream writes to one reader, who has a limited time for each message.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (s stream) write(message []byte) error {
	_ = s.control.SetWriteDeadline(time.Now().Add(writeLimit)) // not every writer can
	if _, err := s.w.Write(message); err != nil {
		return err
	}
	return s.control.Flush()
}
