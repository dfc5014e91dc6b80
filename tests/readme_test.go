package tests

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestReadmeEndpointPassesCheck runs the README's command with Stripe's own tool against the sandbox, and then `notepay check`.
func TestReadmeEndpointPassesCheck(t *testing.T) {
	t.Parallel()
	tool := stripeTool(t)
	w := newWorld(t, nil, nil)
	command := regexp.MustCompile(`(?s)\nstripe webhook_endpoints create.*?[^\\]\n`).FindString(readme(t))
	if command == "" {
		t.Fatal("the README has no such command")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	script := strings.Replace(strings.TrimSpace(command), "stripe ", `"$STRIPE" `, 1) + ` --api-base "$BASE" --api-key "$KEY"`
	c := exec.CommandContext(ctx, "sh", "-c", script)
	c.Env = []string{
		"STRIPE=" + tool, "BASE=" + w.env["STRIPE_API_URL"], "KEY=" + stripeKey, "HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"),
		"STRIPE_CLI_TELEMETRY_OPTOUT=1", "HTTPS_PROXY=http://127.0.0.1:1", // it would look for newer versions of itself
	}
	if out, err := c.CombinedOutput(); err != nil || !bytes.Contains(out, []byte(`"webhook_endpoint"`)) {
		t.Fatalf("stripe webhook_endpoints create: %v\n%s", err, out)
	}
	report := w.command(1, "", "check") // PUBLIC_URL is not reached from here
	for _, want := range []string{"ok       Webhook delivery:", "ok       Webhook API version:"} {
		if !strings.Contains(report, want) {
			t.Errorf("notepay check does not say %q:\n%s", want, report)
		}
	}
}

// TestReadmeCaddyfile pastes the README's Caddyfile, with addresses of this machine, and asks notepay through Caddy.
func TestReadmeCaddyfile(t *testing.T) {
	t.Parallel()
	caddy, err := exec.LookPath("caddy")
	if err != nil {
		unavailable(t, "Caddy is not there (apt-get install caddy): %v", err)
	}
	block := regexp.MustCompile("(?s)```\n(pay\\.example\\.com \\{.*?)```").FindStringSubmatch(readme(t))
	if block == nil {
		t.Fatal("the README has no Caddyfile")
	}
	p := newWorld(t, nil, nil).start()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pasted := filepath.Join(dir, "pasted")
	local := filepath.Join(dir, "Caddyfile")
	changed := strings.Replace(block[1], "pay.example.com", "http://"+address, 1)
	changed = strings.Replace(changed, "127.0.0.1:3000", strings.TrimPrefix(p.url, "http://"), 1)
	changed = "{\n\tadmin off\n}\n" + changed
	for file, text := range map[string]string{pasted: block[1], local: changed} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) *exec.Cmd {
		c := exec.CommandContext(t.Context(), caddy, args...)
		c.Env = []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}
		return c
	}
	if out, err := run("adapt", "--adapter", "caddyfile", "--config", pasted).CombinedOutput(); err != nil {
		t.Fatalf("Caddy refuses the README's Caddyfile: %v\n%s", err, out)
	}
	server := run("run", "--adapter", "caddyfile", "--config", local)
	var log bytes.Buffer
	server.Stderr = &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		if t.Failed() {
			t.Logf("Caddy: %s", log.String())
		}
	})
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	var health *http.Response
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if health, err = client.Get("http://" + address + "/health"); err == nil && health.StatusCode != http.StatusBadGateway {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("Caddy does not answer: %v", err)
		}
	}
	body, _ := io.ReadAll(health.Body)
	_ = health.Body.Close()
	if health.StatusCode != http.StatusOK || !bytes.Contains(body, []byte(`"version"`)) {
		t.Errorf("/health through Caddy: %d %s", health.StatusCode, body)
	}
	hook, err := client.Post("http://"+address+"/webhook/stripe", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	_ = hook.Body.Close()
	if hook.StatusCode != http.StatusBadRequest { // notepay's own word for what is not signed
		t.Errorf("an unsigned webhook through Caddy: %d; want 400", hook.StatusCode)
	}
}
