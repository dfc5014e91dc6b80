package certs

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/acme"

	"notepay/internal/message"
)

// memory is a Store in memory.
type memory struct {
	mu     sync.Mutex
	values map[string]string
}

func (m *memory) Leads() bool { return true }

// instance is the Store of one of several processes.
type instance struct {
	*memory
	leads atomic.Bool
}

func (i *instance) Leads() bool { return i.leads.Load() }

func (m *memory) CertificateValue(_ context.Context, name string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.values[name], nil
}

func (m *memory) SetCertificateValue(_ context.Context, name, value string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values == nil {
		m.values = map[string]string{}
	}
	m.values[name] = value
	return nil
}

// simulated is an Issuer whose certificates sign themselves.
type simulated struct {
	life   time.Duration
	answer func() // called while the answer is there; may be nil

	mu   sync.Mutex
	err  error
	made []time.Time
}

// orders returns the times of all orders.
func (s *simulated) orders() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.made)
}

// fail makes later orders fail, or succeed again with nil.
func (s *simulated) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// ordered records an order and returns its error.
func (s *simulated) ordered() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made = append(s.made, time.Now())
	return s.err
}

func (s *simulated) Name() string { return "simulated" }

func (s *simulated) Issue(
	ctx context.Context,
	domains []string,
	key crypto.Signer,
	present func(ctx context.Context, token, answer string) error,
) ([][]byte, error) {
	if err := s.ordered(); err != nil {
		return nil, err
	}
	if err := present(ctx, "token", "answer"); err != nil {
		return nil, err
	}
	if s.answer != nil {
		s.answer()
	}
	return selfSigned(key, domains, s.life)
}

func selfSigned(key crypto.Signer, domains []string, life time.Duration) ([][]byte, error) {
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: "test"},
		DNSNames:     domains,
		NotBefore:    now,
		NotAfter:     now.Add(life),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return [][]byte{der}, err
}

const day = 24 * time.Hour

// inBubble runs a managed certificate in fake time. problem returns the reported problem.
func inBubble(
	t *testing.T,
	issuer *simulated,
	store Store,
	test func(m *Managed, problem func() string, restart func() *Managed),
) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		said := ""
		ctx, stop := context.WithCancel(t.Context())
		start := func() *Managed {
			said = ""
			m, err := NewManaged(t.Context(), []string{"pay.example.com"}, issuer, store,
				slog.New(slog.DiscardHandler), func(text message.Message, _ string) {
					mu.Lock()
					defer mu.Unlock()
					said = text.String()
				})
			if err != nil {
				t.Fatal(err)
			}
			var loop sync.WaitGroup
			loop.Go(func() { m.Run(ctx) })
			t.Cleanup(loop.Wait)
			synctest.Wait()
			return m
		}
		t.Cleanup(func() { stop() })
		restart := func() *Managed {
			stop()
			synctest.Wait()
			ctx, stop = context.WithCancel(t.Context())
			return start()
		}
		test(start(), func() string { mu.Lock(); defer mu.Unlock(); return said }, restart)
		stop()
	})
}

func TestManagedRenews(t *testing.T) {
	t.Parallel()
	store := &memory{}
	issuer := &simulated{life: 90 * day}
	inBubble(t, issuer, store, func(m *Managed, problem func() string, restart func() *Managed) {
		serves := func(name string) bool {
			c, err := m.Certificate(&tls.ClientHelloInfo{ServerName: name})
			return err == nil && c != nil
		}
		if !serves("pay.example.com") || !serves("PAY.example.com.") || !serves("") || serves("other.example.com") {
			t.Error("the certificate is not served for its name alone")
		}
		if _, there := m.Challenge(t.Context(), "token"); there {
			t.Error("the answer stays after the order")
		}
		issuer.answer = func() {
			if got, there := m.Challenge(t.Context(), "token"); !there || got != "answer" {
				t.Errorf("the challenge is answered %q, %v", got, there)
			}
		}
		time.Sleep(59 * day)
		if m = restart(); len(issuer.orders()) != 1 {
			t.Errorf("%d orders after 59 days and a restart; want 1", len(issuer.orders()))
		}
		time.Sleep(2 * day)
		if synctest.Wait(); len(issuer.orders()) != 2 {
			t.Errorf("%d orders after 61 days; want 2", len(issuer.orders()))
		}
		issuer.fail(errors.New("down"))
		time.Sleep(70 * day)
		if synctest.Wait(); problem() != "" {
			t.Errorf("after two thirds of its life: %q; want no problem yet", problem())
		}
		time.Sleep(7 * day)
		if synctest.Wait(); problem() == "" || !serves("pay.example.com") {
			t.Errorf("after five sixths: problem %q, served %v; want both", problem(), serves(""))
		}
		issuer.fail(nil)
		time.Sleep(time.Hour)
		if synctest.Wait(); problem() != "" {
			t.Errorf("after the renewal: %q", problem())
		}
	})
}

