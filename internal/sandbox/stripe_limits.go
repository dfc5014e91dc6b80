package sandbox

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// usualLength is how many characters Stripe's API description allows for a text that it names no
// other limit of.
const usualLength = 5000

// longest returns how many characters a parameter may have, by Stripe's API description.
func longest(name string) int {
	switch {
	case strings.HasSuffix(name, "[statement_descriptor]"), strings.HasSuffix(name, "[statement_descriptor_suffix]"):
		return 22
	case name == "client_reference_id":
		return 200
	case name == "inactive_message", name == "after_completion[hosted_confirmation][custom_message]":
		return 500
	case name == "payment_intent_data[description]":
		return 1000
	case strings.HasPrefix(name, "custom_text["):
		return 1200
	case name == "description": // of a product
		return 40_000
	}
	return usualLength
}

// tooLong refuses a text that is longer than Stripe takes.
func tooLong(name, value string) *apiError {
	if n, most := utf8.RuneCountInString(value), longest(name); n > most {
		return malformed(name, "Invalid string: %.20s...; must be at most %d characters", value, most)
	}
	return nil
}

// badDescriptor refuses what Stripe's documentation forbids in a statement descriptor or its
// suffix.
func badDescriptor(name, value string) *apiError {
	if !strings.HasSuffix(name, "[statement_descriptor_suffix]") &&
		!strings.HasSuffix(name, "[statement_descriptor]") || value == "" {
		return nil
	}
	latin := func(r rune) bool { return r < unicode.MaxASCII && unicode.IsLetter(r) }
	if strings.ContainsAny(value, `<>\'"*`) || !strings.ContainsFunc(value, latin) {
		return malformed(name, "The statement descriptor must contain at least one Latin letter and none of < > \\ ' "+
			"\" *.")
	}
	return nil
}
