package contract

import (
	"os/exec"
	"testing"
)

// TestAlertRules checks that the alert rules of the documentation are valid, fire when they should,
// and do not fire otherwise.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		unavailable(t, "promtool, of Debian's package prometheus, is missing")
	}
	for _, args := range [][]string{{"check", "rules", "../../docs/alerts.yml"},
		{"test", "rules", "testdata/alerts_test.yml"}} {
		if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", args[0], err, out)
		}
	}
}
