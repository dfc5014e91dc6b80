package customer

import (
	"slices"
	"strings"

	"golang.org/x/text/language"

	"notepay/internal/fleet"
	"notepay/internal/web"
)

// known returns a device of the fleet, or nil.
func (c *Handler) known(uid string) *fleet.Device {
	if c.Fleet == nil {
		return nil
	}
	return c.Fleet.Device(uid)
}

// ofKind returns a message in the words for a kind of machine, where the catalogs have some. Their
// key ends with the kind. All catalogs have the same keys.
func ofKind(m Message, kind string) Message {
	if kind == "" || m.Key == "" {
		return m
	}
	if key := m.Key + "." + kind; languages.texts[0][key] != "" {
		m.Key = key
	}
	return m
}

// ofDevice puts the status in the words for a device: those for its kind, and its names for codes.
func (s *status) ofDevice(d *fleet.Device) {
	kind := d.Kind()
	s.Title = ofKind(s.Title, kind)
	for i, line := range s.Lines {
		if line.Key == "machine.code" {
			line = codeMessage(d, line.args[1].(string))
		}
		s.Lines[i] = ofKind(line, kind)
	}
	for i, step := range s.Steps {
		s.Steps[i].Text = ofKind(step.Text, kind)
	}
}

// codeMessage says what code a machine reports, with its name if a variable gives it one.
func codeMessage(d *fleet.Device, code string) Message {
	if name := d.CodeName(code); name != "" {
		return msg("machine.named", "name", name, "code", code)
	}
	return msg("machine.code", "code", code)
}

// maxTextName is how much of a machine's name Stripe's page shows, in characters.
const maxTextName = 80

// PageText returns a function that returns the text for a device beside the button on Stripe's page:
// which machine is paid for, and what notepay promises. Stripe shows the same text to all customers,
// so it is in one language, a tag of terms.Languages. The function reads only the device.
func PageText(t Terms, tag string) func(*fleet.Device) string {
	l := languages.named(tag)
	// Stripe takes these for a link.
	plain := strings.NewReplacer("[", "(", "]", ")", "\n", " ", "\r", " ", noBreak, " ")
	return func(d *fleet.Device) string {
		lifetime := t.Lifetime
		if own, ok := d.Lifetime(); ok {
			lifetime = own
		}
		name := []rune(plain.Replace(web.MachineName(d.Name, d.UID)))
		text := l.Translate(msg("stripe.text", "machine", string(name[:min(len(name), maxTextName)]))) + " " +
			l.Translate(ofKind(t.promise(lifetime), d.Kind()))
		return plain.Replace(text)
	}
}

// named returns the language with a tag, or English.
func (c *catalog) named(tag string) Language {
	at := max(slices.IndexFunc(c.tags, func(t language.Tag) bool { return t.String() == tag }), 0)
	return c.language(at, c.tags[at])
}
