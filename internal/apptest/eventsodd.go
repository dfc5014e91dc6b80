package apptest

import (
	"strings"

	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

// Lists has Stripe list these events, at each reading.
func (f *Front) Lists(events ...string) {
	f.Stripe.Always(
		fixture.ListEvents,
		sandbox.Outcome{
			Status: 200,
			Body:   `{"object":"list","url":"/v1/events","has_more":false,"data":[` + strings.Join(events, ",") + `]}`,
		},
	)
}
