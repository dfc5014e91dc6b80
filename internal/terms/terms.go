// Package terms holds the rules for what an operator may set about a sale: lifetimes, prices and
// switches.
//
// The same rules hold for the settings of the service and for Notehub's environment variables,
// because both are typed by hand and decide about money. The package does not know where a value
// comes from or what follows if it is wrong.
package terms

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Rules are the settings that decide which lifetimes of a credit are possible.
type Rules struct {
	ConfirmWithin time.Duration // above 0: machines confirm within this
	SeenWithin    time.Duration // how late a payment may be seen where webhooks are off; 0 where they are on
}

// MinLifetime is the shortest lifetime of a credit: a note needs some seconds to its machine.
const MinLifetime = 10 * time.Second

// Lifetime returns why credits cannot live for d, or "" if they can. A lifetime of 0 never ends.
func (r Rules) Lifetime(d time.Duration) string {
	switch {
	case d < 0 || d > 0 && d < MinLifetime:
		return fmt.Sprintf("at least %s, or 0 for ever", MinLifetime)
	case d == 0 && r.ConfirmWithin > 0:
		return "has to be above 0 where CONFIRM_WITHIN is set"
	case d > 0 && d < r.SeenWithin:
		return "at least two POLL_INTERVALs where webhooks are off, for a payment may be seen so late"
	}
	return ""
}

// ParseLifetime reads a lifetime such as 10m. If it is not possible it returns why.
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

// priceShape is what Stripe's price ids look like. Anything else is a typing error, and Stripe need
// not be asked.
var priceShape = regexp.MustCompile(`^price_[A-Za-z0-9_]{1,200}$`)

// BadPrice is a part of a list of prices that is wrong.
type BadPrice struct {
	ID  string // as it was given, "" where nothing was
	Why string
}

func (b BadPrice) String() string {
	if b.ID == "" {
		return b.Why
	}
	return fmt.Sprintf("%.60q %s", b.ID, b.Why)
}

// Prices reads price ids that are separated by commas, and returns what is wrong with the others.
// An id that stands twice is returned once.
func Prices(commas string) (ids []string, wrong []BadPrice) {
	for id := range strings.SplitSeq(commas, ",") {
		switch id = strings.TrimSpace(id); {
		case id == "":
		case !priceShape.MatchString(id):
			wrong = append(wrong, BadPrice{id, "is no price id, it has to begin with price_"})
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

// Switch reads a yes or a no. If it is neither, ok is false.
func Switch(text string) (on, ok bool) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true", "t", "1", "yes", "on":
		return true, true
	case "false", "f", "0", "no", "off":
		return false, true
	}
	return false, false
}
