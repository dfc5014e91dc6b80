package main

import (
	"debug/elf"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/sandbox"
)

func TestCommandsAndExitCodes(t *testing.T) {
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
					"exit code %d, %q, %q; want %d, %q, %q",
					code,
					out.String(),
					complaint.String(),
					c.code,
					c.out,
					c.err,
				)
			}
		})
	}
}

func TestStartsThatFail(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	s := w.Start()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, c := range map[string]struct {
		set  map[string]string
		code int
		want string
	}{
		"every wrong setting at once": {
			map[string]string{"STRIPE_SECRET_KEY": "pk_test_1", "STRIPE_WEBHOOK_SECRET": "", "PORT": "x"},
			2, "STRIPE_WEBHOOK_SECRET",
		},
		"an address in use": {
			map[string]string{
				"LISTEN_ADDR":  taken.Addr().String(),
				"DATABASE_URL": filepath.Join(t.TempDir(), "other.db"),
			},
			1, "is taken by another program: set LISTEN_ADDR",
		},
		"a ledger in use": {nil, 1, ledger.ErrLocked.Error()},
		"a ledger that cannot be": {
			map[string]string{"DATABASE_URL": filepath.Join(t.TempDir(), "no", "such", "folder.db")},
			1, "open ledger",
		},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, complaint := w.CommandWith(c.set, "serve")
			if code != c.code || !strings.Contains(complaint, c.want) {
				t.Errorf("exit code %d, %q; want %d and %q", code, complaint, c.code, c.want)
			}
			if strings.Contains(complaint, fixture.TestSecret) || strings.Contains(complaint, "secret-of-client") {
				t.Errorf("a secret is printed: %q", complaint)
			}
		})
	}
	s.Selling(fixture.Washer) // the first is none the worse for it
}

// The stop waits for what is under way, and hands back what does not end.
// A stop waits for calls that end in time and cuts off the others. Process.Stop bounds the wait.
func TestStopWithACallUnderWay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		delay   time.Duration
		outcome string // of the call, as the API names it
	}{
		"that ends soon":  {500 * time.Millisecond, "ok"},
		"that never ends": {time.Hour, "retry"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := apptest.NewWorld(t)
			s := w.Start()
			link := s.Selling(fixture.Washer)
			w.Notehub.Next(fixture.PostNote, sandbox.Outcome{Applied: true, Status: http.StatusOK, Delay: c.delay})
			session := w.Pay(link, sandbox.PayOptions{})
			w.Until("the call is under way", func() bool { return len(w.Notehub.Notes(fixture.Washer)) == 1 })
			w.Stopped(s)
			next := w.Start()
			recorded := next.Payment(session.ID, "sent", apptest.Has(`"machine":"sent"`))
			if want := `"action":"note","outcome":"` + c.outcome + `"`; !strings.Contains(recorded, want) {
				t.Errorf("the payment is %s; want %s", recorded, want)
			}
			w.Stopped(next)
			if n := len(w.Notehub.Notes(fixture.Washer)); n != 1 {
				t.Errorf("%d notes; want the one", n)
			}
		})
	}
}

func TestCaptureOnStartMakesLinksThatHoldTheMoney(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t).Set("CAPTURE", "on_start", "CONFIRM_WITHIN", "1m")
	s := w.Start()
	s.Selling(fixture.Washer)
	if links := w.Stripe.Links(); len(links) != 1 || links[0].CaptureMethod != "manual" {
		t.Errorf("links %+v; want one with manual capture", links)
	}
	w.Stopped(s)
}

func TestNoSecretIsLogged(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	s := w.Start()
	w.Notehub.Next(fixture.PostNote, sandbox.Outcome{Status: 401}, sandbox.Outcome{Status: 403}, sandbox.Outcome{})
	session := w.Pay(s.Selling(fixture.Washer), sandbox.PayOptions{})
	s.Get("/payment/success?session_id=" + session.ID)
	s.Do(http.MethodPost, "/webhook/stripe", "{}", "Stripe-Signature", "t=1,v1=00")
	s.Get("/api/payments", "Authorization", "Bearer wrong")
	s.Payment(session.ID, "sent", apptest.Has(`"machine":"sent"`))
	_, header, _ := s.Get("/payment/success?session_id=" + session.ID)
	w.Stopped(s)
	for _, secret := range []string{fixture.TestKey, fixture.TestSecret, "secret-of-client", "operator-token-1234", "Bearer", "whsec_", strings.TrimPrefix(header.Get("Location"), "/session/")} {
		if strings.Contains(s.Logs.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

// TestTheBinary checks the binary as it ships: it is static and small, and sells from its ledger while
// both vendors are down. tests/bench measures how long its start takes.
func TestTheBinary(t *testing.T) {
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
	if f, err := elf.Open(binary); err == nil { // elsewhere than on Linux there is nothing to see
		if libraries, err := f.ImportedLibraries(); err != nil || len(libraries) > 0 {
			t.Errorf("the binary needs %v (%v); want a static one", libraries, err)
		}
		f.Close()
	}

	const devices = 10_000
	w := apptest.NewWorld(t)
	w.Remember(devices)
	// Nothing is to be had from the vendors: what is known is enough.
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
	memory := apptest.ResidentMB(t, p.Cmd.Process.Pid)
	if memory > 100 {
		t.Errorf("%.0f MB resident; want at most 100", memory)
	}
	t.Logf("%d known devices: first redirect after %v, %.0f MB resident", devices, took.Round(time.Millisecond), memory)
	if err := p.Stop(); err != nil {
		t.Errorf("after SIGTERM: %v; want exit code 0", err)
	}
}
