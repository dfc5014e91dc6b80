// Package certs keeps the certificate of the built-in HTTPS: it orders and renews it at a
// certificate authority by ACME (RFC 8555), or reads it from files and follows their changes.
//
// It promises that a valid certificate is served until a better one is there, that a failure is one
// sentence that says what to do, and that failures do not use up the authority's limits. It does not
// listen. The host's clock decides when a certificate is due, because clients also decide by theirs.
package certs

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"notepay/internal/message"
)

// Store keeps values across restarts, and for all instances on one ledger. An empty value is
// missing.
type Store interface {
	CertificateValue(ctx context.Context, name string) (string, error)
	SetCertificateValue(ctx context.Context, name, value string) error
	// Leads reports whether this instance is the one that orders.
	Leads() bool
}

// Issuer orders certificates.
type Issuer interface {
	// Issue returns a certificate chain in DER form, the leaf first, for the key. present makes the
	// answer to a challenge available under its token.
	Issue(
		ctx context.Context,
		domains []string,
		key crypto.Signer,
		present func(ctx context.Context, token, answer string) error,
	) ([][]byte, error)
	// Name identifies the authority. Certificates of different authorities are kept apart.
	Name() string
}

// Source is a source of a certificate.
type Source interface {
	// Certificate returns the certificate for a connection.
	Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error)
	// Challenge returns the answer to a challenge of the authority.
	Challenge(ctx context.Context, token string) (answer string, ok bool)
	// Run keeps the certificate valid until ctx ends.
	Run(ctx context.Context)
	// Names returns the host names that may be redirected to.
	Names() []string
}

// Report receives a problem that needs the operator, in one or two sentences, or none when it is
// over. cause is in the authority's words.
type Report func(problem message.Message, cause string)

const (
	// checkInterval is the maximum time between two looks at the store, where another instance may
	// have put a renewed certificate.
	checkInterval = time.Hour
	// followInterval is the time between two looks while another instance should order.
	followInterval = time.Second
	// issueTimeout limits one order.
	issueTimeout = 3 * time.Minute
	// maxFailures is how many orders may fail in failureWindow. Let's Encrypt allows five failed
	// validations an hour. Restarts count too.
	maxFailures   = 4
	failureWindow = time.Hour
)

// Managed orders and renews a certificate for a list of domains.
type Managed struct {
	domains []string
	issuer  Issuer
	store   Store
	log     *slog.Logger
	report  Report

	current atomic.Pointer[tls.Certificate]
}

// NewManaged returns a source for domains, which must be in lower case. It loads the stored
// certificate, if there is one.
func NewManaged(
	ctx context.Context,
	domains []string,
	i Issuer,
	s Store,
	log *slog.Logger,
	r Report,
) (*Managed, error) {
	m := &Managed{domains: domains, issuer: i, store: s, log: log, report: r}
	return m, m.load(ctx)
}

// Names implements Source.
func (m *Managed) Names() []string { return m.domains }

// errNoCertificate is the error of connections until the first certificate is there.
var errNoCertificate = errors.New("there is no certificate yet")

// Certificate implements Source. A client that names another host gets none.
func (m *Managed) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if name != "" && !slices.Contains(m.domains, name) {
		return nil, fmt.Errorf("no certificate for %q", name)
	}
	if c := m.current.Load(); c != nil {
		return c, nil
	}
	return nil, errNoCertificate
}

// key returns the name of a value in the store.
func (m *Managed) key(kind string) string {
	return kind + " " + strings.Join(m.domains, ",") + " " + m.issuer.Name()
}

const challengePrefix = "challenge "

// Challenge implements Source. Any instance answers the challenge of any other.
func (m *Managed) Challenge(ctx context.Context, token string) (string, bool) {
	answer, err := m.store.CertificateValue(ctx, challengePrefix+token)
	if err != nil {
		m.log.Error("challenge not read", "err", err)
	}
	return answer, err == nil && answer != ""
}

// load reads the stored certificate and serves it if it is valid for longer than the current one.
func (m *Managed) load(ctx context.Context) error {
	text, err := m.store.CertificateValue(ctx, m.key("certificate"))
	if err != nil || text == "" {
		return err
	}
	c, err := parse([]byte(text))
	if err != nil { // it is ordered again
		m.log.Warn("stored certificate unusable", "err", err)
		return nil
	}
	if old := m.current.Load(); old == nil || c.Leaf.NotAfter.After(old.Leaf.NotAfter) {
		m.current.Store(c)
	}
	return nil
}

// parse reads a private key and a chain in PEM form.
func parse(text []byte) (*tls.Certificate, error) {
	c, err := tls.X509KeyPair(text, text)
	if err == nil && c.Leaf == nil {
		c.Leaf, err = x509.ParseCertificate(c.Certificate[0])
	}
	return &c, err
}

// renewAt returns when a certificate is renewed: after two thirds of its life.
func renewAt(leaf *x509.Certificate) time.Time {
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) * 2 / 3)
}

// alarming reports whether a failed renewal needs the operator, because five sixths of the
// certificate's life have passed. Until then a failure may be one of the authority's alone.
func alarming(leaf *x509.Certificate, now time.Time) bool {
	return !now.Before(leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) * 5 / 6))
}

