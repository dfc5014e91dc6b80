package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"notepay/internal/message"
)

// pollInterval is how often files are read again. They are small. A change counts when two reads in a
// row return the same, because a file that is half written may hold a certificate without its chain.
const pollInterval = 5 * time.Second

// minValidity is how long the certificate of a file must still be valid, or else it is a problem.
const minValidity = 7 * 24 * time.Hour

// Files serves a certificate from two files that another program renews.
type Files struct {
	certFile, keyFile string
	log               *slog.Logger
	report            Report

	current atomic.Pointer[tls.Certificate]
	used    []byte // both files as they are served
	seen    []byte // both files as they were last read
	odd     bool   // whether the files could not be used the last time
}

// NewFiles reads a certificate with its chain, and its key, both in PEM form.
func NewFiles(certFile, keyFile string, log *slog.Logger, r Report) (*Files, error) {
	f := &Files{certFile: certFile, keyFile: keyFile, log: log, report: r}
	both, err := f.read()
	var c *tls.Certificate
	if err == nil {
		c, err = f.use(both)
	}
	if err != nil {
		return nil, fmt.Errorf("TLS_CERT_FILE, TLS_KEY_FILE: %w", err)
	}
	f.current.Store(c)
	return f, nil
}

// Names implements Source. Any host name is redirected, because the certificate may hold a wildcard.
func (f *Files) Names() []string { return nil }

// Certificate implements Source.
func (f *Files) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return f.current.Load(), nil
}

// Challenge implements Source. Another program renews the files.
func (f *Files) Challenge(context.Context, string) (string, bool) { return "", false }

// read returns the contents of both files.
func (f *Files) read() (both [2][]byte, err error) {
	for i, file := range []string{f.certFile, f.keyFile} {
		if both[i], err = os.ReadFile(file); err != nil {
			return both, err
		}
	}
	return both, nil
}

// use returns the certificate in the contents of both files, and remembers that it is used.
func (f *Files) use(both [2][]byte) (*tls.Certificate, error) {
	c, err := tls.X509KeyPair(both[0], both[1])
	if err == nil && c.Leaf == nil {
		c.Leaf, err = x509.ParseCertificate(c.Certificate[0])
	}
	if err != nil {
		return nil, err // names no content
	}
	f.used = joined(both)
	return &c, nil
}

func joined(both [2][]byte) []byte { return bytes.Join(both[:], []byte{0}) }

// load reads both files. It returns nil if they have not changed, or are still changing.
func (f *Files) load() (*tls.Certificate, error) {
	both, err := f.read()
	if err != nil {
		return nil, err
	}
	now, before := joined(both), f.seen
	f.seen = now
	if bytes.Equal(now, f.used) || !bytes.Equal(now, before) {
		return nil, nil
	}
	return f.use(both)
}

// Run implements Source.
func (f *Files) Run(ctx context.Context) {
	f.judge(nil)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		c, err := f.load()
		if c != nil {
			f.current.Store(c)
			f.log.Info("certificate read again", "file", f.certFile, "until", c.Leaf.NotAfter)
		}
		f.judge(err)
	}
}

// judge reports what is wrong with the files. The other program may be at work on them, so the first
// failure is not reported. The last good certificate is served meanwhile.
func (f *Files) judge(err error) {
	failedBefore := f.odd
	f.odd = err != nil
	left := time.Until(f.current.Load().Leaf.NotAfter)
	switch {
	case err != nil && failedBefore:
		f.report(message.New("The files in TLS_CERT_FILE and TLS_KEY_FILE cannot be used, "+
			"so the earlier certificate is served. Write a certificate and its key there."), err.Error())
	case err != nil:
	case left <= 0:
		f.report(message.New("The certificate in TLS_CERT_FILE has expired, "+
			"so customers and Stripe cannot connect. Renew it."), "")
	case left < minValidity:
		f.report(message.New("The certificate in TLS_CERT_FILE expires in %d days. "+
			"Renew it, or check why it does not renew by itself.", int(left.Hours()/24)), "")
	default:
		f.report(message.Message{}, "")
	}
}