func TestManagedKeepsToTheAuthoritysLimits(t *testing.T) {
	t.Parallel()
	store := &memory{}
	issuer := &simulated{life: 90 * day, err: errors.New("down")}
	inBubble(t, issuer, store, func(_ *Managed, problem func() string, restart func() *Managed) {
		for range 20 {
			restart()
			time.Sleep(time.Minute)
		}
		time.Sleep(6 * time.Hour)
		synctest.Wait()
		for i := range issuer.orders()[maxFailures:] {
			if gap := issuer.orders()[i+maxFailures].Sub(issuer.orders()[i]); gap < failureWindow {
				t.Errorf("orders %d to %d within %s", i, i+maxFailures, gap)
			}
		}
		if len(issuer.orders()) < 20 || problem() == "" {
			t.Errorf("%d orders in six hours, problem %q; want it to go on", len(issuer.orders()), problem())
		}
	})
}

func TestManagedWaitsForARateLimit(t *testing.T) {
	t.Parallel()
	limit := &acme.Error{
		StatusCode:  http.StatusTooManyRequests,
		ProblemType: "urn:ietf:params:acme:error:rateLimited",
		Header:      http.Header{"Retry-After": {"172800"}},
	}
	issuer := &simulated{life: 90 * day, err: fmt.Errorf("order: %w", limit)}
	inBubble(t, issuer, &memory{}, func(_ *Managed, problem func() string, restart func() *Managed) {
		if !strings.Contains(problem(), "it tries again at 2000-01-03 00:00 UTC") {
			t.Errorf("the problem is %q", problem())
		}
		restart()
		if !strings.Contains(problem(), "it tries again at 2000-01-03 00:00 UTC") {
			t.Errorf("after a restart, the problem is %q", problem())
		}
		time.Sleep(47 * time.Hour)
		if synctest.Wait(); len(issuer.orders()) != 1 {
			t.Errorf("%d orders while the limit lasts; want 1", len(issuer.orders()))
		}
		issuer.fail(nil)
		time.Sleep(2 * time.Hour)
		if synctest.Wait(); len(issuer.orders()) != 2 || problem() != "" {
			t.Errorf("%d orders, problem %q; want a certificate", len(issuer.orders()), problem())
		}
	})
}

// TestManagedByTheLeader shares one store among two processes. Only the one that leads orders, and
// both serve what it gets and tell what went wrong.
func TestManagedByTheLeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		issuer := &simulated{life: 90 * day, err: errors.New("down")}
		shared := &memory{}
		stores, problems := [2]*instance{}, [2]atomic.Value{}
		var sources [2]*Managed
		for n := range stores {
			stores[n] = &instance{memory: shared}
			report := func(text message.Message, _ string) { problems[n].Store(text.String()) }
			m, err := NewManaged(ctx, []string{"pay.example.com"}, issuer, stores[n],
				slog.New(slog.DiscardHandler), report)
			if err != nil {
				t.Fatal(err)
			}
			sources[n] = m
			go m.Run(ctx)
		}
		// serial returns the number of the certificate that both serve.
		serial := func() *big.Int {
			time.Sleep(2 * followInterval)
			synctest.Wait()
			var numbers [2]*big.Int
			for n, m := range sources {
				c, err := m.Certificate(&tls.ClientHelloInfo{ServerName: "pay.example.com"})
				if err != nil {
					return nil
				}
				numbers[n] = c.Leaf.SerialNumber
			}
			if numbers[0].Cmp(numbers[1]) != 0 {
				t.Fatal("the two serve different certificates")
			}
			return numbers[0]
		}
		if serial() != nil || len(issuer.orders()) != 0 {
			t.Fatalf("%d orders while none leads; want none", len(issuer.orders()))
		}
		stores[0].leads.Store(true)
		if serial() != nil || len(issuer.orders()) != 1 {
			t.Fatalf("%d orders of the leader; want 1, which failed", len(issuer.orders()))
		}
		for n := range problems {
			if text, _ := problems[n].Load().(string); !strings.Contains(text, "issued no certificate") {
				t.Errorf("process %d says %q; want what went wrong", n, text)
			}
		}
		issuer.fail(nil)
		time.Sleep(2 * time.Minute)
		first := serial()
		if first == nil || len(issuer.orders()) != 2 {
			t.Fatalf("%d orders; want a second one, and its certificate served by both", len(issuer.orders()))
		}
		for n := range problems {
			if problems[n].Load() != "" {
				t.Errorf("process %d still says %q", n, problems[n].Load())
			}
		}
		// The other one leads when the certificate is due.
		stores[0].leads.Store(false)
		stores[1].leads.Store(true)
		time.Sleep(60 * day)
		second := serial()
		if second == nil || second.Cmp(first) == 0 || len(issuer.orders()) != 3 {
			t.Errorf("%d orders; want one renewal, served by both", len(issuer.orders()))
		}
	})
}

func TestFilesAreReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write := func(file, text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		pair := func(life time.Duration) string {
			var text []byte
			m := &Managed{domains: []string{"a.example"}, issuer: &simulated{life: life}, store: &memory{}}
			if err := m.order(t.Context()); err != nil {
				t.Fatal(err)
			}
			value, _ := m.store.CertificateValue(t.Context(), m.key("certificate"))
			text = []byte(value)
			return string(text)
		}
		said := ""
		report := func(text message.Message, _ string) { said = text.String() }
		if _, err := NewFiles(certFile, keyFile, slog.New(slog.DiscardHandler), report); err == nil {
			t.Error("missing files are accepted")
		}
		first, second := pair(90*day), pair(3*day)
		write(certFile, first)
		write(keyFile, first)
		f, err := NewFiles(certFile, keyFile, slog.New(slog.DiscardHandler), report)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go f.Run(ctx)
		end := func() time.Time {
			c, err := f.Certificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			return c.Leaf.NotAfter
		}
		chain := func() [][]byte {
			c, err := f.Certificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			return c.Certificate
		}
		before := end()
		// The key is first in these texts, so this is a whole certificate with half of its chain.
		both := func() string { return first + second[strings.Index(second, "-----BEGIN CERT"):] }
		write(certFile, both()[:len(both())-20])
		time.Sleep(pollInterval - time.Second)
		write(certFile, both())
		time.Sleep(pollInterval)
		if synctest.Wait(); len(chain()) != 1 {
			t.Errorf("while a file is written, a chain of %d is served; want the earlier one", len(chain()))
		}
		time.Sleep(pollInterval)
		if synctest.Wait(); len(chain()) != 2 {
			t.Errorf("of a file with two certificates, %d are served", len(chain()))
		}
		write(certFile, second)
		time.Sleep(4 * pollInterval)
		if synctest.Wait(); !end().Equal(before) || !strings.Contains(said, "cannot be used") {
			t.Errorf("with half of a pair: until %v, problem %q; want the earlier certificate", end(), said)
		}
		write(keyFile, second)
		time.Sleep(2*pollInterval + time.Second)
		if synctest.Wait(); end().Equal(before) || !strings.Contains(said, "expires in 2 days") {
			t.Errorf("with the new pair: until %v, problem %q; want the new certificate", end(), said)
		}
		stop()
	})
}

func TestExplain(t *testing.T) {
	t.Parallel()
	refusal := func(kind string) error {
		return &acme.AuthorizationError{Identifier: "pay.example.com",
			Errors: []error{&acme.Error{ProblemType: "urn:ietf:params:acme:error:" + kind, Detail: "x"}}}
	}
	for want, err := range map[string]error{
		"Create an A record":      refusal("dns"),
		"Open port 80":            refusal("connection"),
		"Something else than":     refusal("unauthorized"),
		"CAA record":              refusal("caa"),
		"Correct TLS_DOMAINS":     &acme.Error{ProblemType: "urn:ietf:params:acme:error:rejectedIdentifier"},
		"a restart does not help": &acme.Error{ProblemType: "urn:ietf:params:acme:error:rateLimited"},
		"Set ACME_CA_FILE":        fmt.Errorf("x: %w", &tls.CertificateVerificationError{Err: errors.New("y")}),
		"connection to the Inter": fmt.Errorf("x: %w", context.DeadlineExceeded),
		"The log has its answer":  errors.New("what"),
	} {
		text, _ := explain(err, []string{"pay.example.com"}, "https://ca.test", time.Now())
		if !strings.Contains(text.String(), want) {
			t.Errorf("%v is explained by %q; want %q", err, text, want)
		}
	}
}

func TestPlainRefusesWhatCarriesData(t *testing.T) {
	t.Parallel()
	store := &memory{values: map[string]string{"challenge abc": "abc.key"}}
	m := &Managed{domains: []string{"pay.example.com", "www.example.com"}, issuer: &simulated{}, store: store,
		log: slog.New(slog.DiscardHandler)}
	p := NewPlain(m, "https://pay.example.com:8443", func() string { return "a problem" })
	for _, c := range []struct {
		method, url string
		status      int
		says        string // in Location or in the body
	}{
		{"GET", "http://www.example.com:80/pay/dev:1?x=%2F", 308, "https://www.example.com:8443/pay/dev:1?x=%2F"},
		{"GET", "http://evil.example/operator", 308, "https://pay.example.com:8443/operator"},
		{"HEAD", "http://pay.example.com/", 308, "https://pay.example.com:8443/"},
		{"GET", "http://pay.example.com/webhooks", 308, "https://pay.example.com:8443/webhooks"},
		{"POST", "http://pay.example.com/operator/sign-in", 403, "takes no data over http"},
		{"POST", "http://pay.example.com/webhook/stripe", 403, "https://pay.example.com:8443/webhook/stripe"},
		{"GET", "http://pay.example.com/api/payments", 403, "takes no data over http"},
		{"GET", "http://evil.example/.well-known/acme-challenge/abc", 200, "abc.key"},
		{"GET", "http://evil.example/.well-known/acme-challenge/abd", 404, "no such challenge"},
		{"GET", "http://pay.example.com" + ProbePath, 200, "a problem"},
	} {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest(c.method, c.url, nil))
		if got := w.Header().Get("Location") + w.Body.String(); w.Code != c.status || !strings.Contains(got, c.says) {
			t.Errorf("%s %s: %d %q; want %d %q", c.method, c.url, w.Code, got, c.status, c.says)
		}
	}
}
