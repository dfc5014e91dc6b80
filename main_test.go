package main

import (
	"debug/elf"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/sandbox"
)

func TestRunReturnsExitCodes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		code int
		out  string
		err  string
	}{
		"version":                    {[]string{"version"}, 0, "notepay devel, commit ", ""},
		"help":                       {[]string{"help"}, 0, "usage: notepay", ""},
		"an unknown command":         {[]string{"sell"}, 2, "", `unknown command "sell"`},
		"a command with an argument": {[]string{"serve", "now"}, 2, "", "takes no arguments"},
		"serve without settings":     {[]string{"serve"}, 2, "", "STRIPE_SECRET_KEY"},
		"no command means serve":     {nil, 2, "", "NOTEHUB_PROJECT_UID"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, complaint strings.Builder
			code := exitCode(run(t.Context(), c.args, func(string) string { return "" }, &out), &complaint)
			if code != c.code || !strings.Contains(out.String(), c.out) ||
				!strings.Contains(complaint.String(), c.err) {
				t.Errorf(
					"exit code %d, %q, %q; want %d, %q, %q", code, out.String(), complaint.String(), c.code,
					c.out, c.err,
				)
			}
		})
	}
}

// The shipped binary is static and small, and starts quickly with a large known fleet.
func TestBinary(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "notepay")
	apptest.BuildAsShipped(t, binary)
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	if mb := float64(info.Size()) / 1e6; mb >= 30 {
		t.Errorf("the binary has %.1f MB; want below 30", mb)
	} else {
		t.Logf("the binary has %.1f MB", mb)
	}
	if f, err := elf.Open(binary); err == nil { // only on Linux
		if libraries, err := f.ImportedLibraries(); err != nil || len(libraries) > 0 {
			t.Errorf("the binary needs %v (%v); want a static one", libraries, err)
		}
		f.Close()
	}

	const devices = 10_000
	w := apptest.NewWorld(t)
	w.Remember(devices)
	// The vendors do not answer, so that the ledger alone must do.
	w.Stripe.Always("{any} /v1/{rest...}", sandbox.Outcome{Status: 503})
	w.Notehub.Always("{any} /{rest...}", sandbox.Outcome{Status: 503})
	p := w.Launch(apptest.Invocation(binary, w.Dir, w.Env), io.Discard)
	s := &apptest.Service{W: w, Url: p.Url}
	if status, _, _ := s.Get("/health"); status != http.StatusOK {
		t.Errorf("/health answers %d", status)
	}
	status, header, _ := s.Get("/pay?device=dev:7777")
	took := time.Since(p.Began)
	if status != http.StatusTemporaryRedirect || header.Get("Location") != "https://buy.example.com/7777" {
		t.Errorf("/pay answers %d to %q", status, header.Get("Location"))
	}
	if took > time.Second {
		t.Errorf("the first redirect came after %v; want at most 1 s", took)
	}
	memory := apptest.ResidentMB(t, p.Cmd.Process.Pid)
	if memory > 100 {
		t.Errorf("%.0f MB resident; want at most 100", memory)
	}
	t.Logf("%d known devices: first redirect after %v, %.0f MB resident", devices, took.Round(time.Millisecond), memory)
	if err := p.Stop(); err != nil {
		t.Errorf("after SIGTERM: %v; want exit code 0", err)
	}
}
