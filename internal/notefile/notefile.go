// Package notefile validates the names of the two notefiles between notepay and the machines.
//
// The same rule applies wherever a name is given or received. The package does not know whether a
// machine uses the file.
package notefile

import (
	"regexp"
	"strings"
)

// The names without settings.
const (
	Payments = "payment.qi"
	Answers  = "payment_ack.qo"
)

// shape matches a name without its ending. Notehub's own files begin with an underscore. Upper case
// is not allowed, because whether Notehub ignores case is not documented.
var shape = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)

// CheckPayments returns why notepay cannot send payments in a notefile of this name, or "".
func CheckPayments(name string) string { return check(name, ".qi", Payments) }

// CheckAnswers returns why machines cannot answer in a notefile of this name, or "".
func CheckAnswers(name string) string { return check(name, ".qo", Answers) }

func check(name, ending, example string) string {
	stem, ok := strings.CutSuffix(strings.TrimSuffix(name, "s"), ending)
	if !ok || !shape.MatchString(stem) {
		return "has to be a name such as " + example + ", or " + example + "s to force TLS: " +
			"up to 32 lower-case letters, digits, _ and - before the ending, and no _ at the beginning"
	}
	return ""
}

// Both returns a valid name and the same name with the other kind of transport: a Notecard sends
// and fetches files whose names end in s only over TLS.
func Both(name string) []string {
	if plain, secure := strings.CutSuffix(name, "s"); secure {
		return []string{name, plain}
	}
	return []string{name, name + "s"}
}
