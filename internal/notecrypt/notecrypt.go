// Package notecrypt encrypts the body of a note for a Notecard. It is for the experimental setting
// ENCRYPT_NOTES.
//
// The format is that of a program by Blues and of no documentation, and no Notecard was asked
// (docs/vendors.md, U18 to U20). The package promises secrecy only: it has no key of the sender, so
// the signature in the body proves the origin.
package notecrypt

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// Algorithm is the name of the format in a note.
const Algorithm = "secp384r1-aes256cbc"

// maxKey is the maximum length of a public key's text in bytes. A P-384 key has about 220.
const maxKey = 2048

// Body is the body of an encrypted note.
type Body struct {
	Alg  string `json:"alg"`
	Data string `json:"data"` // the encrypted JSON of the note's body, in base64
	Key  string `json:"key"`  // the sender's public key of this note, DER in base64
}

// ParseKey parses the public key of a Notecard: a P-384 key as PEM or as DER in base64, since the
// form is not documented (docs/vendors.md, U17).
func ParseKey(text string) (*ecdh.PublicKey, error) {
	if len(text) > maxKey {
		return nil, fmt.Errorf("the public key has %d bytes", len(text))
	}
	der, err := keyBytes(text)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("the public key cannot be parsed: %w", err)
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok {
		return nil, errors.New("the public key is not of an elliptic curve")
	}
	point, err := key.ECDH() // the error names a point that is not on the curve
	switch {
	case err != nil:
		return nil, fmt.Errorf("the public key is invalid: %w", err)
	case point.Curve() != ecdh.P384():
		return nil, errors.New("the public key is not of the curve P-384")
	}
	return point, nil
}

// keyBytes returns the DER of a key's text.
func keyBytes(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	if block, rest := pem.Decode([]byte(text)); block != nil {
		if block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) > 0 {
			return nil, errors.New("the PEM is not one public key")
		}
		return block.Bytes, nil
	}
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("the public key is neither PEM nor base64")
	}
	return der, nil
}

// Seal encrypts the JSON of v for the Notecard that has the key. Each call returns another body.
//
// The key of the cipher is the SHA-256 of what the Notecard and a key made for this note agree on.
// It is used once, so the initialization vector can be zero.
func Seal(key *ecdh.PublicKey, v any) (Body, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return Body{}, fmt.Errorf("encode the note: %w", err)
	}
	own, err := ecdh.P384().GenerateKey(rand.Reader)
	if err != nil {
		return Body{}, fmt.Errorf("make a key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(own.PublicKey())
	if err != nil {
		return Body{}, fmt.Errorf("encode the key: %w", err)
	}
	data, err := encrypt(own, key, text)
	if err != nil {
		return Body{}, err
	}
	return Body{
		Alg:  Algorithm,
		Data: base64.StdEncoding.EncodeToString(data),
		Key:  base64.StdEncoding.EncodeToString(public),
	}, nil
}

// encrypt returns the text in AES-256-CBC with the padding of PKCS#7.
func encrypt(own *ecdh.PrivateKey, key *ecdh.PublicKey, text []byte) ([]byte, error) {
	shared, err := own.ECDH(key) // 48 bytes, with leading zeros
	if err != nil {
		return nil, fmt.Errorf("agree on a key: %w", err)
	}
	secret := sha256.Sum256(shared)
	block, err := aes.NewCipher(secret[:])
	if err != nil {
		return nil, err
	}
	pad := aes.BlockSize - len(text)%aes.BlockSize
	data := append(bytes.Clone(text), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, make([]byte, aes.BlockSize)).CryptBlocks(data, data)
	return data, nil
}

// Digest returns the SHA-256 of an encrypted note's data, in hex. It recognizes a note whose body
// only the Notecard can read.
func (b Body) Digest() string {
	sum := sha256.Sum256([]byte(b.Data))
	return hex.EncodeToString(sum[:])
}

// Parse returns the encrypted body that a note's body is. It reports false for any other.
func Parse(body []byte) (Body, bool) {
	var b Body
	if json.Unmarshal(body, &b) != nil || b.Alg != Algorithm || b.Data == "" || b.Key == "" {
		return Body{}, false
	}
	return b, true
}
