// Package passkeytest plays a device with a passkey, and the browser around it.
package passkeytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"testing"
)

// Device is a device with one passkey.
type Device struct {
	T       *testing.T
	ID      []byte
	User    []byte // the handle that it was made for
	Site    string
	Origin  string // where the browser is
	Flags   byte   // of authenticator data; 0x05: present and verified
	Counter uint32
	Key     crypto.Signer
	Cross   bool // the browser shows the page in a frame of another site
}

// Kinds returns the algorithms of New.
func Kinds() []string { return []string{"ES256", "EdDSA", "RS256"} }

// New returns a device for a site.
func New(t *testing.T, kind, site, origin string) *Device {
	t.Helper()
	d := &Device{T: t, ID: make([]byte, 20), Site: site, Origin: origin, Flags: 0x05}
	_, _ = rand.Read(d.ID)
	var err error
	switch kind {
	case "EdDSA":
		_, d.Key, err = ed25519.GenerateKey(rand.Reader)
	case "RS256":
		d.Key, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		d.Key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// client returns clientDataJSON.
func (d *Device) client(kind, challenge string) []byte {
	text, err := json.Marshal(map[string]any{
		"type": kind, "challenge": challenge, "origin": d.Origin, "crossOrigin": d.Cross,
	})
	if err != nil {
		d.T.Fatal(err)
	}
	return text
}

// data returns authenticator data.
func (d *Device) data(flags byte) []byte {
	site := sha256.Sum256([]byte(d.Site))
	return binary.BigEndian.AppendUint32(append(site[:], flags), d.Counter)
}

// Create makes the passkey for a challenge. It returns what the page's script sends.
func (d *Device) Create(challenge string) (client, data, key []byte) {
	der, _ := x509.MarshalPKIXPublicKey(d.Key.Public()) // an empty key fails the test
	data = append(d.data(d.Flags|0x40), make([]byte, 16)...)
	data = binary.BigEndian.AppendUint16(data, uint16(len(d.ID)))
	data = append(append(data, d.ID...), 0xa0) // an empty map stands for the key, which is sent as DER
	return d.client("webauthn.create", challenge), data, der
}

// Get answers the challenge of a sign-in. It returns what the page's script sends.
func (d *Device) Get(challenge string) (client, data, signature []byte) {
	d.Counter++
	client, data = d.client("webauthn.get", challenge), d.data(d.Flags)
	digest := sha256.Sum256(client)
	message := append(append([]byte{}, data...), digest[:]...)
	hash := crypto.SHA256
	if _, ok := d.Key.(ed25519.PrivateKey); ok {
		hash = 0
	} else {
		digest = sha256.Sum256(message)
		message = digest[:]
	}
	signature, err := d.Key.Sign(rand.Reader, message, hash)
	if err != nil {
		d.T.Fatal(err)
	}
	return client, data, signature
}
