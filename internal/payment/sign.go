package payment

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// signatureSize is how many bytes of the HMAC a note carries. An airtime limit makes notes short,
// and 128 bits cannot be guessed.
const signatureSize = 16

// DeviceKey derives the key of a device from the operator's key. So a machine that is taken apart
// gives away no other machine's key. The device is its UID in the form of package uid.
func DeviceKey(master []byte, device string) []byte { return mac(master, device) }

// Sign returns the note with its signature by a device's key. The firmware computes the same text,
// in which a missing number is 0 and a missing text is empty (firmware/README.md).
func Sign(n Note, key []byte) Note {
	text := fmt.Sprintf("v1|%s|%s|%d|%d|%d|%s|%d|%d",
		n.CreditID, n.PaymentStatus, n.Expires, n.Duration, n.DelayedStart, n.Code, n.Pulses, n.Output)
	n.Signature = hex.EncodeToString(mac(key, text)[:signatureSize])
	return n
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text)) // never fails
	return h.Sum(nil)
}
