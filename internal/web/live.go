package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"runtime/debug"
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
	all   map[chan struct{}]bool // those who are told of every payment
	ended chan struct{}
	end   sync.Once
	looks chan struct{} // those who read the ledger or make a page just now
}

const (
	mostOfOne = 8      // streams of one payment: a customer has few screens, and a link may get about
	mostOfAll = 20_000 // streams altogether, each of which takes a socket and some 15 kB
	mostLooks = 16     // at once: more make no page sooner
)

// NewLive makes a hub without pages.
func NewLive() *Live {
	return &Live{open: map[string]map[chan struct{}]bool{}, all: map[chan struct{}]bool{}, ended: make(chan struct{}), looks: make(chan struct{}, mostLooks)}
}

// Changed tells the pages of a payment that it changed. It returns at once.
func (l *Live) Changed(p ledger.Payment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, those := range []map[chan struct{}]bool{l.open[p.Token], l.all} {
		for news := range those {
			select {
			case news <- struct{}{}:
			default: // it has not looked since it was told last
			}
		}
	}
}

// Watch tells through a channel that some payment changed, until leave is called.
func (l *Live) Watch() (news <-chan struct{}, leave func()) {
	one := make(chan struct{}, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all[one] = true
	return one, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.all, one)
	}
}

// End ends all streams, and those that begin later: the server stops, and browsers come back to the next one.
func (l *Live) End() { l.end.Do(func() { close(l.ended) }) }

// UntilEnd is a context that ends with the streams, too.
func (l *Live) UntilEnd(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-l.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// Pages is how many streams are open.
func (l *Live) Pages() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

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

// look does something that needs much stack in a goroutine of its own: thousands of streams that wait would keep theirs. A panic in it is an error.
func (l *Live) look(f func() error) (err error) {
	l.looks <- struct{}{}
	done := make(chan struct{})
	go func() {
		defer func() {
			if problem := recover(); problem != nil {
				err = fmt.Errorf("panic: %v\n%s", problem, debug.Stack())
			}
			<-l.looks
			close(done)
		}()
		err = f()
	}()
	<-done
	return err
}

const (
	heartbeat  = 15 * time.Second // proxies cut what is silent for longer; countdowns move with it
	writeLimit = 5 * time.Second  // a reader that takes no more for so long is dropped
	reconnect  = "2000"           // milliseconds, after which a browser that lost its stream comes back
)

// Events is the stream of a payer's page.
func (c *Customer) Events(w http.ResponseWriter, r *http.Request) error {
	return c.stream(w, r, linkToCode)
}

// AccessEvents is that of the page with the code.
func (c *Customer) AccessEvents(w http.ResponseWriter, r *http.Request) error {
	return c.stream(w, r, withCode)
}

// stream answers with a stream (text/event-stream): each event is the page's inner part as it is then, so that a reader who lost
// any number of them has everything with the next. Its id is a digest of it: a browser that comes back is not told what it knows.
func (c *Customer) stream(w http.ResponseWriter, r *http.Request, code codeShown) error {
	token := r.PathValue("token")
	news, ok := c.Live.join(token)
	if !ok {
		return c.Show(w, r, Page{Status: http.StatusTooManyRequests, Title: phrase("payment.many.title"), Lines: []Phrase{phrase("payment.many.hint")}, RetryAfter: time.Minute})
	}
	handed := false // to a goroutine of its own
	defer func() {
		if !handed {
			c.Live.leave(token, news)
		}
	}()
	s := &stream{token: token, code: code, told: r.Header.Get("Last-Event-ID"), language: languageOf(r), news: news, gone: r.Context().Done()}
	err := c.Live.look(func() (err error) { s.payment, err = c.paymentOfToken(r); return err })
	if errors.Is(err, ledger.ErrNotFound) {
		return c.notFound(w, r, "payment.unknown.open")
	}
	if err != nil {
		return err
	}

	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")       // nginx would keep events back
	h.Set("Transfer-Encoding", "identity") // it ends when the connection does
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(writeLimit)) // not every writer can
	w.WriteHeader(http.StatusOK)
	if control.Flush() != nil || r.Method != http.MethodGet {
		return nil
	}
	// The server keeps 15 kB for a request under way, most of it buffers. A stream needs none of them, so it leaves the server.
	if conn, _, err := control.Hijack(); err == nil {
		gone := make(chan struct{})
		s.gone, s.write = gone, onConn(conn)
		go listenToEnd(conn, gone)
		handed = true
		go func() {
			defer c.Live.leave(token, news)
			defer conn.Close()
			if err := c.follow(s); err != nil {
				c.Log.Error("live page", "payment", s.payment.ID, "err", err)
			}
		}()
		return nil
	}
	s.write = func(message []byte) error { // HTTP/2 has no connection to give away
		_ = control.SetWriteDeadline(time.Now().Add(writeLimit))
		if _, err := w.Write(message); err != nil {
			return err
		}
		return control.Flush()
	}
	return c.follow(s)
}

// stream is one open page.
type stream struct {
	token    string
	payment  ledger.Payment
	code     codeShown
	language Language
	told     string // the id of the event that its reader has
	news     chan struct{}
	gone     <-chan struct{} // its reader is
	write    func(message []byte) error
}

// onConn writes to a reader, who has a limited time for each message.
func onConn(conn net.Conn) func([]byte) error {
	return func(message []byte) error {
		if err := conn.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
			return err
		}
		_, err := conn.Write(message)
		return err
	}
}

// listenToEnd closes gone when the other side has hung up. What it says before is not asked for.
func listenToEnd(conn net.Conn, gone chan struct{}) {
	defer close(gone)
	for one := make([]byte, 1); ; {
		if _, err := conn.Read(one); err != nil {
			return
		}
	}
}

// follow tells a page what changes, until its reader is gone or too slow, or the server ends: nil. Browsers come back by themselves, also
// after an error.
func (c *Customer) follow(s *stream) error {
	if s.write([]byte("retry: "+reconnect+"\n\n")) != nil {
		return nil
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for changed := false; ; {
		var message []byte
		if err := c.Live.look(func() (err error) { message, err = c.next(s, changed); return err }); err != nil {
			return err
		}
		if s.write(message) != nil {
			return nil
		}
		select {
		case <-s.news:
			changed = true
		case <-beat.C:
			changed = false
		case <-s.gone:
			return nil
		case <-c.Live.ended:
			return nil
		}
	}
}

// next is what a page is told now. If its payment changed, the ledger says how it stands, and not the news: two changes may be told in the
// wrong order.
func (c *Customer) next(s *stream, changed bool) (message []byte, err error) {
	if changed {
		if s.payment, err = c.Ledger.PaymentOfToken(context.Background(), s.token); err != nil {
			return nil, err
		}
	}
	message, id, err := c.event(s.payment, s.language, s.code)
	if id == s.told {
		message = []byte(": still here\n\n")
	}
	s.told = id
	return message, err
}

// event is a payment's page as an event, and the event's id.
func (c *Customer) event(p ledger.Payment, l Language, code codeShown) (message []byte, id string, err error) {
	page := c.payment(p, time.Now(), code)
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
