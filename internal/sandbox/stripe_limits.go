package sandbox

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// defaultMaxLength is the maximum length, in characters, of a text for which Stripe's API description
// names no limit.
const defaultMaxLength = 5000

// maxLength returns the maximum length of a parameter, in characters, by Stripe's API description.
func maxLength(name string) int {
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
	return defaultMaxLength
}

// tooLong rejects a text that is longer than Stripe accepts.
func tooLong(name, value string) *apiError {
	if n, limit := utf8.RuneCountInString(value), maxLength(name); n > limit {
		return malformed(name, "Invalid string: %.20s...; must be at most %d characters", value, limit)
	}
	return nil
}

// badDescriptor rejects a statement descriptor or suffix that Stripe's documentation forbids.
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
