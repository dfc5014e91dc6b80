package payment

import "testing"

func TestCreditID(t *testing.T) {
	t.Parallel()
	// The first 10 bytes of SHA-256("cs_test_a1b2c3") in base32. The derivation must not change,
	// because machines remember the ids.
	const want = "cr_lwb55ktxrombudpm"
	if got := CreditID("cs_test_a1b2c3"); got != want {
		t.Errorf("got %s; want %s", got, want)
	}
}
