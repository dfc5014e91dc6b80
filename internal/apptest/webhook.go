package apptest

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"notepay/internal/fixture"
)

// Deliver posts a body as Stripe would, signed.
func (f *Front) Deliver(path, body string) *httptest.ResponseRecorder {
	return f.Do(
		http.MethodPost,
		path,
		body,
		"Stripe-Signature",
		fixture.Signed(body, fixture.TestSecret),
		"Content-Type",
		"application/json",
	)
}

// Outcomes are what came of the events that are recorded.
func (f *Front) Outcomes() (outcomes []string) {
	f.Helper()
	events, err := f.Ledger.Events(f.Context(), 100)
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range events {
		outcomes = append(outcomes, fmt.Sprintf("%s x%d", e.Outcome, 1+e.Repeats))
	}
	return outcomes
}
