// Package proxytest runs proxies in front of notepay in tests, and makes certificates for them. It does
// not know what a proxy should do.
package proxytest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Start starts a proxy, which ends with the test. If the test fails, its log tells what the proxy
// wrote.
func Start(t testing.TB, c *exec.Cmd) {
	t.Helper()
	var log bytes.Buffer
	c.Stderr = &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(os.Interrupt)
		_ = c.Wait()
		if t.Failed() {
			t.Logf("%s", log.String())
		}
	})
}

// StartNginx starts nginx with a server block, and returns the number of its first process. It keeps
// its files in dir. It returns an error if nginx is not installed.
func StartNginx(t testing.TB, dir, server string) (pid int, err error) {
	t.Helper()
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		return 0, fmt.Errorf("nginx is missing (apt-get install nginx): %w", err)
	}
	// What Debian's nginx.conf has around a server, without its system directories.
	text := fmt.Sprintf(`daemon off; pid %[1]s/pid; error_log stderr;
worker_processes auto; worker_rlimit_nofile 65536;
events { worker_connections 20000; }
http {
access_log off;
client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
%[2]s}
`, dir, server)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(nginx, "-p", dir, "-c", file)
	Start(t, c)
	return c.Process.Pid, nil
}

// Certificate writes a certificate for a domain that signs itself, and its key, into dir.
func Certificate(t testing.TB, dir, domain string) (certFile, keyFile string, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{domain},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(90 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	err = errors.Join(
		os.WriteFile(certFile, text, 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return certFile, keyFile, roots
}
