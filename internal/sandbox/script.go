// Package sandbox is Stripe, Notehub and the machines, simulated on loopback.
//
// It promises to behave as the two services are documented: stateful, strict about every request,
// and never surprising on its own. Trouble comes only from a [Script], which says for one request
// apart whether its effect happened and what the caller saw. Tests and the demo use the same
// handlers. What nobody has yet seen the real services do stands in unknown.go.
//
// It speaks HTTP only and knows nothing of the bridge: neither its types, nor its ledger, nor what
// it makes of a payment.
package sandbox

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	recordedRequests = 100_000 // requests remembered by a Script
	recordedBody     = 4 << 10 // bytes of a body remembered; a longer one is dropped
	largestBody      = 1 << 20 // bytes read of a request
)

// Reporter is told of requests that the real service would refuse: a *testing.T, or nil (then only
// the HTTP error is given).
type Reporter interface {
	Errorf(format string, args ...any)
}

// Outcome is what one request meets: did the effect happen, and, apart from that, what did the
// caller see, and how late.
type Outcome struct {
	Applied bool // the effect happens
	// what the caller sees; 0: the connection dies without a reply. If Applied and Status is 200:
	// the normal reply
	Status int
	Header http.Header // added to the reply, e.g. Retry-After
	// instead of the service's own body for that status ("": the service's usual error shape, or
	// the normal reply)
	Body  string
	Delay time.Duration // before the reply (the effect comes first); ends early when the request's context ends
	// the delay comes before the effect instead, and lasts even if the caller gives up meanwhile
	DelayEffect bool
}

// Request is one request that was seen, and what became of it. Secrets are redacted.
type Request struct {
	At                  time.Time
	Method, Path, Query string
	Header              http.Header
	Body                []byte // nil if longer than 4 KiB
	Status              int    // what the caller saw; 0: nothing, or not yet
	Applied             bool   // the effect happened
}

// Exchange is a finished request with its answer.
type Exchange struct {
	Request
	ResponseBody []byte // nil if longer than 4 KiB
	Took         time.Duration
}

// Script holds what the next requests meet and remembers the last 100,000. It is safe for
// concurrent use; its zero value lets every request through.
//
// A pattern is "METHOD /path", where the method or a path segment may be {anything} and a last
// segment {anything...} stands for all that follows. A malformed pattern panics.
type Script struct {
	mu       sync.Mutex
	rules    []*rule // the most recently added last
	requests []*Request
	watchers []func(Exchange)
	ahead    atomic.Int64 // of this vendor's clock, in nanoseconds
}

// SetClock sets this vendor's clock ahead of the host's, or behind it where ahead is negative. Its
// Date headers, its timestamps and its signatures tell that time. A test that wants a host whose
// clock is wrong sets both vendors' clocks.
func (s *Script) SetClock(ahead time.Duration) { s.ahead.Store(int64(ahead)) }

// Now returns this vendor's time.
func (s *Script) Now() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }

type rule struct {
	pattern  string
	outcomes []Outcome
	always   bool
}

// Next lets the next requests that match meet these outcomes, one each, in order; then they meet
// normal behaviour again. It wins over Always, and a later Next over an earlier one.
func (s *Script) Next(pattern string, outcomes ...Outcome) {
	s.add(&rule{pattern: pattern, outcomes: outcomes})
}

// Always lets every request that matches meet the outcome, until Clear.
func (s *Script) Always(pattern string, o Outcome) {
	s.add(&rule{pattern: pattern, outcomes: []Outcome{o}, always: true})
}

func (s *Script) add(added *rule) {
	matches(added.pattern, "", "") // a malformed pattern panics here, where it was written
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = append(slices.DeleteFunc(s.rules, func(r *rule) bool { return len(r.outcomes) == 0 }), added)
}

// Clear takes back what Next and Always added with exactly this pattern.
func (s *Script) Clear(pattern string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = slices.DeleteFunc(s.rules, func(r *rule) bool { return r.pattern == pattern })
}

// Count returns how many of the remembered requests match, those still being answered included.
func (s *Script) Count(pattern string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := 0
	for _, r := range s.requests {
		if matches(pattern, r.Method, r.Path) {
			count++
		}
	}
	return count
}

// Requests returns the remembered requests that match, oldest first.
func (s *Script) Requests(pattern string) []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []Request
	for _, r := range s.requests {
		if matches(pattern, r.Method, r.Path) {
			found = append(found, *r)
		}
	}
	return found
}

// Watch calls f with every finished exchange, from the goroutine that answered it. Watchers cannot
// be removed.
func (s *Script) Watch(f func(Exchange)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = append(s.watchers, f)
}

// take returns the outcome that a request meets, if any.
func (s *Script) take(method, path string) (Outcome, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, always := range []bool{false, true} {
		for i := len(s.rules) - 1; i >= 0; i-- {
			r := s.rules[i]
			if r.always != always || !matches(r.pattern, method, path) {
				continue
			}
			if always {
				return r.outcomes[0], true
			}
			if len(r.outcomes) > 0 {
				o := r.outcomes[0]
				r.outcomes = r.outcomes[1:]
				return o, true
			}
		}
	}
	return Outcome{}, false
}

// matches tells whether a request matches a pattern. Path is escaped as on the wire; it is compared
// segment by segment, unescaped.
func matches(pattern, method, path string) bool {
	wantMethod, wantPath, found := strings.Cut(pattern, " ")
	if !found || !strings.HasPrefix(wantPath, "/") {
		panic("sandbox: a pattern is \"METHOD /path\", not " + pattern)
	}
	if wantMethod != method && !isPlaceholder(wantMethod) {
		return false
	}
	_, ok := capture(wantPath, path)
	return ok
}

