package contract

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"notepay/internal/sandbox"
)

// TestStripeTriggerStartsTheMachine pays with `stripe trigger`, as operators do to test an
// installation. The tool creates a product, a price and a session with our metadata, and pays in
// the customer's place. All its calls go to the sandbox, through the tool's hidden flag --api-base.
//
// The test shows that notepay accepts such a session with a device, although it has no link, price
// or project. It does not show that Stripe sends the event, because the sandbox does. It cannot
// test `stripe listen`, which receives events over a connection to Stripe.
func TestStripeTriggerStartsTheMachine(t *testing.T) {
	t.Parallel()
	tool := stripeTool(t)
	w := newWorld(t, nil, nil)
	p := w.start()
	w.selling(p, washer)

	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	trigger := exec.CommandContext(ctx, tool, "trigger", "checkout.session.completed", "--override",
		"checkout_session:metadata.device_uid="+washer, "--api-base", w.env["STRIPE_API_URL"], "--api-key", stripeKey)
	trigger.Env = []string{
		"HOME=" + t.TempDir(), "STRIPE_CLI_TELEMETRY_OPTOUT=1",
		"HTTPS_PROXY=http://127.0.0.1:1", // prevents the check for newer versions of the tool
	}
	output, err := trigger.CombinedOutput()
	if err != nil || !regexp.MustCompile(`Trigger succeeded`).Match(output) {
		t.Fatalf("stripe trigger: %v\n%s", err, output)
	}

	session := w.stripe.Sessions()[0]
	if session.DeviceUID != washer || session.PaymentStatus != "paid" || session.PaymentLink != "" ||
		session.Metadata["project"] != "" {
		t.Errorf("the tool made session %+v; want a paid one for %s without link and project", session, washer)
	}
	p.payment(session.ID, `"machine":"sent"`, `"money":"paid"`, `"amount":3000`, `"currency":"usd"`)
	machine := sandbox.NewMachine(w.notehub, sandbox.MachineConfig{Device: washer})
	machine.Step()
	if starts := machine.Starts(); len(starts) != 1 || starts[0].SessionID != session.ID {
		t.Errorf("the machine started %v; want once, for session %s", starts, session.ID)
	}
}

// stripeTool returns the path of Stripe's command line tool. It ends the test if the tool is not
// installed.
func stripeTool(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("stripecli/node_modules/@stripe/cli-linux-x64/bin/stripe")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		unavailable(t, "Stripe's command line tool is missing (install it with npm ci --ignore-scripts "+
			"in tests/contract/stripecli): %v", err)
	}
	return path
}
