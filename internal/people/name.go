package people

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxName is the maximum length of a name, in characters.
const MaxName = 60

// CleanName returns the name of a person or a token as it is stored, or why it cannot be one. The
// audit must not confuse it with another actor.
func CleanName(text string) (string, error) {
	name := strings.Join(strings.Fields(text), " ")
	lower := strings.ToLower(name)
	switch {
	case name == "":
		return "", errors.New("enter a name")
	case !utf8.ValidString(name) || utf8.RuneCountInString(name) > MaxName:
		return "", errors.New("a name has at most 60 characters")
	case lower == OperatorName || lower == "notepay" || lower == "customer" || strings.HasPrefix(lower, TokenPrefix):
		return "", errors.New("the audit log uses this name for something else; choose another one")
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return "", errors.New("a name consists of printable characters")
		}
	}
	return name, nil
}

// NameKey returns the form in which two names are compared.
func NameKey(name string) string { return strings.ToLower(strings.Join(strings.Fields(name), " ")) }
