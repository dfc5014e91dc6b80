package stripeapi

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"notepay/internal/payment"
	"notepay/internal/terms"
)

// describe sets what a price's metadata says about the machine. Its error says why the price cannot
// be sold.
func (m metadataMap) describe(plan *payment.Offer) error {
	for _, key := range []struct {
		name  string
		parse func(text string) (why string)
	}{
		{"access_code", func(text string) string {
			var ok bool
			if plan.AccessCode, ok = terms.Switch(text); !ok {
				return "is neither true nor false"
			}
			return ""
		}},
		{"duration", func(text string) (why string) {
			plan.Duration, why = parseOfferDuration(text)
			return why
		}},
		{"delayed_start", func(text string) (why string) {
			plan.DelayedStart, why = parseOfferDuration(text)
			return why
		}},
		{"pulses", func(text string) (why string) {
			plan.Pulses, why = terms.Pulses(text)
			return why
		}},
		{"output", func(text string) (why string) {
			plan.Output, why = terms.Output(text)
			return why
		}},
	} {
		if err := m.read(key.name, key.parse); err != nil {
			return err
		}
	}
	return nil
}

// read parses the value of a key, unless it is not set. People type keys in Stripe's Dashboard, so
// several spellings count as one key, but only if they have the same value.
func (m metadataMap) read(key string, parse func(text string) (why string)) error {
	var first, text string // the first spelling and its value
	for _, spelling := range slices.Sorted(maps.Keys(m)) {
		value := strings.TrimSpace(m[spelling])
		switch {
		case value == "" || bareKey(spelling) != bareKey(key):
		case text == "":
			first, text = spelling, value
		case value != text:
			return fmt.Errorf("has metadata %s=%.60q and %s=%.60q, which differ", first, text, spelling, value)
		}
	}
	if text == "" {
		return nil
	}
	if why := parse(text); why != "" {
		return fmt.Errorf("has metadata %s=%.60q, which %s", first, text, why)
	}
	return nil
}

// bareKey returns the letters and digits of a metadata key in lower case.
func bareKey(key string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, key)
}

// parseOfferDuration parses a duration such as 30m, in whole seconds. If it is not possible, why
// says so.
func parseOfferDuration(text string) (d time.Duration, why string) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > 30*24*time.Hour {
		return 0, "is no duration such as 30m"
	}
	return d.Round(time.Second), ""
}
