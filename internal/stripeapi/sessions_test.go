package stripeapi

import "testing"

func TestPageURLAllowsOnlyStripesPages(t *testing.T) {
	t.Parallel()
	s := New(testConfig("http://127.0.0.1:12111", nil))
	for address, allowed := range map[string]bool{
		"https://pay.stripe.com/receipts/payment/CAcQ": true,
		"http://127.0.0.1:12111/receipts/ch_1":         true,
		"":                                             false,
		"/receipts/1":                                  false,
		"http://pay.stripe.com/receipts/1":             false,
		"https://stripe.com.example.com/":              false,
		"https://notstripe.com/":                       false,
		"javascript:alert(1)//.stripe.com":             false,
		"http://127.0.0.1:12112/":                      false,
		"https://pay.stripe.com\n/":                    false,
		"https://x@evil.example.com/.stripe.com":       false,
	} {
		if got := s.pageURL(address); got != "" != allowed || (allowed && got != address) {
			t.Errorf("%q became %q; want it allowed: %v", address, got, allowed)
		}
	}
}
