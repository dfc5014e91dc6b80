package notecrypt

import (
	"bytes"
	"crypto/ecdh"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
)

// openssl runs OpenSSL in a directory and returns what it writes.
func openssl(t testing.TB, dir string, args ...string) []byte {
	t.Helper()
	run := exec.Command("openssl", args...)
	run.Dir = dir
	var problem bytes.Buffer
	run.Stderr = &problem
	out, err := run.Output()
	if err != nil {
		t.Errorf("openssl %v: %v: %s", args, err, problem.Bytes())
	}
	return out
}

// requireOpenSSL skips a test without OpenSSL, or fails it if NOTEPAY_REQUIRE=1.
func requireOpenSSL(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		if os.Getenv("NOTEPAY_REQUIRE") == "1" {
			t.Fatalf("NOTEPAY_REQUIRE=1 and there is no openssl: %v", err)
		}
		t.Skipf("there is no openssl: %v", err)
	}
}

// TestOpenSSLReadsNotes decrypts notes for NOTEPAY_OPENSSL_KEYS (100) keys with OpenSSL, which shares no
// code with this package. Among the keys are those with a leading zero. Each takes three steps: agree
// on a secret, hash it, decrypt.
func TestOpenSSLReadsNotes(t *testing.T) {
	t.Parallel()
	requireOpenSSL(t)
	wanted := 100
	if text := os.Getenv("NOTEPAY_OPENSSL_KEYS"); text != "" {
		number, err := strconv.Atoi(text)
		if err != nil || number < 1 {
			t.Fatalf("NOTEPAY_OPENSSL_KEYS: %q is no number of keys", text)
		}
		wanted = number
	}
	keys := shortKeys(t)
	for len(keys) < wanted {
		keys = append(keys, newKey(t))
	}
	const batch = 250
	parts := make(chan int, len(keys)/batch+1)
	for first := 0; first < len(keys); first += batch {
		parts <- first
	}
	close(parts)
	var readers sync.WaitGroup
	for range runtime.NumCPU() {
		readers.Go(func() {
			for first := range parts {
				openSSLReads(t, first, keys[first:min(first+batch, len(keys))])
			}
		})
	}
	readers.Wait()
	t.Logf("OpenSSL has read notes for %d keys", len(keys))
}

// hash is a line of openssl dgst -r.
var hash = regexp.MustCompile(`(?m)^([0-9a-f]{64}) \*(\d+)\.shared$`)

// openSSLReads encrypts a note for each key, and compares what OpenSSL reads.
func openSSLReads(t *testing.T, first int, keys []*ecdh.PrivateKey) {
	dir := t.TempDir()
	write := func(name string, data []byte, err error) {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err != nil {
			t.Error(err)
		}
	}
	shared := []string{"dgst", "-sha256", "-r"}
	for i, key := range keys {
		b, err := Seal(key.PublicKey(), numbered(first+i))
		if err != nil {
			t.Error(err)
			return
		}
		private, err := x509.MarshalPKCS8PrivateKey(key)
		write(fmt.Sprintf("%d.private", i), private, err)
		public, err := base64.StdEncoding.DecodeString(b.Key)
		write(fmt.Sprintf("%d.public", i), public, err)
		data, err := base64.StdEncoding.DecodeString(b.Data)
		write(fmt.Sprintf("%d.data", i), data, err)
		name := fmt.Sprintf("%d.shared", i)
		openssl(t, dir, "pkeyutl", "-derive", "-keyform", "DER", "-inkey", fmt.Sprintf("%d.private", i),
			"-peerform", "DER", "-peerkey", fmt.Sprintf("%d.public", i), "-out", name)
		shared = append(shared, name)
	}
	secrets := hash.FindAllSubmatch(openssl(t, dir, shared...), -1)
	if len(secrets) != len(keys) {
		t.Errorf("OpenSSL has hashed %d of %d secrets", len(secrets), len(keys))
		return
	}
	for _, secret := range secrets {
		i, _ := strconv.Atoi(string(secret[2]))
		text := openssl(t, dir, "enc", "-d", "-aes-256-cbc", "-K", string(secret[1]),
			"-iv", hex.EncodeToString(make([]byte, 16)), "-in", fmt.Sprintf("%d.data", i))
		if want, _ := json.Marshal(numbered(first + i)); !bytes.Equal(text, want) {
			t.Errorf("key %d: OpenSSL reads %q; want %q", first+i, text, want)
		}
	}
}

// TestParseKeyOfOpenSSL reads the public keys that OpenSSL makes.
func TestParseKeyOfOpenSSL(t *testing.T) {
	t.Parallel()
	requireOpenSSL(t)
	dir := t.TempDir()
	args := []string{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", "private"}
	openssl(t, dir, args...)
	public := openssl(t, dir, "pkey", "-in", "private", "-pubout")
	key, err := ParseKey(string(public))
	if err != nil {
		t.Fatalf("%v in\n%s", err, public)
	}
	der := openssl(t, dir, "pkey", "-in", "private", "-pubout", "-outform", "DER")
	if got, err := x509.MarshalPKIXPublicKey(key); err != nil || !slices.Equal(got, der) {
		t.Errorf("the key is another one, %v", err)
	}
}