// capture matches a path with a pattern and returns the text of the placeholders by name.
func capture(pattern, path string) (map[string]string, bool) {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	var captured map[string]string
	for i, segment := range want {
		if strings.HasSuffix(segment, "...}") && i == len(want)-1 {
			return captured, len(got) >= i
		}
		if i >= len(got) {
			return nil, false
		}
		text, err := url.PathUnescape(got[i])
		switch {
		case err != nil:
			return nil, false
		case isPlaceholder(segment) && text != "":
			if captured == nil {
				captured = make(map[string]string)
			}
			captured[strings.Trim(segment, "{}")] = text
		case segment != text:
			return nil, false
		}
	}
	return captured, len(want) == len(got)
}

func isPlaceholder(segment string) bool {
	return strings.HasPrefix(segment, "{") && strings.HasSuffix(segment, "}")
}

// reply is an answer before it is written. Its zero value is no answer: the connection dies.
type reply struct {
	status   int
	header   http.Header
	body     []byte
	executed bool // of a refusal: it was not the parameters' fault, but the state's
}

// call is one request on its way through a service.
type call struct {
	*http.Request
	path     string // escaped, as in patterns
	body     []byte
	outcome  Outcome
	scripted bool
	applied  bool
	refusal  func(status int) reply // the service's usual answer for a status
}

// serve answers a request by the script. answer is the service; it must pass what it does through
// call.meet exactly once.
func (s *Script) serve(w http.ResponseWriter, r *http.Request, refusal func(int) reply, answer func(*call) reply) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, largestBody))
	if err != nil {
		panic(http.ErrAbortHandler) // the caller went away, or sends what is larger than any request of these services
	}
	c := &call{Request: r, path: r.URL.EscapedPath(), body: body, refusal: refusal}
	c.outcome, c.scripted = s.take(r.Method, c.path)
	began := time.Now()
	seen := s.record(&Request{
		At: began, Method: r.Method, Path: c.path, Query: r.URL.RawQuery,
		Header: redactedHeader(r.Header), Body: remembered(body),
	})
	given := answer(c)
	s.finish(seen, c.applied, given, time.Since(began))
	if given.status == 0 {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Date", s.Now().UTC().Format(http.TimeFormat))
	for name, values := range given.header {
		w.Header()[name] = values // an outcome of the script may carry another date
	}
	w.WriteHeader(given.status)
	_, _ = w.Write(given.body)
}

// meet lets the call meet its outcome. It returns what the service did (the zero reply if nothing)
// and what the caller sees.
func (c *call) meet(effect func() reply) (did, seen reply) {
	if !c.scripted {
		did = effect()
		c.applied = did.status < http.StatusBadRequest
		return did, did
	}
	if c.outcome.DelayEffect {
		time.Sleep(c.outcome.Delay) // not cut short: this is the request that is applied after its caller gave up
	}
	if c.outcome.Applied {
		did = effect()
		c.applied = did.status < http.StatusBadRequest
	}
	if !c.outcome.DelayEffect {
		pause(c.Context(), c.outcome.Delay)
	}
	return did, c.seen(did)
}

// seen is what the outcome makes of what the service did.
func (c *call) seen(did reply) reply {
	o := c.outcome
	if o.Status == 0 {
		return reply{}
	}
	given := c.refusal(o.Status)
	switch {
	case o.Status == http.StatusOK && o.Applied:
		given = did
	case o.Status < http.StatusBadRequest:
		given = reply{status: o.Status, body: []byte("{}")}
	}
	header := http.Header{}
	for _, from := range []http.Header{given.header, o.Header} {
		for name, values := range from {
			header[http.CanonicalHeaderKey(name)] = values
		}
	}
	given.header = header
	if o.Body != "" {
		given.body = []byte(o.Body)
		if strings.HasPrefix(strings.TrimSpace(o.Body), "<") {
			given.header.Set("Content-Type", "text/html; charset=utf-8") // what a proxy in front says
		}
	}
	return given
}

// pause waits until the time is over or the context ends.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (s *Script) record(r *Request) *Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests) >= recordedRequests+recordedRequests/10 {
		s.requests = append([]*Request(nil), s.requests[len(s.requests)-recordedRequests:]...)
	}
	s.requests = append(s.requests, r)
	return r
}

func (s *Script) finish(r *Request, applied bool, given reply, took time.Duration) {
	s.mu.Lock()
	r.Status, r.Applied = given.status, applied
	exchange := Exchange{Request: *r, ResponseBody: remembered(given.body), Took: took}
	watchers := s.watchers
	s.mu.Unlock()
	for _, watch := range watchers {
		watch(exchange)
	}
}

const redacted = "[redacted]"

var secrets = regexp.MustCompile(`((?:^|&)(?:client_secret|card)=|"(?:access_token|secret)":\s*")[^&"]*`)

func redactedHeader(h http.Header) http.Header {
	h = h.Clone()
	for _, name := range []string{"Authorization", "Cookie"} {
		if h.Get(name) != "" {
			h.Set(name, redacted)
		}
	}
	return h
}

// remembered returns what is kept of a body: nothing of a long one, and no secret. A card number
// that somebody typed is one.
func remembered(body []byte) []byte {
	if len(body) > recordedBody {
		return nil
	}
	return secrets.ReplaceAll(body, []byte("${1}"+redacted))
}
