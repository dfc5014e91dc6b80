package fleet_test

import (
	"strings"
	"testing"
	"time"

	"notepay/internal/terms"
)

// FuzzTerms checks that the parsed terms of any variables keep the rules.
func FuzzTerms(f *testing.F) {
	for _, seed := range []string{
		"10m", "1s", "0", "-5m", "price_1,price_2", "price_1,,warm wash", "true", "flase", "9999999h", "1e9s",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rules := terms.Rules{ConfirmWithin: time.Minute, SeenWithin: 10 * time.Minute}
		if d, why := rules.ParseLifetime(text); (why != "" && d != 0) || (why == "" && d < 10*time.Minute) {
			t.Errorf("%q is a lifetime of %v, %q", text, d, why)
		}
		ids, wrong := terms.Prices(text)
		for _, id := range ids {
			if !strings.HasPrefix(id, "price_") || strings.ContainsAny(id, " ,") {
				t.Errorf("%q names the price %q", text, id)
			}
		}
		if len(ids)+len(wrong) == 0 {
			t.Errorf("%q is no price, and nothing is wrong with it", text)
		}
		if on, ok := terms.Switch(text); on && !ok {
			t.Errorf("%q is on without being a yes", text)
		}
	})
}
