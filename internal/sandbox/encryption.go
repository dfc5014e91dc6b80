package sandbox

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
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
)

// This file is the other end of encrypted notes: Notehub's public keys, and the Notecard that decrypts.
// It shares no code with the service. The format is that of a program by Blues, and no Notecard was
// asked (docs/vendors.md, U18 to U20).

// encryptedAlg is the format that the Notecard knows.
const encryptedAlg = "secp384r1-aes256cbc"

// privateKey returns the key of a device's Notecard. The caller holds the lock.
func (n *Notehub) privateKey(device string) *ecdh.PrivateKey {
	key := n.private[device]
	if key == nil {
		var err error
		if key, err = ecdh.P384().GenerateKey(rand.Reader); err != nil {
			panic(fmt.Sprintf("sandbox: make the key of %s: %v", device, err))
		}
		n.private[device] = key
	}
	return key
}

// SetPublicKey makes the API say something else of a device's public key. With "" the device has none.
func (n *Notehub) SetPublicKey(device, text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.keyTexts[device] = text
}

// ShowPublicKey makes the API return the true public key of a device again.
func (n *Notehub) ShowPublicKey(device string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.keyTexts, device)
}

// publicKey returns the text of a device's public key, "" if it has none. The caller holds the lock.
func (n *Notehub) publicKey(device string) string {
	if text, odd := n.keyTexts[device]; odd {
		return text
	}
	der, err := x509.MarshalPKIXPublicKey(n.privateKey(device).PublicKey())
	if err != nil {
		panic(fmt.Sprintf("sandbox: encode the key of %s: %v", device, err))
	}
	if n.config.Unknown.KeyInBase64 {
		return base64.StdEncoding.EncodeToString(der)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func (n *Notehub) getPublicKey(q *hubQuery) (any, *hubError) {
	uid := q.path["device"]
	text := n.publicKey(uid)
	if text == "" {
		return nil, hubRefused(http.StatusNotFound, "device %s has no public key", uid)
	}
	return object{"uid": uid, "key": text}, nil
}

// listPublicKeys returns a page of the keys of all devices that have one.
func (n *Notehub) listPublicKeys(q *hubQuery) (any, *hubError) {
	size, problem := q.integer("pageSize", 50, 1, 10_000)
	if problem != nil {
		return nil, problem
	}
	number, problem := q.integer("pageNum", 1, 1, 1_000_000)
	if problem != nil {
		return nil, problem
	}
	keys := []object{}
	matched := 0
	for _, d := range n.devices {
		if text, odd := n.keyTexts[d.UID]; odd && text == "" {
			continue
		}
		if matched++; matched > (number-1)*size && len(keys) < size {
			keys = append(keys, object{"uid": d.UID, "key": n.publicKey(d.UID)})
		}
	}
	return object{"device_public_keys": keys, "has_more": matched > number*size}, nil
}

// isEncrypted reports whether the body of a note is encrypted.
func isEncrypted(body map[string]any) bool { return body["alg"] == encryptedAlg }

// decrypt returns the body of an encrypted note, as the device's Notecard reads it. Any other body is
// returned as it is.
func (n *Notehub) decrypt(device string, body map[string]any) (map[string]any, error) {
	if !isEncrypted(body) {
		return body, nil
	}
	n.mu.Lock()
	key := n.privateKey(device)
	n.mu.Unlock()
	data, err := fromBase64(body["data"])
	if err != nil {
		return nil, err
	}
	public, err := fromBase64(body["key"])
	if err != nil {
		return nil, err
	}
	text, err := decrypted(key, public, data)
	if err != nil {
		return nil, err
	}
	var plain map[string]any
	if err := json.Unmarshal(text, &plain); err != nil {
		return nil, fmt.Errorf("the decrypted text is no body: %w", err)
	}
	return plain, nil
}

// Decrypted returns a note as its Notecard reads it, or as it is if the Notecard cannot.
func (n *Notehub) Decrypted(note Note) Note {
	if body, err := n.decrypt(note.Device, note.Body); err == nil {
		note.Body = body
	}
	return note
}

func fromBase64(value any) ([]byte, error) {
	text, _ := value.(string)
	return base64.StdEncoding.DecodeString(text)
}

// decrypted returns the text that was encrypted for a key, and takes its padding off.
func decrypted(key *ecdh.PrivateKey, public, data []byte) ([]byte, error) {
	parsed, err := x509.ParsePKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	sender, ok := parsed.(*ecdsa.PublicKey)
	if !ok || len(data) == 0 || len(data)%aes.BlockSize != 0 {
		return nil, fmt.Errorf("%d bytes of data with a key of %T", len(data), parsed)
	}
	point, err := sender.ECDH()
	if err != nil {
		return nil, err
	}
	shared, err := key.ECDH(point)
	if err != nil {
		return nil, err
	}
	secret := sha256.Sum256(shared)
	block, err := aes.NewCipher(secret[:])
	if err != nil {
		return nil, err
	}
	text := make([]byte, len(data))
	cipher.NewCBCDecrypter(block, make([]byte, aes.BlockSize)).CryptBlocks(text, data)
	pad := int(text[len(text)-1])
	if pad == 0 || pad > aes.BlockSize || !bytes.HasSuffix(text, bytes.Repeat([]byte{byte(pad)}, pad)) {
		return nil, fmt.Errorf("the padding ends in %d", pad)
	}
	return text[:len(text)-pad], nil
}
