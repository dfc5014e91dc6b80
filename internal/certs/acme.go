package certs

import (
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
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/acme"

	"notepay/internal/message"
)

// LetsEncrypt is the directory of Let's Encrypt.
const LetsEncrypt = acme.LetsEncryptURL

// ACME orders certificates at a certificate authority with the challenge http-01.
type ACME struct {
	directory string
	client    *http.Client
	store     Store
}

// NewACME returns an issuer for the authority at directory. rootFile names a file with the
// certificates that the authority's own HTTPS is verified with; "" for those of the system.
func NewACME(directory, rootFile string, s Store) (*ACME, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 10 * time.Second}
	if rootFile != "" {
		text, err := os.ReadFile(rootFile)
		if err != nil {
			return nil, fmt.Errorf("ACME_CA_FILE: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("ACME_CA_FILE: %s holds no certificate in PEM form", rootFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	return &ACME{
		directory: directory,
		client:    &http.Client{Transport: transport, Timeout: 30 * time.Second},
		store:     s,
	}, nil
}

// Name implements Issuer.
func (a *ACME) Name() string { return a.directory }

// accountKey returns the key of the account, and creates it once.
func (a *ACME) accountKey(ctx context.Context) (crypto.Signer, error) {
	name := "account " + a.directory
	text, err := a.store.CertificateValue(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("read account: %w", err)
	}
	if block, _ := pem.Decode([]byte(text)); block != nil {
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if signer, ok := key.(crypto.Signer); ok {
				return signer, nil
			}
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	encoded, err := encode(key, nil)
	if err == nil {
		err = a.store.SetCertificateValue(ctx, name, string(encoded))
	}
	if err != nil {
		return nil, fmt.Errorf("store account: %w", err)
	}
	return key, nil
}

// Issue implements Issuer.
func (a *ACME) Issue(
	ctx context.Context,
	domains []string,
	key crypto.Signer,
	present func(ctx context.Context, token, answer string) error,
) ([][]byte, error) {
	account, err := a.accountKey(ctx)
	if err != nil {
		return nil, err
	}
	c := &acme.Client{
		Key:          account,
		HTTPClient:   a.client,
		DirectoryURL: a.directory,
		UserAgent:    "notepay",
		RetryBackoff: backoff,
	}
	_, err = c.Register(ctx, &acme.Account{}, acme.AcceptTOS)
	if err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return nil, fmt.Errorf("register: %w", err)
	}
	order, err := c.AuthorizeOrder(ctx, acme.DomainIDs(domains...))
	if err != nil {
		return nil, fmt.Errorf("order: %w", err)
	}
	for _, url := range order.AuthzURLs {
		if err := authorize(ctx, c, url, present); err != nil {
			return nil, err
		}
	}
	address := order.URI
	if order, err = c.WaitOrder(ctx, address); err != nil {
		return nil, fmt.Errorf("order: %w", err)
	}
	order.URI = address // an authority may leave it out of later replies
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: domains}, key)
	if err != nil {
		return nil, err
	}
	chain, _, err := c.CreateCertFromOrder(ctx, order, request, true)
	if err != nil {
		return nil, fmt.Errorf("finalize: %w", err)
	}
	return chain, nil
}

// authorize proves to the authority that a domain leads here.
func authorize(
	ctx context.Context,
	c *acme.Client,
	url string,
	present func(ctx context.Context, token, answer string) error,
) error {
	authorization, err := c.GetAuthorization(ctx, url)
	if err != nil {
		return fmt.Errorf("authorization: %w", err)
	}
	if authorization.Status == acme.StatusValid {
		return nil
	}
	for _, challenge := range authorization.Challenges {
		if challenge.Type != "http-01" {
			continue
		}
		answer, err := c.HTTP01ChallengeResponse(challenge.Token)
		if err == nil {
			err = present(ctx, challenge.Token, answer)
		}
		if err != nil {
			return fmt.Errorf("challenge: %w", err)
		}
		if _, err := c.Accept(ctx, challenge); err != nil {
			return fmt.Errorf("challenge: %w", err)
		}
		_, err = c.WaitAuthorization(ctx, url)
		return err
	}
	return errors.New("the authority offers no challenge http-01")
}

// backoff retries a failed call three times. A rate limit is not retried here, because it lasts.
func backoff(n int, _ *http.Request, reply *http.Response) time.Duration {
	if n > 3 || reply != nil && reply.StatusCode == http.StatusTooManyRequests {
		return -1
	}
	return time.Duration(n) * time.Second
}

// maxRetryAfter limits how long an authority may make notepay wait.
const maxRetryAfter = 7 * 24 * time.Hour

// explain returns a sentence about a failed order that says what to do, and how long the authority
// asks to wait.
func explain(err error, domains []string, authority string, now time.Time) (
	text message.Message, retryAfter time.Duration,
) {
	domain := strings.Join(domains, ", ")
	kind, detail := "", ""
	if refused, ok := errors.AsType[*acme.AuthorizationError](err); ok {
		domain = refused.Identifier
		for _, e := range refused.Errors {
			if one, ok := errors.AsType[*acme.Error](e); ok {
				kind, detail = one.ProblemType, one.Detail
			}
		}
	}
	refused, ok := errors.AsType[*acme.Error](err)
	if ok && kind == "" {
		kind, detail = refused.ProblemType, refused.Detail
	}
	if strings.Contains(detail, "could not resolve") || strings.Contains(detail, "NXDOMAIN") {
		kind = "dns" // some authorities call it a failed connection
	}
	switch kind[strings.LastIndex(kind, ":")+1:] {
	case "rateLimited":
		wait := time.Hour
		if ok {
			if asked, limited := acme.RateLimit(refused); limited && asked > wait {
				wait = min(asked, maxRetryAfter)
			}
		}
		return message.New("The certificate authority limits how often %s may get a certificate. "+
			"Leave notepay running, it tries again at %s; a restart does not help.",
			domain, now.Add(wait).UTC().Format("2006-01-02 15:04 MST")), wait
	case "dns":
		return message.New("The DNS has no address for %s. "+
			"Create an A record for it that leads to this server, and an AAAA record only if the server has IPv6.",
			domain), 0
	case "connection", "tls":
		return message.New("The certificate authority cannot connect to %s on port 80. "+
			"Open port 80 in the firewall and the router, and check that the DNS leads to this server.", domain), 0
	case "unauthorized", "incorrectResponse":
		return message.New("Something else than this notepay answers at http://%s. "+
			"Correct the A and AAAA records in the DNS, or stop the other web server.", domain), 0
	case "caa":
		return message.New("A CAA record in the DNS forbids certificates for %s. "+
			"Remove it, or add the certificate authority to it.", domain), 0
	case "rejectedIdentifier", "malformed":
		return message.New("The certificate authority refuses %s (%s). Correct TLS_DOMAINS.", domain, detail), 0
	case "externalAccountRequired":
		return message.New("The certificate authority at %s requires an account that was made before. "+
			"Set ACME_DIRECTORY to another one.", authority), 0
	case "":
		if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted {
			return message.New("The certificate of the authority at %s is not trusted. "+
				"Set ACME_CA_FILE to a file with its root.", authority), 0
		}
		if _, network := errors.AsType[net.Error](err); network {
			return message.New("The certificate authority at %s does not answer. "+
				"Check this server's connection to the Internet.", authority), 0
		}
	}
	return message.New("The certificate authority issued no certificate for %s. The log has its answer.", domain), 0
}
