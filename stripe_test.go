package main

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/upstream"
)

func TestNewStripeMakesOneAttempt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		want   upstream.Outcome
	}{
		"a conflict":     {http.StatusConflict, upstream.Retryable},
		"a rate limit":   {http.StatusTooManyRequests, upstream.RateLimited},
		"a server error": {http.StatusInternalServerError, upstream.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				if got := r.Header.Get("Authorization"); got != "Bearer "+fixture.TestKey {
					t.Errorf("Authorization %q; want the key", got)
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(`{"error":{"type":"api_error","message":"not now"}}`))
			}))
			defer server.Close()
			api := newStripe(&config.Settings{StripeSecretKey: fixture.TestKey, StripeAPIURL: server.URL})
			_, err := api.Offer(t.Context(), fixture.Warm)
			fixture.Meant(t, "price", err, c.want)
			if n := calls.Load(); n != 1 {
				t.Errorf("%d requests; want one, because the ledger decides about retries", n)
			}
		})
	}
}
