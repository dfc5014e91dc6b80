// Package notify sends messages to people: by e-mail, ntfy, Telegram, Slack and Pushover, and to other
// systems by signed webhooks.
//
// A target is named by a URL in the form that shoutrrr documents, such as ntfy://ntfy.sh/topic. Parse
// is the only reader of these URLs. A URL holds secrets, so no label, error or id of a target holds a
// part of it that may be one. The package decides neither what to send nor when to repeat it.
package notify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"notepay/internal/upstream"
)

// Message is what a target gets.
type Message struct {
	ID     string // the same for a repeat
	Kind   string // what it is about, for programs: "payments", "test"
	State  string // for programs: Open, Resolved, Digest or Test
	Title  string
	Text   string // lines
	Link   string // a page of the console; "" for none
	Count  int    // how many things are wrong
	Urgent bool   // the owner should look now
	At     time.Time
}

// The states of a message.
const (
	Open     = "open"
	Resolved = "resolved"
	Digest   = "digest"
	Test     = "test"
)

// Timeout bounds one attempt to send.
const Timeout = 15 * time.Second

// Target is one place to which messages are sent.
type Target struct {
	Service string // "ntfy", "telegram", ...
	// ID tells targets apart across restarts. It is derived from the URL without its password.
	ID string

	secrets []string // parts of the URL that an error must not hold
	post    func(Message) (request, error)
	accept  func(body []byte) error              // reads the body of a 2xx reply; nil: any is a success
	mail    func(context.Context, Message) error // instead of post
}

// request is one HTTP request to a service.
type request struct {
	url    string
	kind   string // Content-Type
	body   []byte
	header map[string]string
}

// client makes all requests. It follows no redirect, because a redirect would pass secrets on. It
// keeps no connection, because messages are rare.
func client() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Sender sends messages. It is safe for concurrent use.
type Sender struct{ http *http.Client }

// NewSender returns a sender. transport is for tests; nil is the network.
func NewSender(transport http.RoundTripper) *Sender {
	c := client()
	if transport != nil {
		c.Transport = transport
	}
	return &Sender{c}
}

// Send makes one attempt. Its error holds no secret of the target.
func (s *Sender) Send(ctx context.Context, t *Target, m Message) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	err := s.try(ctx, t, m)
	if err == nil {
		return nil
	}
	return errors.New(t.Service + ": " + t.clean(err))
}

func (s *Sender) try(ctx context.Context, t *Target, m Message) error {
	if t.mail != nil {
		return t.mail(ctx, m)
	}
	q, err := t.post(m)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, q.url, strings.NewReader(string(q.body)))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", q.kind)
	r.Header.Set("User-Agent", "notepay")
	for name, value := range q.header {
		r.Header.Set(name, value)
	}
	resp, err := s.http.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<10))
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("status %d: %s", resp.StatusCode, upstream.Excerpt(body))
	}
	if err != nil || t.accept == nil {
		return err
	}
	return t.accept(body)
}

// clean returns the text of an error without the URL and without the secrets of the target.
func (t *Target) clean(err error) string {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // the text of a url.Error begins with the URL
	}
	text := err.Error()
	for _, secret := range t.secrets {
		for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
			if form != "" {
				text = strings.ReplaceAll(text, form, "[redacted]")
			}
		}
	}
	return upstream.Excerpt([]byte(text))
}

// idOf returns the ID of a target. The password is left out, because a digest of a weak password can
// be guessed.
func idOf(u *url.URL, part string) string {
	without := *u
	if u.User != nil {
		without.User = url.User(u.User.Username())
	}
	sum := sha256.Sum256([]byte(without.String() + " " + part))
	return u.Scheme + "-" + hex.EncodeToString(sum[:6])
}
