package notecrypt

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
)

type note struct {
	Status string `json:"payment_status"`
	ID     string `json:"credit_id"`
	Filler string `json:"filler"`
}

// numbered returns a note of another length for each number.
func numbered(i int) note {
	return note{"completed", fmt.Sprintf("cr_%d", i), strings.Repeat("x", i%33)}
}

// newKey returns the key of a Notecard.
func newKey(t testing.TB) *ecdh.PrivateKey {
	t.Helper()
	key, err := ecdh.P384().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// der returns a public key as DER.
func der(t testing.TB, key any) []byte {
	t.Helper()
	text, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// shortKeys returns two keys, of which the x or the y begins with a zero byte. A program that joins
// the two numbers without leading zeros gets such keys wrong.
func shortKeys(t testing.TB) (keys []*ecdh.PrivateKey) {
	t.Helper()
	found := map[int]bool{}
	for number := int64(1); len(found) < 2; number++ {
		key, err := ecdh.P384().NewPrivateKey(big.NewInt(number).FillBytes(make([]byte, 48)))
		if err != nil {
			t.Fatal(err)
		}
		point := key.PublicKey().Bytes() // 4, x, y
		for _, at := range []int{1, 49} {
			if point[at] == 0 && !found[at] {
				found[at], keys = true, append(keys, key)
			}
		}
	}
	return keys
}

// open decrypts a body as a Notecard would.
func open(key *ecdh.PrivateKey, b Body) ([]byte, error) {
	public, err := base64.StdEncoding.DecodeString(b.Key)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	theirs, err := parsed.(*ecdsa.PublicKey).ECDH()
	if err != nil {
		return nil, err
	}
	shared, err := key.ECDH(theirs)
	if err != nil {
		return nil, err
	}
	data, err := base64.StdEncoding.DecodeString(b.Data)
	if err != nil || len(data) == 0 || len(data)%aes.BlockSize != 0 {
		return nil, fmt.Errorf("%d bytes of data, %w", len(data), err)
	}
	secret := sha256.Sum256(shared)
	block, err := aes.NewCipher(secret[:])
	if err != nil {
		return nil, err
	}
	cipher.NewCBCDecrypter(block, make([]byte, aes.BlockSize)).CryptBlocks(data, data)
	pad := int(data[len(data)-1])
	if pad == 0 || pad > aes.BlockSize || !bytes.HasSuffix(data, bytes.Repeat([]byte{byte(pad)}, pad)) {
		return nil, fmt.Errorf("the padding ends in %d", pad)
	}
	return data[:len(data)-pad], nil
}

func TestSeal(t *testing.T) {
	t.Parallel()
	keys := shortKeys(t)
	for range 64 {
		keys = append(keys, newKey(t))
	}
	digests := map[string]bool{}
	for i, key := range keys {
		b, err := Seal(key.PublicKey(), numbered(i))
		if err != nil {
			t.Fatal(err)
		}
		text, err := open(key, b)
		want, _ := json.Marshal(numbered(i))
		if err != nil || !bytes.Equal(text, want) {
			t.Fatalf("key %d: decrypted %q, %v; want %q", i, text, err, want)
		}
		if len(b.Key) != 160 || b.Alg != Algorithm {
			t.Errorf("key of %d characters, alg %q; want 160 and %s", len(b.Key), b.Alg, Algorithm)
		}
		digests[b.Digest()] = true
		again, err := Seal(key.PublicKey(), numbered(i))
		if err != nil || again.Key == b.Key || again.Data == b.Data {
			t.Errorf("the same note is encrypted in the same way twice (%v)", err)
		}
		other := keys[(i+1)%len(keys)]
		if text, err := open(other, b); err == nil && bytes.Equal(text, want) {
			t.Errorf("another Notecard reads the note")
		}
	}
	if len(digests) != len(keys) {
		t.Errorf("%d digests of %d notes", len(digests), len(keys))
	}
	if _, err := Seal(keys[0].PublicKey(), func() {}); err == nil {
		t.Error("what is no JSON was encrypted")
	}
}

func TestParseKey(t *testing.T) {
	t.Parallel()
	key := newKey(t).PublicKey()
	text := der(t, key)
	block := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: text}))
	for name, given := range map[string]string{
		"PEM":                      block,
		"PEM with other line ends": strings.ReplaceAll(block, "\n", "\r\n"),
		"PEM without the last one": strings.TrimSpace(block),
		"DER in base64":            base64.StdEncoding.EncodeToString(text),
		"DER with a line end":      base64.StdEncoding.EncodeToString(text) + "\n",
	} {
		if got, err := ParseKey(given); err != nil || !got.Equal(key) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	broken := bytes.Clone(text)
	broken[len(broken)-1] ^= 1 // the point is not on the curve
	encode := base64.StdEncoding.EncodeToString
	for name, given := range map[string]string{
		"nothing":               "",
		"words":                 "unknown",
		"another curve":         encode(der(t, p256.Public())),
		"another algorithm":     encode(der(t, x25519.PublicKey())),
		"a point off the curve": encode(broken),
		"half a key":            encode(text[:60]),
		"more than a key":       encode(append(bytes.Clone(text), 0)),
		"a private key":         strings.ReplaceAll(block, "PUBLIC", "PRIVATE"),
		"two keys":              block + block,
		"a long text":           strings.Repeat("A", maxKey+1),
	} {
		if _, err := ParseKey(given); err == nil {
			t.Errorf("%s is taken for a key", name)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	b, err := Seal(newKey(t).PublicKey(), numbered(1))
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(b)
	if got, ok := Parse(text); !ok || got != b || got.Digest() != b.Digest() {
		t.Errorf("parsed %v, %v; want the body", got, ok)
	}
	for _, other := range []string{"", "null", "[]", `"alg"`, `{"credit_id":"cr_a"}`, `{"alg":"` + Algorithm + `"}`,
		`{"alg":"none","data":"AA==","key":"AA=="}`, `{"alg":"` + Algorithm + `","data":1,"key":"AA=="}`} {
		if _, ok := Parse([]byte(other)); ok {
			t.Errorf("%s is taken for an encrypted body", other)
		}
	}
}

// FuzzParseKey expects that a key that is accepted can be used.
func FuzzParseKey(f *testing.F) {
	text := der(f, newKey(f).PublicKey())
	f.Add(string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: text})))
	f.Add(base64.StdEncoding.EncodeToString(text))
	f.Add("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----")
	f.Fuzz(func(t *testing.T, given string) {
		key, err := ParseKey(given)
		if err != nil {
			if key != nil {
				t.Error("a key beside an error")
			}
			return
		}
		if _, err := Seal(key, numbered(1)); err != nil {
			t.Errorf("an accepted key cannot be used: %v", err)
		}
	})
}

// FuzzParse expects that a parsed body is the same body again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"alg":"secp384r1-aes256cbc","data":"AA==","key":"AA=="}`))
	f.Add([]byte(`{"credit_id":"cr_a"}`))
	f.Fuzz(func(t *testing.T, given []byte) {
		b, ok := Parse(given)
		if !ok {
			return
		}
		text, err := json.Marshal(b)
		if again, ok := Parse(text); err != nil || !ok || again != b {
			t.Errorf("%v is parsed as %v, %v", b, again, ok)
		}
	})
}