// Run implements Source.
func (m *Managed) Run(ctx context.Context) {
	for first := true; ; first = false {
		wait := m.step(ctx, first)
		timer := time.NewTimer(min(wait, checkInterval))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// step orders a certificate if one is due. It returns the time until the next step.
func (m *Managed) step(ctx context.Context, first bool) time.Duration {
	now := time.Now()
	if err := m.load(ctx); err != nil {
		m.log.Error("certificate not read", "err", err)
		return time.Minute
	}
	if c := m.current.Load(); c != nil && now.Before(renewAt(c.Leaf)) {
		m.report(message.Message{}, "")
		return renewAt(c.Leaf).Sub(now)
	}
	if !m.store.Leads() {
		m.reportStored(ctx, now)
		return followInterval
	}
	failures, err := m.failures(ctx, now)
	if err != nil {
		m.log.Error("certificate not ordered", "err", err)
		return time.Minute
	}
	if wait := pause(failures, now, first); wait > 0 {
		m.reportStored(ctx, now)
		return wait
	}
	began := now
	err = m.order(ctx)
	if now = time.Now(); err == nil {
		m.report(message.Message{}, "")
		leaf := m.current.Load().Leaf
		m.log.Info("certificate issued", "domains", m.domains, "until", leaf.NotAfter, "took", now.Sub(began))
		return max(renewAt(leaf).Sub(now), time.Second)
	}
	if ctx.Err() != nil {
		return 0
	}
	failures = append(failures, now)
	wait := pause(failures, now, false)
	problem, retryAfter := explain(err, m.domains, m.issuer.Name(), now)
	if retryAfter > wait {
		wait = retryAfter
		// The next process must wait as long.
		failures = slices.Repeat([]time.Time{now.Add(wait - failureWindow)}, maxFailures)
	}
	if err := m.remember(ctx, failures, problem.String()); err != nil {
		m.log.Error("failed order not recorded", "err", err)
	}
	next := now.Add(wait).Round(time.Second)
	m.log.Error("certificate not issued", "detail", problem.String(), "err", err, "next_attempt", next)
	if m.lacking(now) {
		m.report(problem, err.Error())
	}
	return wait
}

// lacking reports whether a failed order needs the operator.
func (m *Managed) lacking(now time.Time) bool {
	c := m.current.Load()
	return c == nil || alarming(c.Leaf, now)
}

// reportStored reports what the last order failed of, which may be one of another instance, or of an
// earlier process.
func (m *Managed) reportStored(ctx context.Context, now time.Time) {
	if !m.lacking(now) {
		return
	}
	problem, err := m.store.CertificateValue(ctx, m.key("problem"))
	if err != nil {
		m.log.Error("failed order not read", "err", err)
		return
	}
	if problem != "" {
		m.report(message.New(problem), "")
	}
}

// pause returns how long to wait after failures, which are in order. At the start of a process the
// operator may have removed the cause, so only the limit of an hour counts.
func pause(failures []time.Time, now time.Time, first bool) time.Duration {
	n := len(failures)
	switch {
	case n == 0:
		return 0
	case n >= maxFailures:
		return max(0, failures[n-maxFailures].Add(failureWindow).Sub(now))
	case first:
		return 0
	}
	delays := [maxFailures]time.Duration{0, 2 * time.Minute, 8 * time.Minute, 20 * time.Minute}
	return max(0, failures[n-1].Add(delays[n]).Sub(now))
}

// failures returns the times of the failed orders within failureWindow.
func (m *Managed) failures(ctx context.Context, now time.Time) (list []time.Time, err error) {
	text, err := m.store.CertificateValue(ctx, m.key("failures"))
	for field := range strings.FieldsSeq(text) {
		seconds, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			continue
		}
		at := time.Unix(seconds, 0)
		if age := now.Sub(at); age < failureWindow && age > -7*24*time.Hour {
			list = append(list, at)
		}
	}
	return list, err
}

// remember stores the times of the failed orders, and what the last one failed of.
func (m *Managed) remember(ctx context.Context, failures []time.Time, problem string) error {
	var text strings.Builder
	for _, at := range failures[max(0, len(failures)-maxFailures):] {
		fmt.Fprintln(&text, at.Unix())
	}
	return errors.Join(
		m.store.SetCertificateValue(ctx, m.key("failures"), text.String()),
		m.store.SetCertificateValue(ctx, m.key("problem"), problem),
	)
}

// order orders a certificate with a new key, stores and serves it.
func (m *Managed) order(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, issueTimeout)
	defer cancel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	var tokens []string
	defer func() {
		for _, token := range tokens {
			ctx := context.WithoutCancel(ctx)
			if err := m.store.SetCertificateValue(ctx, challengePrefix+token, ""); err != nil {
				m.log.Warn("challenge not removed", "err", err)
			}
		}
	}()
	chain, err := m.issuer.Issue(ctx, m.domains, key, func(ctx context.Context, token, answer string) error {
		tokens = append(tokens, token)
		return m.store.SetCertificateValue(ctx, challengePrefix+token, answer)
	})
	if err != nil {
		return err
	}
	text, err := encode(key, chain)
	if err != nil {
		return err
	}
	c, err := parse(text)
	if err != nil {
		return fmt.Errorf("issued certificate: %w", err)
	}
	for _, d := range m.domains {
		if err := c.Leaf.VerifyHostname(d); err != nil {
			return fmt.Errorf("issued certificate: %w", err)
		}
	}
	// It is served even if it cannot be stored, because the authority limits how many it issues.
	m.current.Store(c)
	if err := m.store.SetCertificateValue(ctx, m.key("certificate"), string(text)); err != nil {
		m.log.Error("certificate not stored", "err", err)
	}
	return m.remember(ctx, nil, "")
}

// encode returns a key and a chain in PEM form.
func encode(key crypto.Signer, chain [][]byte) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	err = pem.Encode(&text, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for _, c := range chain {
		err = errors.Join(err, pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: c}))
	}
	return text.Bytes(), err
}
