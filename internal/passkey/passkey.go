package passkey

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Key is a registered passkey.
type Key struct {
	ID        []byte // the browser's name for it
	PublicKey []byte // SubjectPublicKeyInfo in DER
	Counter   uint32 // of signatures; 0 if the device does not count
	Backup    bool   // the device may copy it to other devices
}

// Registration is what a browser returns for a new passkey.
type Registration struct {
	ClientData []byte // clientDataJSON
	Data       []byte // getAuthenticatorData()
	PublicKey  []byte // getPublicKey()
}

// Assertion is what a browser returns for a sign-in.
type Assertion struct {
	ID         []byte
	ClientData []byte
	Data       []byte // authenticatorData
	Signature  []byte
	UserHandle []byte
}

const (
	maxID        = 1023 // bytes of a key's id, by the specification
	maxPublicKey = 1024 // bytes: RSA with 4096 bits has 550

	headLength = sha256.Size + 1 + 4 // of authenticator data: the site, the flags, the counter
	modelID    = 16                  // bytes of the device's model before the key's id
)

// The flags of authenticator data.
const (
	flagPresent    = 0x01 // the person touched the device
	flagVerified   = 0x04 // the device checked the person, by PIN or biometrics
	flagMayBackup  = 0x08
	flagIsBackedUp = 0x10
	flagHasKey     = 0x40
	flagExtensions = 0x80
)

// data is decoded authenticator data.
type data struct {
	flags   byte
	counter uint32
	keyID   []byte // nil without flagHasKey
}

// decode reads authenticator data, and checks that it is for our site and that the device checked the
// person. It does not read the key in it, which is CBOR: the browser also returns the key as DER.
func (s Site) decode(raw []byte) (d data, err error) {
	if len(raw) < headLength {
		return d, errors.New("the authenticator data is too short")
	}
	site := sha256.Sum256([]byte(s.ID))
	if !bytes.Equal(raw[:sha256.Size], site[:]) {
		return d, errors.New("the passkey is for another site")
	}
	d.flags, d.counter = raw[sha256.Size], binary.BigEndian.Uint32(raw[sha256.Size+1:])
	rest := raw[headLength:]
	switch {
	case d.flags&flagPresent == 0:
		return d, errors.New("the person did not confirm")
	case d.flags&flagVerified == 0:
		return d, errors.New("the device did not check the person, by PIN or biometrics")
	case d.flags&flagIsBackedUp != 0 && d.flags&flagMayBackup == 0:
		return d, errors.New("the flags contradict each other")
	case d.flags&flagHasKey == 0 && d.flags&flagExtensions == 0 && len(rest) > 0:
		return d, errors.New("something follows the authenticator data")
	case d.flags&flagHasKey == 0:
		return d, nil
	}
	if len(rest) < modelID+2 {
		return d, errors.New("the authenticator data is cut off")
	}
	length := int(binary.BigEndian.Uint16(rest[modelID:]))
	rest = rest[modelID+2:]
	if length == 0 || length > maxID || length >= len(rest) { // the key follows
		return d, errors.New("the id of the passkey is cut off")
	}
	d.keyID = rest[:length]
	return d, nil
}

// checkClient checks what the browser says about a ceremony, and returns its challenge.
func (s Site) checkClient(raw []byte, kind, purpose string, now time.Time) (challenge string, err error) {
	var client struct {
		Type        string `json:"type"`
		Challenge   string `json:"challenge"`
		Origin      string `json:"origin"`
		CrossOrigin bool   `json:"crossOrigin"`
	}
	if err := json.Unmarshal(raw, &client); err != nil {
		return "", fmt.Errorf("decode the browser's data: %w", err)
	}
	switch {
	case client.Type != kind:
		return "", errors.New("the browser did something else")
	case client.Origin != s.Origin:
		return "", fmt.Errorf("the passkey was used on %.100q", client.Origin)
	case client.CrossOrigin:
		return "", errors.New("the passkey was used in a frame of another site")
	}
	return client.Challenge, s.checkChallenge(client.Challenge, purpose, now)
}

// parseKey returns a public key of one of the algorithms that the pages ask for.
func parseKey(der []byte) (crypto.PublicKey, error) {
	if len(der) > maxPublicKey {
		return nil, errors.New("the public key is too long")
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("decode the public key: %w", err)
	}
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return k, nil
		}
	case ed25519.PublicKey:
		return k, nil
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits >= 2048 && bits <= 4096 && k.E >= 65537 {
			return k, nil
		}
	}
	return nil, errors.New("the public key has an algorithm that the pages did not ask for")
}

// Register checks a new passkey. It returns the challenge, which the caller must accept only once.
// Nothing signs a registration without attestation, so the caller must know by other means who asks.
func (s Site) Register(r Registration, purpose string, now time.Time) (k Key, challenge string, err error) {
	challenge, err = s.checkClient(r.ClientData, "webauthn.create", purpose, now)
	if err != nil {
		return k, "", err
	}
	d, err := s.decode(r.Data)
	if err != nil {
		return k, "", err
	}
	if d.keyID == nil {
		return k, "", errors.New("the authenticator data holds no passkey")
	}
	if _, err := parseKey(r.PublicKey); err != nil {
		return k, "", err
	}
	return Key{
		ID:        bytes.Clone(d.keyID),
		PublicKey: bytes.Clone(r.PublicKey),
		Counter:   d.counter,
		Backup:    d.flags&flagMayBackup != 0,
	}, challenge, nil
}

// ErrCopied is returned for a passkey whose counter went back: there may be a copy of its device.
var ErrCopied = errors.New("the counter of the passkey went back, so it may have been copied")

// Verify checks a sign-in with a registered passkey of the person with this handle. It returns the new
// counter, and the challenge, which the caller must accept only once.
func (s Site) Verify(
	k Key, handle string, a Assertion, purpose string, now time.Time,
) (counter uint32, challenge string, err error) {
	if !bytes.Equal(a.ID, k.ID) || len(a.UserHandle) > 0 && string(a.UserHandle) != handle {
		return 0, "", errors.New("the passkey belongs to another person")
	}
	challenge, err = s.checkClient(a.ClientData, "webauthn.get", purpose, now)
	if err != nil {
		return 0, "", err
	}
	d, err := s.decode(a.Data)
	if err != nil {
		return 0, "", err
	}
	if k.Backup != (d.flags&flagMayBackup != 0) {
		return 0, "", errors.New("the passkey is not of the kind that was registered")
	}
	key, err := parseKey(k.PublicKey)
	if err != nil {
		return 0, "", err
	}
	client := sha256.Sum256(a.ClientData)
	if !signed(key, append(bytes.Clone(a.Data), client[:]...), a.Signature) {
		return 0, "", errors.New("the signature is wrong")
	}
	if (d.counter > 0 || k.Counter > 0) && d.counter <= k.Counter {
		return 0, "", ErrCopied
	}
	return d.counter, challenge, nil
}

// signed reports whether the key made the signature of a message.
func signed(key crypto.PublicKey, message, signature []byte) bool {
	digest := sha256.Sum256(message)
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, digest[:], signature)
	case ed25519.PublicKey:
		return ed25519.Verify(k, message, signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, crypto.SHA256, digest[:], signature) == nil
	}
	return false
}

// Decode returns a field of a form that a page's script fills: base 64 for URLs.
func Decode(field string) ([]byte, error) {
	raw, err := base64.RawURLEncoding.DecodeString(field)
	if err != nil {
		return nil, errors.New("a field of the passkey cannot be read")
	}
	return raw, nil
}

// Encode returns bytes in the form that Decode reads.
func Encode(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }
