// Package terms validates the terms of a sale that an operator sets: lifetimes, prices and
// switches.
//
// The same rules apply to the settings of the service and to Notehub's environment variables. Both
// are typed by hand and decide about money. The package does not know the source of a value or the
// effect of a wrong one.
package terms

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Rules are the settings that limit the lifetime of a credit.
type Rules struct {
	ConfirmWithin time.Duration // if above 0, machines have to confirm within this time
	SeenWithin    time.Duration // maximum delay until a payment is noticed without webhooks; 0 with webhooks
	Signed        bool          // notes are signed, and only their expiry ends the use of a copied one
}

// MinLifetime is the minimum lifetime of a credit, because a note takes some seconds to reach its
// machine.
const MinLifetime = 10 * time.Second

// MaxDuration bounds a lifetime and all other times of the settings. Sums of longer ones could
// overflow.
const MaxDuration = 10 * 365 * 24 * time.Hour

// TooLong says why a time above MaxDuration is not possible.
const TooLong = "at most 87600h, which are ten years"

// Lifetime returns why credits cannot have the lifetime d, or "" if they can. A credit with the
// lifetime 0 never expires.
func (r Rules) Lifetime(d time.Duration) string {
	switch {
	case d < 0 || d > 0 && d < MinLifetime:
		return fmt.Sprintf("at least %s, or 0 to never expire", MinLifetime)
	case d > MaxDuration:
		return TooLong + "; 0 to never expire"
	case d == 0 && r.ConfirmWithin > 0:
		return "has to be above 0 where CONFIRM_WITHIN is set"
	case d == 0 && r.Signed:
		return "has to be above 0 where NOTE_SIGN_KEY is set, because a signed note without an end could be replayed"
	case d > 0:
		return r.seenIn(d)
	}
	return ""
}

// Confirmation returns why machines cannot have ConfirmWithin to confirm, or "" if they can. A
// credit expires at the end of that time, even if its lifetime is longer.
func (r Rules) Confirmation() string {
	switch {
	case r.ConfirmWithin < 0:
		return "must not be below 0"
	case r.ConfirmWithin == 0:
		return ""
	case r.ConfirmWithin < MinLifetime:
		return fmt.Sprintf("at least %s, or 0 if machines do not confirm", MinLifetime)
	}
	return r.seenIn(r.ConfirmWithin)
}

// seenIn returns why a credit cannot end d after its payment, or "".
func (r Rules) seenIn(d time.Duration) string {
	if d < r.SeenWithin {
		return "has to be at least two POLL_INTERVALs where webhooks are off, " +
			"because a payment may be noticed that late"
	}
	return ""
}

// ParseLifetime parses a lifetime such as 10m. If the lifetime is not possible, why says so.
func (r Rules) ParseLifetime(text string) (d time.Duration, why string) {
	d, err := time.ParseDuration(strings.TrimSpace(text))
	if err != nil {
		return 0, "is not a duration such as 90s, 15m or 2h"
	}
	if why := r.Lifetime(d); why != "" {
		return 0, why
	}
	return d, ""
}

// priceShape matches Stripe's price ids. Anything else is a typing error and needs no call to
// Stripe.
var priceShape = regexp.MustCompile(`^price_[A-Za-z0-9_]{1,200}$`)

// BadPrice is an invalid entry in a list of prices.
type BadPrice struct {
	ID  string // the entry as given, "" if the list is empty
	Why string
}

func (b BadPrice) String() string {
	if b.ID == "" {
		return b.Why
	}
	return fmt.Sprintf("%.60q %s", b.ID, b.Why)
}

// Prices parses price ids separated by commas. It returns the valid ids, each once, and the invalid
// entries.
func Prices(commas string) (ids []string, wrong []BadPrice) {
	for id := range strings.SplitSeq(commas, ",") {
		switch id = strings.TrimSpace(id); {
		case id == "":
		case !priceShape.MatchString(id):
			wrong = append(wrong, BadPrice{id, "is not a price id, which begins with price_"})
		case slices.Contains(ids, id):
			wrong = append(wrong, BadPrice{id, "is named twice"})
		default:
			ids = append(ids, id)
		}
	}
	if len(ids)+len(wrong) == 0 {
		wrong = append(wrong, BadPrice{"", "names no price"})
	}
	return ids, wrong
}

// The maximum values of Pulses and Output. Firmware keeps an output in one byte.
const (
	MaxPulses = 1000
	MaxOutput = 255
)

// Pulses parses how many pulses a machine gives for a payment. If the number is not possible, why
// says so.
func Pulses(text string) (n int64, why string) { return number(text, 1, MaxPulses) }

// Output parses the number of a machine's output, such as one of several relays. If the number is
// not possible, why says so.
func Output(text string) (n int64, why string) { return number(text, 0, MaxOutput) }

// number parses a whole number in decimal digits without a sign.
func number(text string, least, most int64) (n int64, why string) {
	text = strings.TrimSpace(text)
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most || strings.Trim(text, "0123456789") != "" {
		return 0, fmt.Sprintf("is not a whole number from %d to %d", least, most)
	}
	return n, ""
}

// Switch parses a yes or no. ok is false for any other text.
func Switch(text string) (on, ok bool) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true", "t", "1", "yes", "on":
		return true, true
	case "false", "f", "0", "no", "off":
		return false, true
	}
	return false, false
}
