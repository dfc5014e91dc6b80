package contract

import (
	"strings"
	"testing"
)

// TestSettings checks the program's messages about settings with the mistakes that Docker's
// --env-file and typing cause.
func TestSettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, nil)
	for name, c := range map[string]struct {
		changes []string
		want    string
	}{
		"a token with a quote": {[]string{"OPERATOR_TOKEN", `"operator-token-1234`},
			"OPERATOR_TOKEN: holds a quotation mark"},
		"a brand in curly quotes": {[]string{"BRAND_NAME", "\u201eWasch & Fertig\u201c"},
			"BRAND_NAME: holds a quotation mark"},
		"an unknown zone": {[]string{"TZ", "Europe/Berln"}, `TZ: "Europe/Berln" is not a time zone`},
		"an address with a path": {[]string{"PUBLIC_URL", "https://example.com/notepay"},
			"PUBLIC_URL: must not have a path"},
		"a port that does not exist": {[]string{"LISTEN_ADDR", "", "PORT", "80000"}, `PORT: "80000" is not a port`},
		"a live key without security": {[]string{"STRIPE_SECRET_KEY", "sk_live_0123456789", "PUBLIC_URL",
			"http://pay.example.com"}, "PUBLIC_URL: has to begin with https://"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, command := range []string{"serve", "check"} {
				if out := w.command(2, "", command, c.changes...); !strings.Contains(out, c.want) {
					t.Errorf("notepay %s does not say %q:\n%s", command, c.want, out)
				}
			}
		})
	}
	out := w.command(1, "", "check", "CREDIT_LIFETIMES", "1h", "TZ", "Europe/Berlin")
	if !strings.Contains(out, "warned   Setting names: CREDIT_LIFETIMES in the environment") ||
		!strings.Contains(out, "did you mean CREDIT_LIFETIME?") {
		t.Errorf("notepay check does not name the unknown setting:\n%s", out)
	}
}
