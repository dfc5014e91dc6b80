package contract

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// document returns a file of the documentation, by its path in the repository.
func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// shell returns the shell commands of a document in their order.
func shell(document string) (commands []string) {
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(document, -1) {
		for command := range strings.SplitSeq(strings.ReplaceAll(block[1], "\\\n", "\\\x00"), "\n") {
			if command != "" {
				commands = append(commands, strings.ReplaceAll(command, "\x00", "\n"))
			}
		}
	}
	return commands
}

// stripeCommand runs a command of docs/stripe-cli.md with Stripe's own tool against the sandbox,
// and returns its output. The command is the one that begins with begins. The pairs in replaced are
// old and new texts.
func (w *world) stripeCommand(begins string, replaced ...string) []byte {
	w.Helper()
	tool := stripeTool(w.T)
	commands := shell(document(w.T, "docs/stripe-cli.md"))
	n := slices.IndexFunc(commands, func(c string) bool { return strings.HasPrefix(c, begins+" ") })
	if n < 0 {
		w.Fatalf("docs/stripe-cli.md has no command %q", begins)
	}
	ctx, cancel := context.WithTimeout(w.Context(), waitTimeout)
	defer cancel()
	script := strings.NewReplacer(replaced...).Replace(commands[n])
	script = strings.Replace(script, "stripe ", `"$STRIPE" `, 1) + ` --api-base "$BASE" --api-key "$KEY"`
	c := exec.CommandContext(ctx, "sh", "-c", script)
	c.Env = []string{
		"STRIPE=" + tool, "BASE=" + w.env["STRIPE_API_URL"], "KEY=" + stripeKey,
		"HOME=" + w.TempDir(), "PATH=" + os.Getenv("PATH"),
		// prevents the check for newer versions of the tool
		"STRIPE_CLI_TELEMETRY_OPTOUT=1", "HTTPS_PROXY=http://127.0.0.1:1",
	}
	out, err := c.CombinedOutput()
	if err != nil {
		w.Fatalf("%s: %v\n%s", begins, err, out)
	}
	return out
}

// TestStripeCommands runs the commands of docs/stripe-cli.md for products, prices and test
// payments.
func TestStripeCommands(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, nil)
	id := func(kind string, out []byte) string {
		t.Helper()
		found := regexp.MustCompile(`"(` + kind + `_[A-Za-z0-9]+)"`).FindSubmatch(out)
		if found == nil {
			t.Fatalf("no %s_ in the tool's answer:\n%s", kind, out)
		}
		return string(found[1])
	}
	product := id("prod", w.stripeCommand("stripe products create"))
	price := id("price", w.stripeCommand("stripe prices create", "prod_...", product))
	// PUBLIC_URL cannot be reached from here
	report := w.command(1, "", "check", "STRIPE_PRICE_ID", price)
	if want := price + " is Warm wash, 350 eur"; !strings.Contains(report, want) {
		t.Errorf("notepay check does not say %q:\n%s", want, report)
	}

	p := w.start("STRIPE_PRICE_ID", price)
	w.selling(p, washer)
	if out := w.stripeCommand("stripe trigger"); !bytes.Contains(out, []byte("Trigger succeeded")) {
		t.Fatalf("stripe trigger:\n%s", out)
	}
	if s := w.stripe.Sessions(); len(s) != 1 || s[0].DeviceUID != washer {
		t.Errorf("the tool made sessions %+v; want one for %s", s, washer)
	}
}

// TestReadmeInstallation runs the README's commands in their order against the sandbox. The
// directory contains only the binary and .env.example.
func TestReadmeInstallation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, nil)
	dir := t.TempDir()
	for from, to := range map[string]string{os.Getenv("NOTEPAY_BINARY"): "notepay",
		"../../.env.example": ".env.example"} {
		content, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, to), content, 0o700)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "LISTEN_ADDR=127.0.0.1:0"}
	for _, name := range []string{"STRIPE_API_URL", "NOTEHUB_API_URL", "NOTEHUB_AUTH_URL"} {
		env = append(env, name+"="+w.env[name])
	}
	_, setUp, _ := strings.Cut(document(t, "README.md"), "## Install from source, by hand")
	setUp, _, _ = strings.Cut(setUp, "**Move to PostgreSQL.**") // TestPostgresMoveKilled moves a ledger
	var running *program
	for _, command := range shell(setUp) {
		if command == "make build" { // TestMain has built the same
			continue
		}
		if command == "./notepay" {
			running = w.launchIn(dir, env)
			if status, _, health := running.get("/health"); status != http.StatusOK {
				t.Errorf("/health: %d %s", status, health)
			}
			continue
		}
		if strings.HasPrefix(command, "./notepay restore ") {
			running.stop() // as the README says
		}
		ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
		c := exec.CommandContext(ctx, "sh", "-c", command)
		c.Dir, c.Env = dir, env
		c.Stdin = strings.NewReader("Warm wash\njpy\n350\ny\n") // answers to the questions of setup
		out, err := c.CombinedOutput()
		cancel()
		t.Logf("%s\n%s", command, out)
		switch {
		// only the check of pay.example.com fails, because it does not exist
		case command == "./notepay check":
			const expected = "https://pay.example.com does not answer"
			for line := range strings.Lines(string(out)) {
				if strings.HasPrefix(line, "failed") && !strings.Contains(line, expected) {
					t.Errorf("notepay check says of the README's installation: %s", line)
				}
			}
			if !strings.Contains(string(out), "\nok ") {
				t.Errorf("notepay check found nothing: %v\n%s", err, out)
			}
		case err != nil:
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		if command == "cp .env.example .env" {
			w.fillIn(filepath.Join(dir, ".env"))
		}
	}
	if running == nil {
		t.Error("the README does not start notepay")
	}
}

