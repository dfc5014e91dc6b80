package stripeapi_test

import (
	"testing"

	"notepay/internal/stripeapi"
)

func TestClientPage(t *testing.T) {
	t.Parallel()
	s := &stripeapi.Client{Origin: "http://127.0.0.1:12111"}
	for address, its := range map[string]bool{
		"https://pay.stripe.com/receipts/payment/CAcQ": true, "http://127.0.0.1:12111/receipts/ch_1": true, "": false,
		"/receipts/1":                      false,
		"http://pay.stripe.com/receipts/1": false, "https://stripe.com.example.com/": false,
		"https://notstripe.com/": false, "javascript:alert(1)//.stripe.com": false,
		"http://127.0.0.1:12112/": false, "https://pay.stripe.com\n/": false,
		"https://x@evil.example.com/.stripe.com": false,
	} {
		if got := s.Page(address); got != "" != its || (its && got != address) {
			t.Errorf("%q became %q; is it Stripe's: %v", address, got, its)
		}
	}
}
