package apptest

import (
	"bytes"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"notepay/internal/fixture"
)

// Service is a running notepay.
type Service struct {
	W    *World
	Url  string
	Logs *LockedBuffer
	Stop func() error // sends SIGTERM, and returns an error unless the service ends in order
}

// LockedBuffer keeps the log of a service and stirs its world. It is safe for concurrent use.
type LockedBuffer struct {
	mu  sync.Mutex
	b   bytes.Buffer
	W   *World
	Out io.Writer
}

// Write implements io.Writer.
func (l *LockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	l.b.Write(p)
	l.mu.Unlock()
	l.W.Stir()
	return l.Out.Write(p)
}

// String returns the log so far.
func (l *LockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Selling waits until a scan of the device leads to its link, and returns the link.
func (s *Service) Selling(device string) (link string) {
	s.W.Helper()
	s.W.Until(device+" sells", func() bool {
		status, header, _ := s.Get("/pay?device=" + device)
		link = header.Get("Location")
		return status == http.StatusTemporaryRedirect
	})
	return link
}

// NoRedirects is a client that does not follow redirects.
var NoRedirects = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Get makes a GET request and returns status, header and body.
func (s *Service) Get(path string, header ...string) (int, http.Header, string) {
	s.W.Helper()
	return s.Do(http.MethodGet, path, "", header...)
}

// Do makes a request and returns status, header and body. header holds names and values.
func (s *Service) Do(method, path, body string, header ...string) (int, http.Header, string) {
	s.W.Helper()
	req, err := http.NewRequest(method, s.Url+path, strings.NewReader(body))
	if err != nil {
		s.W.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := NoRedirects.Do(req)
	if err != nil {
		s.W.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.W.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

// Within makes a GET request that must be answered in time.
func (s *Service) Within(limit time.Duration, path string) (int, string) {
	s.W.Helper()
	began := time.Now()
	status, _, text := s.Get(path)
	if took := time.Since(began); took > limit {
		s.W.Errorf("%s took %v; want at most %v", path, took, limit)
	}
	return status, text
}

// Payment waits until the operator's API shows a session's payment and the payment satisfies a
// condition.
func (s *Service) Payment(session, what string, condition func(string) bool) string {
	s.W.Helper()
	var text string
	s.W.Until("payment of "+session+": "+what, func() bool {
		var status int
		status, _, text = s.Get("/api/payments/"+session, "Authorization", "Bearer operator-token-1234")
		return status == http.StatusOK && condition(text)
	})
	return text
}

// ClosedFor waits until /pay sells nothing and /health has one of the statuses. It returns the body
// of /health.
func (s *Service) ClosedFor(what string, health ...int) (report string) {
	s.W.Helper()
	began := time.Now()
	s.W.Until(what, func() bool {
		pay, _, _ := s.Get("/pay?device=" + fixture.Washer)
		var status int
		status, _, report = s.Get("/health")
		return pay == http.StatusServiceUnavailable && slices.Contains(health, status)
	})
	if took := time.Since(began); took > 15*time.Second {
		s.W.Errorf("%s: it took %v; want a few seconds", what, took)
	}
	return report
}

// Memory returns the bytes that heap and stacks of the service use, from its metrics.
func (s *Service) Memory() int64 {
	resp, err := http.Get(s.Url + "/metrics")
	if err != nil {
		s.W.Errorf("memory: %v", err)
		return 0
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	found := inUse.FindAllSubmatch(text, -1)
	if err != nil || len(found) != 2 {
		s.W.Errorf("memory: %v, %q; want heap and stacks", err, found)
		return 0
	}
	sum := 0.0
	for _, one := range found {
		n, err := strconv.ParseFloat(string(one[1]), 64)
		if err != nil {
			s.W.Errorf("memory: %v", err)
		}
		sum += n
	}
	return int64(sum)
}

var inUse = regexp.MustCompile(`(?m)^go_memstats_(?:heap|stack)_inuse_bytes (\S+)$`)
