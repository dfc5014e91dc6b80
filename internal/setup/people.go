package setup

import (
	"context"
	"crypto/rand"
	"encoding/hex"
)

// people asks for what customers and the operator need when something goes wrong.
func (w *wizard) people(context.Context) error {
	err := w.askField(field{
		name:     "SUPPORT_CONTACT",
		question: "  Your e-mail address, telephone number or web address, for customers in trouble",
	})
	if err != nil {
		return err
	}
	if token, err := w.current("OPERATOR_TOKEN"); err != nil {
		return err
	} else if token == "" {
		if token, err = newToken(); err != nil {
			return err
		}
		w.set("OPERATOR_TOKEN", token)
	}
	if err := w.save(); err != nil {
		return err
	}
	w.say("  Problems can reach your phone: README.md, Install, step 5, explains the app ntfy.")
	err = w.askField(field{
		name:     "ALERT_URLS",
		question: "  Where to (ntfy://ntfy.sh/your-topic; Enter skips)",
		secret:   true,
		optional: true,
	})
	if err != nil {
		return err
	}
	return w.save()
}

// summary says what the operator has to do next.
func (w *wizard) summary() {
	address, err := w.current("PUBLIC_URL")
	if w.err == nil {
		w.err = err
	}
	w.say("\n%s is complete. What is left:", w.c.File)
	alerts, err := w.current("ALERT_URLS")
	if w.err == nil {
		w.err = err
	}
	if alerts == "" {
		w.left = append(w.left, "Set ALERT_URLS, so that problems reach your phone: README.md, Install, step 5.")
	}
	for _, text := range append(
		w.left,
		"Start notepay: README.md, Install, step 3.",
		"Run notepay check.",
		"Print stickers at "+address+"/operator. OPERATOR_TOKEN in "+w.c.File+" opens it.",
	) {
		w.say("  - %s", text)
	}
}

// newToken returns 192 random bits.
func newToken() (string, error) {
	var random [24]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", err
	}
	return hex.EncodeToString(random[:]), nil
}
