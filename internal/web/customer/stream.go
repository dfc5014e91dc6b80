package customer

import (
	"bytes"
	"errors"
	"hash/fnv"
	"net/http"
	"strconv"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/sse"
	"notepay/internal/web"
)

// Events serves the event stream of a live page.
func (c *Handler) Events(w http.ResponseWriter, r *http.Request) error {
	return c.stream(w, r, linkToCode)
}

// AccessEvents serves the event stream of the page with the access code.
func (c *Handler) AccessEvents(w http.ResponseWriter, r *http.Request) error {
	return c.stream(w, r, showCode)
}

// stream answers with server-sent events. Each event holds the whole inner page, so that a reader
// who missed events is complete with the next. Its id is a digest of the page, so that a browser
// that reconnects does not receive the page that it has.
func (c *Handler) stream(w http.ResponseWriter, r *http.Request, code codeDisplay) error {
	token := r.PathValue("token")
	n, ok := c.Live.Join(token)
	if !ok {
		return c.Render(w, r, Page{
			Status:     http.StatusTooManyRequests,
			Title:      msg("payment.many.title"),
			Lines:      []Message{msg("payment.many.hint")},
			RetryAfter: time.Minute,
		})
	}
	detached := false
	defer func() {
		if !detached {
			c.Live.Leave(token, n)
		}
	}()
	s := &stream{
		code:     code,
		shown:    r.Header.Get("Last-Event-ID"),
		language: languageOf(r),
		updates:  n,
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

	header := w.Header()
	header.Set("X-Accel-Buffering", "no")       // nginx would buffer events
	header.Set("Transfer-Encoding", "identity") // the stream ends when the connection does
	s.out = sse.NewStream(w)
	w.WriteHeader(http.StatusOK)
	if s.out.Send() != nil || r.Method != http.MethodGet {
		return nil
	}
	gone, ok := s.out.Detach()
	if !ok { // as with HTTP/2
		return c.follow(s)
	}
	s.gone, detached = gone, true
	go func() {
		defer c.Live.Leave(token, n)
		defer s.out.Close()
		if err := c.follow(s); err != nil {
			c.Log.Error("live page failed", "err", err)
		}
	}()
	return nil
}

// stream is one open page.
type stream struct {
	payment  *payment.Payment
	code     codeDisplay
	language Language
	shown    string // id of the event that the reader has
	updates  web.Updates
	gone     <-chan struct{} // closed when the reader hangs up
	out      *sse.Stream
}

// follow sends the page after each change, and a heartbeat in between, which also moves countdowns.
// It returns nil when the reader is gone or too slow, or the server stops. Browsers reconnect by
// themselves, also after an error.
func (c *Handler) follow(s *stream) error {
	if s.out.Send(sse.Event{Retry: sse.ReconnectDelay}.Bytes()) != nil {
		return nil
	}
	beat := time.NewTicker(sse.HeartbeatInterval)
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
				return nil // not an error: thousands of pages may end so at once
			}
			return err
		}
		if s.out.Send(message) != nil {
			return nil
		}
		select {
		case s.payment = <-s.updates:
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

// next returns the message for a page: an event if the page has changed, or a heartbeat.
func (c *Handler) next(s *stream) (message []byte, err error) {
	message, id, err := c.event(*s.payment, s.language, s.code)
	if id == s.shown {
		message = beat(c.now())
	}
	s.shown = id
	return message, err
}

// beat returns a heartbeat. Its time tells the page how much the browser's clock is off, and that the
// page is up to date.
func beat(now time.Time) []byte {
	return sse.Event{Name: "beat", Data: strconv.AppendInt(nil, now.UnixMilli(), 10)}.Bytes()
}

// event returns the page of a payment as an event, and the event's id.
func (c *Handler) event(p payment.Payment, l Language, code codeDisplay) (message []byte, id string, err error) {
	page := c.payment(p, c.now(), code)
	inner, err := view{Page: page, Language: l, Brand: c.Brand, Data: page.data}.inner()
	if err != nil {
		return nil, "", err
	}
	inner = bytes.TrimSpace(inner)
	digest := fnv.New64a()
	digest.Write(inner)
	id = strconv.FormatUint(digest.Sum64(), 36)
	e := sse.Event{Name: "page", ID: id, Data: inner}
	return e.Append(make([]byte, 0, len(inner)+1<<9)), id, nil
}
