package apptest

import (
	"strings"

	"notepay/internal/sandbox"
)

// TellsOfTwins wants the problem in the health of both installations, or in none.
func (f *Front) TellsOfTwins(when string, other *Twin, want bool) {
	f.Helper()
	if health := f.Get("/health").Body.String(); strings.Contains(health, TwinsText) != want {
		f.Errorf("%s the health is %s; want it to tell of another installation: %v", when, health, want)
	}
	if other == nil {
		return
	}
	if health := other.Health(); strings.Contains(health, TwinsText) != want {
		f.Errorf("%s the twin's health is %s; want it to tell of another installation: %v", when, health, want)
	}
}

// Signs signs a link as another process does.
func (f *Front) Signs(link, process string) {
	f.Helper()
	s := f.Settings
	api := StripeOf(&s, sandbox.InProcess(f.Stripe))
	if err := api.SignLink(f.Context(), link, process); err != nil {
		f.Fatal(err)
	}
}
