package passkey

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Site is the place for which passkeys are made.
type Site struct {
	ID     string // the host, without a port
	Origin string // as browsers write it
	key    []byte // of the challenges
}

// NewSite returns the site of a public URL. secret makes the challenges, and all instances share it.
// It returns an error if browsers make no passkeys for the URL.
func NewSite(publicURL, secret string) (Site, error) {
	u, err := url.Parse(publicURL)
	if err != nil || u.Host == "" {
		return Site{}, errors.New("passkeys need PUBLIC_URL")
	}
	host := u.Hostname()
	if _, err := netip.ParseAddr(host); err == nil {
		return Site{}, errors.New("passkeys need a host name in PUBLIC_URL, not an address")
	}
	if u.Scheme != "https" && host != "localhost" {
		return Site{}, errors.New("passkeys need HTTPS in PUBLIC_URL")
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("passkey challenge"))
	return Site{ID: host, Origin: u.Scheme + "://" + u.Host, key: mac.Sum(nil)}, nil
}

// ChallengeTimeout is how long a challenge can be answered.
const ChallengeTimeout = 10 * time.Minute

const (
	nonceLength     = 16
	timeLength      = 8
	challengeLength = nonceLength + timeLength + sha256.Size
)

// Challenge returns a challenge for a purpose. It is not stored: it carries its time, and a proof that
// notepay made it. The caller has to accept each only once.
func (s Site) Challenge(purpose string, now time.Time) string {
	raw := make([]byte, nonceLength, challengeLength)
	_, _ = rand.Read(raw) // never fails
	raw = binary.BigEndian.AppendUint64(raw, uint64(now.Unix()))
	return base64.RawURLEncoding.EncodeToString(append(raw, s.proof(raw, purpose)...))
}

// proof returns the proof that notepay made a challenge for a purpose.
func (s Site) proof(head []byte, purpose string) []byte {
	mac := hmac.New(sha256.New, s.key)
	mac.Write(head)
	mac.Write([]byte(purpose))
	return mac.Sum(nil)
}

// checkChallenge returns nil if notepay made the challenge for this purpose a moment ago.
func (s Site) checkChallenge(challenge, purpose string, now time.Time) error {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(challenge, "="))
	if err != nil || len(raw) != challengeLength {
		return errors.New("this is no challenge")
	}
	head, proof := raw[:nonceLength+timeLength], raw[nonceLength+timeLength:]
	if !hmac.Equal(proof, s.proof(head, purpose)) {
		return errors.New("the challenge is not ours, or for something else")
	}
	age := now.Sub(time.Unix(int64(binary.BigEndian.Uint64(head[nonceLength:])), 0))
	if age > ChallengeTimeout || age < -ChallengeTimeout {
		return errors.New("the challenge has expired")
	}
	return nil
}