// fillIn writes the settings of the README into a copy of .env.example.
func (w *world) fillIn(file string) {
	w.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		w.Fatal(err)
	}
	given := map[string]string{"SUPPORT_CONTACT": "help@example.com", "CONFIRM_WITHIN": "2m"}
	for _, name := range []string{
		"PUBLIC_URL", "STRIPE_SECRET_KEY", "OPERATOR_TOKEN",
		"NOTEHUB_CLIENT_ID", "NOTEHUB_CLIENT_SECRET", "NOTEHUB_PROJECT_UID",
	} {
		given[name] = w.env[name]
	}
	filled := string(text)
	for name, value := range given {
		line := regexp.MustCompile(`(?m)^` + name + `=.*$`)
		if !line.MatchString(filled) {
			w.Fatalf(".env.example has no line for %s", name)
		}
		filled = line.ReplaceAllLiteralString(filled, name+"="+value)
	}
	if err := os.WriteFile(file, []byte(filled), 0o600); err != nil {
		w.Fatal(err)
	}
}

// launchIn starts the notepay of a directory and waits until it listens.
func (w *world) launchIn(dir string, env []string) *program {
	w.Helper()
	p := &program{t: w.T, bell: w.bell, exited: make(chan error, 1)}
	p.command = exec.Command(filepath.Join(dir, "notepay"))
	p.command.Dir, p.command.Env = dir, env
	p.command.Stdout, p.command.Stderr = p, p
	if err := p.command.Start(); err != nil {
		w.Fatalf("start notepay: %v", err)
	}
	go func() {
		p.exited <- p.command.Wait()
		p.bell.ring()
	}()
	w.Cleanup(p.stop)
	w.until(w.T, "notepay listens", func() bool {
		found := listening.FindStringSubmatch(p.printed())
		if found == nil && len(p.exited) > 0 {
			w.Fatal("notepay ended before it listened")
		}
		if found != nil {
			p.url = "http://" + found[1]
		}
		return found != nil
	})
	return p
}

// TestDemoCommand runs the demo, which the README starts with `make demo`.
func TestDemoCommand(t *testing.T) {
	t.Parallel()
	const recipe = "\n\t@go build -o bin/notepay-demo . && exec bin/notepay-demo demo\n"
	if !strings.Contains(document(t, "Makefile"), recipe) {
		t.Error("make demo does not do the same as go run . demo")
	}
	_, found := launch(t, newBell(), map[string]string{"PORT": "0", "DEMO_PORT": "0"}, demoReady, "demo")
	page, err := http.Get(found[1])
	if err != nil {
		t.Fatal(err)
	}
	defer page.Body.Close()
	if page.StatusCode != http.StatusOK {
		t.Errorf("%s: %s", found[1], page.Status)
	}
}

// TestReadmeEndpointPassesCheck creates the webhook endpoint of docs/stripe-cli.md and then runs
// `notepay check`.
func TestReadmeEndpointPassesCheck(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, nil)
	if out := w.stripeCommand("stripe webhook_endpoints create"); !bytes.Contains(out, []byte(`"webhook_endpoint"`)) {
		t.Fatalf("stripe webhook_endpoints create:\n%s", out)
	}
	report := w.command(1, "", "check") // PUBLIC_URL cannot be reached from here
	for _, want := range []string{"ok       Webhook delivery:", "ok       Webhook API version:"} {
		if !strings.Contains(report, want) {
			t.Errorf("notepay check does not say %q:\n%s", want, report)
		}
	}
}
