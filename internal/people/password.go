package people

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/time/rate"

	"notepay/internal/ratelimit"
)

const (
	// MinPassword and MaxPassword bound the length of a password, in characters and in bytes.
	MinPassword, MaxPassword = 12, 256

	// The parameters of Argon2id that OWASP recommends for little memory: 19 MiB and two passes.
	argonMemory, argonPasses, argonLanes = 19 * 1024, 2, 1

	saltLength, hashLength = 16, 32

	// maxWaiting bounds the sign-ins that wait for a hash.
	maxWaiting = 32
	// hashesPerSecond and hashBurst bound the work that strangers can cause on one instance. A hash
	// takes some 30 ms, so it is a third of a core.
	hashesPerSecond, hashBurst = 10, 20
)

// CheckPassword returns why a text cannot be a password, or nil.
func CheckPassword(password, name string) error {
	switch {
	case !utf8.ValidString(password) || len(password) > MaxPassword:
		return errors.New("a password has at most 256 characters")
	case utf8.RuneCountInString(password) < MinPassword:
		return errors.New("a password has at least 12 characters; several words are easy to remember")
	case strings.EqualFold(strings.TrimSpace(password), name):
		return errors.New("the name cannot be the password")
	case strings.Count(password, password[:1]) == len(password):
		return errors.New("choose a password with different characters")
	}
	return nil
}

// hashPassword returns the Argon2id hash of a password with its parameters, in the usual form.
func hashPassword(password string, salt []byte) string {
	hash := argon2.IDKey([]byte(password), salt, argonPasses, argonMemory, argonLanes, hashLength)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonPasses, argonLanes,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(hash))
}

// matches reports whether a hash is the password's. A text that is no hash takes as long, and never
// matches, so that the time does not tell which names exist.
func matches(password, hash string) bool {
	salt := make([]byte, saltLength)
	parts := strings.Split(hash, "$")
	if len(parts) == 6 {
		if decoded, err := base64.RawStdEncoding.DecodeString(parts[4]); err == nil && len(decoded) == saltLength {
			salt = decoded
		}
	}
	return subtle.ConstantTimeCompare([]byte(hashPassword(password, salt)), []byte(hash)) == 1
}

// ErrBusy is returned if too many passwords are being checked.
var ErrBusy = errors.New("too many passwords are being checked")

// Hasher hashes passwords, and bounds the work. It is safe for concurrent use.
//
// Browsers in which the person signed in before have a lane of their own, so that strangers cannot
// keep them waiting. Each lane hashes one password at a time.
type Hasher struct {
	known, strangers chan struct{}
	rate             *rate.Limiter // of strangers

	mu      sync.Mutex
	waiting map[string]bool // the addresses that wait or hash
}

// NewHasher returns a hasher.
func NewHasher() *Hasher {
	return &Hasher{
		known:     make(chan struct{}, 1),
		strangers: make(chan struct{}, 1),
		rate:      rate.NewLimiter(hashesPerSecond, hashBurst),
		waiting:   map[string]bool{},
	}
}

// Hash returns the hash of a new password. The caller is signed in or has an invitation.
func (h *Hasher) Hash(ctx context.Context, password string) (hash string, err error) {
	salt := make([]byte, saltLength)
	_, _ = rand.Read(salt) // never fails
	err = h.inLane(ctx, h.known, func() { hash = hashPassword(password, salt) })
	return hash, err
}

// Matches reports whether a hash is the password's. known says that the browser signed in as this
// person before. key is the browser or the address, and at most one hash is made for it at a time.
// It returns ErrBusy if the work has to wait for too long.
func (h *Hasher) Matches(ctx context.Context, password, hash, key string, known bool) (match bool, err error) {
	h.mu.Lock()
	if h.waiting[key] || len(h.waiting) >= maxWaiting && !known {
		h.mu.Unlock()
		return false, ErrBusy
	}
	h.waiting[key] = true
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.waiting, key)
	}()
	lane := h.known
	if !known {
		if lane = h.strangers; ratelimit.Take(h.rate, time.Now()) > 0 {
			return false, ErrBusy
		}
	}
	if len(password) > MaxPassword {
		password = ""
	}
	err = h.inLane(ctx, lane, func() { match = matches(password, hash) })
	return match, err
}

// inLane runs f when the lane is free.
func (h *Hasher) inLane(ctx context.Context, lane chan struct{}, f func()) error {
	select {
	case lane <- struct{}{}:
	case <-ctx.Done():
		return errors.Join(ErrBusy, ctx.Err())
	}
	defer func() { <-lane }()
	f()
	return nil
}
