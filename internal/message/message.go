// Package message holds English texts with values, so that a page can show them in another language.
//
// It promises that programs get the English text, and that a translation needs nothing but the text's
// format. It has no translations itself.
package message

import (
	"fmt"
	"strings"
)

// Message is an English text with values. Its zero value is no text.
type Message struct {
	Text   string // a format of package fmt, and the text's id in catalogs
	Values []any  // may be messages themselves
}

// New returns a message. A text without values is taken as it is, so that it may hold a percent sign.
func New(text string, values ...any) Message { return Message{text, values} }

// List is a list of messages in one text, such as all that is wrong with a price.
type List []Message

// IsZero reports whether there is no text.
func (m Message) IsZero() bool { return m.Text == "" }

// String returns the English text.
func (m Message) String() string { return m.In(func(text string) string { return text }) }

// In returns the text in the language of translate, which gets formats. It is on one line, whatever line
// breaks a vendor's text holds.
func (m Message) In(translate func(format string) string) string {
	text := translate(m.Text)
	if len(m.Values) == 0 {
		return oneLine(text)
	}
	values := make([]any, len(m.Values))
	for i, v := range m.Values {
		switch v := v.(type) {
		case Message:
			values[i] = v.In(translate)
		case List:
			values[i] = v.In(translate)
		default:
			values[i] = v
		}
	}
	return oneLine(fmt.Sprintf(text, values...))
}

// String returns the English texts.
func (l List) String() string { return l.In(func(text string) string { return text }) }

// In returns the texts in the language of translate, separated by semicolons.
func (l List) In(translate func(format string) string) string {
	texts := make([]string, len(l))
	for i, m := range l {
		texts[i] = m.In(translate)
	}
	return strings.Join(texts, "; ")
}

// oneLine replaces line breaks.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
