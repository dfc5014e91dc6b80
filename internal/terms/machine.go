package terms

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Kinds returns the kinds of machines for which customers read words of their own.
func Kinds() []string {
	return []string{"washer", "dryer", "locker", "door", "charger", "vending", "parking", "shower"}
}

// Kind parses a kind of machine. ok reports whether it is one of Kinds.
func Kind(text string) (kind string, ok bool) {
	kind = strings.ToLower(strings.TrimSpace(text))
	return kind, slices.Contains(Kinds(), kind)
}

// Languages returns the languages of the customers' pages.
func Languages() []string {
	return []string{"en", "ar", "de", "en-GB", "es", "fr", "it", "nl", "pl", "pt", "tr"}
}

// CodePrefix begins the names of the variables that name machine codes, such as code_E_DOOR.
const CodePrefix = "code_"

// FleetLabel is the name under which the variables of a fleet hold the fleet's name. It has a space, so
// no variable has it.
const FleetLabel = "fleet label"

// maxCodeName is the maximum length of the name of a machine code, in characters.
const maxCodeName = 80

// CodeVariable returns the name of the variable that names a machine code, in lower case. Names of
// variables hold only letters, digits and underscores, so E-DOOR is named by code_e_door.
func CodeVariable(code string) string {
	return CodePrefix + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(strings.TrimSpace(code)))
}

// CodeName returns why customers cannot read a text as the name of a machine code, or "".
func CodeName(text string) string {
	switch {
	case strings.TrimSpace(text) == "":
		return "is empty"
	case utf8.RuneCountInString(text) > maxCodeName:
		return "is longer than 80 characters"
	case !utf8.ValidString(text), strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "is not one line of text"
	}
	return ""
}
