package stripeapi

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v82/webhook"

	"notepay/internal/bridge"
	"notepay/internal/vendortime"
)

// WebhookSecrets are the signing secrets of the webhook endpoints. With no secret every event is
// rejected. An empty secret is skipped, because anyone could sign with it.
type WebhookSecrets []string

var (
	// ErrSignature is returned for an event without a valid and recent signature of Stripe's.
	ErrSignature = errors.New("no valid signature")
	// ErrTooOld is returned for an event that Stripe signed too long ago. It wraps ErrSignature.
	ErrTooOld = fmt.Errorf("%w: signed too long ago", ErrSignature)
	// ErrTimeUnknown is returned for a signed event whose age is unknown, because the host's clock
	// disagrees and Stripe's time has not been read yet.
	ErrTimeUnknown = errors.New(
		"signed at another time than the host's clock shows, and Stripe's time is not known yet",
	)
	// ErrMalformed is returned for a signed event that cannot be decoded.
	ErrMalformed = errors.New("malformed event")
)

// Plausible reports whether a header may be a signature of Stripe's. It must have a time and a
// signature of the version that Verify checks. The check is cheap, so that unsigned requests are
// rejected before their body is read.
func (s WebhookSecrets) Plausible(header string) bool {
	timed, signed := false, false
	for part := range strings.SplitSeq(header, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch key {
		case "t":
			_, err := strconv.ParseInt(value, 10, 64)
			timed = timed || err == nil
		case "v1":
			sum, err := hex.DecodeString(value)
			signed = signed || err == nil && len(sum) == sha256.Size
		}
	}
	return len(s) > 0 && timed && signed
}

// Verify checks the signature of the raw body against each secret and its age against Stripe's
// time, and decodes the event. It does not use the library's own tolerance, which trusts the host's
// clock.
func (s WebhookSecrets) Verify(body []byte, header string, clock *vendortime.Clock) (bridge.Event, error) {
	err := ErrSignature
	for _, secret := range s {
		if secret == "" {
			continue
		}
		if err = webhook.ValidatePayloadIgnoringTolerance(body, header, secret); err == nil {
			break
		}
	}
	if err != nil {
		return bridge.Event{}, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	switch age := clock.Now().Sub(signedAt(header)); {
	case !clock.Known() && age.Abs() > vendortime.Tolerance:
		return bridge.Event{}, ErrTimeUnknown
	case age > webhook.DefaultTolerance:
		return bridge.Event{}, fmt.Errorf("%w: %s", ErrTooOld, age.Round(time.Second))
	}
	return decodeEvent(body, false)
}

// signedAt returns the time in the header of a valid signature. Of several times, the library
// checked the last.
func signedAt(header string) (at time.Time) {
	for part := range strings.SplitSeq(header, ",") {
		if text, ok := strings.CutPrefix(part, "t="); ok {
			seconds, _ := strconv.ParseInt(text, 10, 64) // the library has parsed it
			at = time.Unix(seconds, 0)
		}
	}
	return at
}
