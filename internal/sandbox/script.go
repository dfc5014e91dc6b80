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
	recordedRequests = 100_000 // requests that a Script remembers
	recordedBody     = 4 << 10 // bytes of a body that are remembered; a longer one is dropped
	maxBody          = 1 << 20 // bytes read of a request or response
)

// Reporter receives requests that the real service would reject. A *testing.T implements it.
// Without a Reporter, the only sign of such a request is the HTTP error.
type Reporter interface {
	Errorf(format string, args ...any)
}

// Outcome describes what happens to one request: whether its effect happens, and what the caller
// sees and when.
type Outcome struct {
	Applied bool // the effect happens
	// Status is what the caller sees. If 0, the connection breaks without a response. If 200 with
	// Applied, it is the normal response.
	Status int
	Header http.Header // added to the reply, e.g. Retry-After
	// Body replaces the service's own body for that status. If empty, it is the usual error shape
	// or the normal response.
	Body string
	// Delay comes after the effect and before the response. It ends early when the request's
	// context ends.
	Delay time.Duration
	// DelayEffect moves the delay before the effect. The delay then lasts even if the caller gives
	// up.
	DelayEffect bool
}

// Request is one request that the sandbox received, and its result. Secrets are redacted.
type Request struct {
	At                  time.Time
	Method, Path, Query string
	Header              http.Header
	Body                []byte // nil if longer than 4 KiB
	Status              int    // status that the caller saw; 0: none, or not yet
	Applied             bool   // the effect happened
}

// Exchange is a finished request with its response.
type Exchange struct {
	Request
	ResponseBody []byte // nil if longer than 4 KiB
	Took         time.Duration
}

// Script sets the outcomes of future requests and remembers the last 100,000 requests. It is safe
// for concurrent use. Its zero value lets every request through.
//
// A pattern is "METHOD /path". The method or a path segment may be {anything}, and a last segment
// {anything...} matches the rest of the path. A malformed pattern panics.
type Script struct {
	mu       sync.Mutex
	rules    []*rule // latest last
	requests []*Request
	watchers []func(Exchange)
	ahead    atomic.Int64 // offset of this vendor's clock, in nanoseconds
}

// SetClock sets the offset of this vendor's clock from the host's. It applies to Date headers,
// timestamps and signatures. To simulate a wrong host clock, set both vendors' clocks.
func (s *Script) SetClock(ahead time.Duration) { s.ahead.Store(int64(ahead)) }

// Now returns this vendor's time.
func (s *Script) Now() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }

type rule struct {
	pattern  string
	outcomes []Outcome
	always   bool
}

// Next gives the next matching requests these outcomes, one each, in order. Later requests behave
// normally again. It takes precedence over Always, and a later Next over an earlier one.
func (s *Script) Next(pattern string, outcomes ...Outcome) {
	s.add(&rule{pattern: pattern, outcomes: outcomes})
}

// Always gives every matching request this outcome, until Clear.
func (s *Script) Always(pattern string, o Outcome) {
	s.add(&rule{pattern: pattern, outcomes: []Outcome{o}, always: true})
}

func (s *Script) add(added *rule) {
	matches(added.pattern, "", "") // panics here if the pattern is malformed
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = append(slices.DeleteFunc(s.rules, func(r *rule) bool { return len(r.outcomes) == 0 }), added)
}

// Clear removes the outcomes that Next and Always added with exactly this pattern.
func (s *Script) Clear(pattern string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = slices.DeleteFunc(s.rules, func(r *rule) bool { return r.pattern == pattern })
}

// Count returns how many remembered requests match, including those without a response yet.
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

// Watch calls f with every finished exchange, in the goroutine that served it. Watchers cannot be
// removed.
func (s *Script) Watch(f func(Exchange)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = append(s.watchers, f)
}

// take returns the scripted outcome of a request, if any.
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

// matches reports whether a request matches a pattern. The path is escaped, and it is compared
// unescaped, segment by segment.
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

// capture matches a path with a pattern and returns the values of the placeholders by name.
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

// reply is a response before it is written. The zero value breaks the connection.
type reply struct {
	status   int
	header   http.Header
	body     []byte
	executed bool // of an error: the account's state was the cause, not the parameters
}

// call is one request that a service handles.
type call struct {
	*http.Request
	path     string // escaped, as in patterns
	body     []byte
	outcome  Outcome
	scripted bool
	applied  bool
	refusal  func(status int) reply // returns the service's usual response for a status
}

// serve handles a request as the script says. The function answer is the service, and it must call
// call.meet exactly once.
func (s *Script) serve(w http.ResponseWriter, r *http.Request, refusal func(int) reply, answer func(*call) reply) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		// the caller disconnected, or the body is larger than any request of these services
		panic(http.ErrAbortHandler)
	}
	c := &call{Request: r, path: r.URL.EscapedPath(), body: body, refusal: refusal}
	c.outcome, c.scripted = s.take(r.Method, c.path)
	began := time.Now()
	seen := s.record(&Request{
		At:     began,
		Method: r.Method,
		Path:   c.path,
		Query:  r.URL.RawQuery,
		Header: redactedHeader(r.Header),
		Body:   remembered(body),
	})
	given := answer(c)
	s.finish(seen, c.applied, given, time.Since(began))
	if given.status == 0 {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Date", s.Now().UTC().Format(http.TimeFormat))
	for name, values := range given.header {
		w.Header()[name] = values // a scripted outcome may set another date
	}
	w.WriteHeader(given.status)
	_, _ = w.Write(given.body)
}

// meet applies the scripted outcome. It returns what the service did, or the zero reply if nothing,
// and what the caller sees.
func (c *call) meet(effect func() reply) (did, seen reply) {
	if !c.scripted {
		did = effect()
		c.applied = did.status < http.StatusBadRequest
		return did, did
	}
	if c.outcome.DelayEffect {
		// not interrupted, because the effect must happen after the caller gave up
		time.Sleep(c.outcome.Delay)
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

// seen returns the response that the caller sees, given what the service did.
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
			// as a proxy in front of the service responds
			given.header.Set("Content-Type", "text/html; charset=utf-8")
		}
	}
	return given
}

// pause blocks until the time is over or the context ends.
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

// remembered returns the part of a body to keep: nothing of a long body, and no secrets or card
// numbers.
func remembered(body []byte) []byte {
	if len(body) > recordedBody {
		return nil
	}
	return secrets.ReplaceAll(body, []byte("${1}"+redacted))
}
