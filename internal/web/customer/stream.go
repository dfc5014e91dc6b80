package customer

import (
	"bytes"
	"errors"
	"hash/fnv"
	"net"
	"net/http"
	"strconv"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/web"
)

// Events is the stream of a payer's page.
func (c *Handler) Events(w http.ResponseWriter, r *http.Request) error {
	return c.stream(w, r, linkToCode)
}

// AccessEvents is that of the page with the code.
func (c *Handler) AccessEvents(w http.ResponseWriter, r *http.Request) error {
	return c.stream(w, r, withCode)
}

// stream answers with a stream (text/event-stream): each event is the page's inner part as it is
// then, so that a reader who lost any number of them has everything with the next. Its id is a
// digest of it: a browser that comes back is not told what it knows.
func (c *Handler) stream(w http.ResponseWriter, r *http.Request, code codeShown) error {
	token := r.PathValue("token")
	n, ok := c.Live.Join(token)
	if !ok {
		return c.Render(w, r, Page{
			Status:     http.StatusTooManyRequests,
			Title:      phrase("payment.many.title"),
			Lines:      []Phrase{phrase("payment.many.hint")},
			RetryAfter: time.Minute,
		})
	}
	handed := false // to a goroutine of its own
	defer func() {
		if !handed {
			c.Live.Leave(token, n)
		}
	}()
	s := &stream{
		code:     code,
		shown:    r.Header.Get("Last-Event-ID"),
		language: languageOf(r),
		news:     n,
		gone:     r.Context().Done(),
	}
	err := c.Live.WithStack(func() error {
		p, err := c.paymentOfToken(r)
		s.payment = &p
		return err
	})
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
	_ = control.SetWriteDeadline(time.Now().Add(web.WriteTimeout)) // not every writer can
	w.WriteHeader(http.StatusOK)
	if control.Flush() != nil || r.Method != http.MethodGet {
		return nil
	}
	// The server keeps 15 kB for a request under way, most of it buffers. A stream needs none of
	// them, so it leaves the server.
	if conn, _, err := control.Hijack(); err == nil {
		gone := make(chan struct{})
		s.gone, s.write = gone, onConn(conn)
		go listenToEnd(conn, gone)
		handed = true
		go func() {
			defer c.Live.Leave(token, n)
			defer conn.Close()
			if err := c.follow(s); err != nil {
				c.Log.Error("live page failed", "err", err)
			}
		}()
		return nil
	}
	s.write = func(message []byte) error { // HTTP/2 has no connection to give away
		_ = control.SetWriteDeadline(time.Now().Add(web.WriteTimeout))
		if _, err := w.Write(message); err != nil {
			return err
		}
		return control.Flush()
	}
	return c.follow(s)
}

// stream is one open page.
type stream struct {
	payment  *payment.Payment
	code     codeShown
	language Language
	shown    string // the id of the event that its reader has
	news     web.Updates
	gone     <-chan struct{} // its reader is
	write    func(message []byte) error
}

// onConn writes to a reader, who has a limited time for each message.
func onConn(conn net.Conn) func([]byte) error {
	return func(message []byte) error {
		if err := conn.SetWriteDeadline(time.Now().Add(web.WriteTimeout)); err != nil {
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

// follow tells a page what changes, until its reader is gone or too slow, or the server ends: nil.
// Browsers come back by themselves, also after an error.
func (c *Handler) follow(s *stream) error {
	if s.write([]byte("retry: "+web.Reconnect+"\n\n")) != nil {
		return nil
	}
	beat := time.NewTicker(web.HeartbeatInterval)
	defer beat.Stop()
	for {
		var message []byte
		err := c.Live.WithStack(func() (err error) {
			c.watch(*s.payment)
			message, err = c.next(s)
			return err
		})
		if err != nil {
			if errors.Is(err, web.ErrTooBusy) {
				return nil // thousands of pages may end so at once
			}
			return err
		}
		if s.write(message) != nil {
			return nil
		}
		select {
		case s.payment = <-s.news:
			if s.payment == nil {
				return nil
			}
		case <-beat.C:
		case <-s.gone:
			return nil
		case <-c.Live.Ended:
			return nil
		}
	}
}

// next is what a page is told now.
func (c *Handler) next(s *stream) (message []byte, err error) {
	message, id, err := c.event(*s.payment, s.language, s.code)
	if id == s.shown {
		message = []byte(": still here\n\n")
	}
	s.shown = id
	return message, err
}

// event is a payment's page as an event, and the event's id.
func (c *Handler) event(p payment.Payment, l Language, code codeShown) (message []byte, id string, err error) {
	page := c.payment(p, c.now(), code)
	inner, err := view{Page: page, Language: l, Brand: c.Brand, Data: page.data}.inner()
	if err != nil {
		return nil, "", err
	}
	inner = bytes.TrimSpace(inner)
	digest := fnv.New64a()
	digest.Write(inner)
	id = strconv.FormatUint(digest.Sum64(), 36)
	message = make([]byte, 0, len(inner)+1<<9)
	message = append(message, "event: page\nid: "+id+"\n"...)
	for line := range bytes.Lines(inner) {
		message = append(append(message, "data: "...), line...)
	}
	return append(message, "\n\n"...), id, nil
}
