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
			if code != c.code || !strings.Contains(out.String(), c.out) || !strings.Contains(complaint.String(), c.err) {
				t.Errorf("exit code %d, %q, %q; want %d, %q, %q", code, out.String(), complaint.String(), c.code, c.out, c.err)
			}
		})
	}
}

func TestStartsThatFail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.start()
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
			code, _, complaint := w.commandWith(c.set, "serve")
			if code != c.code || !strings.Contains(complaint, c.want) {
				t.Errorf("exit code %d, %q; want %d and %q", code, complaint, c.code, c.want)
			}
			if strings.Contains(complaint, testSecret) || strings.Contains(complaint, "secret-of-client") {
				t.Errorf("a secret is printed: %q", complaint)
			}
		})
	}
	s.selling(washer) // the first is none the worse for it
}

// The stop waits for what is under way, and hands back what does not end.
func TestAStopWithACallUnderWay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		outcome sandbox.Outcome
		most    time.Duration
	}{
		"that ends soon":  {sandbox.Outcome{Applied: true, Status: 200, Delay: time.Second}, 5 * time.Second},
		"that never ends": {sandbox.Outcome{Applied: true, Status: 200, Delay: time.Hour}, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s := w.start()
			link := s.selling(washer)
			w.notehub.Next(postNote, c.outcome)
			session := w.pay(link, sandbox.PayOptions{})
			w.until("the call is under way", func() bool { return len(w.notehub.Notes(washer)) == 1 })
			began := time.Now()
			w.stopped(s)
			if took := time.Since(began); took > c.most {
				t.Errorf("the stop took %v; want at most %v", took, c.most)
			}
			next := w.start()
			next.payment(session.ID, "sent", has(`"machine":"sent"`))
			w.stopped(next)
			if n := len(w.notehub.Notes(washer)); n != 1 {
				t.Errorf("%d notes; want the one", n)
			}
		})
	}
}

func TestCaptureOnStartMakesLinksThatHoldTheMoney(t *testing.T) {
	t.Parallel()
	w := newWorld(t).set("CAPTURE", "on_start", "CONFIRM_WITHIN", "1m")
	s := w.start()
	s.selling(washer)
	if links := w.stripe.Links(); len(links) != 1 || links[0].CaptureMethod != "manual" {
		t.Errorf("links %+v; want one with manual capture", links)
	}
	w.stopped(s)
}

func TestNoSecretIsLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.start()
	w.notehub.Next(postNote, sandbox.Outcome{Status: 401}, sandbox.Outcome{Status: 403}, sandbox.Outcome{})
	session := w.pay(s.selling(washer), sandbox.PayOptions{})
	s.get("/payment/success?session_id=" + session.ID)
	s.do(http.MethodPost, "/webhook/stripe", "{}", "Stripe-Signature", "t=1,v1=00")
	s.get("/api/payments", "Authorization", "Bearer wrong")
	s.payment(session.ID, "sent", has(`"machine":"sent"`))
	_, header, _ := s.get("/payment/success?session_id=" + session.ID)
	w.stopped(s)
	for _, secret := range []string{testKey, testSecret, "secret-of-client", "operator-token-1234", "Bearer", "whsec_", strings.TrimPrefix(header.Get("Location"), "/session/")} {
		if strings.Contains(s.logs.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

// The binary as it ships: static, small, and quick with a large fleet that it knows.
func TestTheBinary(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "notepay")
	buildAsShipped(t, binary)
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
	w := newWorld(t)
	w.remember(devices)
	// Nothing is to be had from the vendors: what is known is enough.
	w.stripe.Always("{any} /v1/{rest...}", sandbox.Outcome{Status: 503})
	w.notehub.Always("{any} /{rest...}", sandbox.Outcome{Status: 503})
	p := w.launch(invocation(binary, w.dir, w.env), io.Discard)
	s := &service{w: w, url: p.url}
	if status, _, _ := s.get("/health"); status != http.StatusOK {
		t.Errorf("/health answers %d", status)
	}
	status, header, _ := s.get("/pay?device=dev:7777")
	took := time.Since(p.began)
	if status != http.StatusTemporaryRedirect || header.Get("Location") != "https://buy.example.com/7777" {
		t.Errorf("/pay answers %d to %q", status, header.Get("Location"))
	}
	if took > time.Second {
		t.Errorf("the first redirect came after %v; want at most 1 s", took)
	}
	memory := residentMB(t, p.cmd.Process.Pid)
	if memory > 100 {
		t.Errorf("%.0f MB resident; want at most 100", memory)
	}
	t.Logf("%d known devices: first redirect after %v, %.0f MB resident", devices, took.Round(time.Millisecond), memory)
	if err := p.stop(); err != nil {
		t.Errorf("after SIGTERM: %v; want exit code 0", err)
	}
}
