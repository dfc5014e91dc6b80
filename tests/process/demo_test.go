package process

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
)

// demoProcess is a running `notepay demo`.
type demoProcess struct {
	t     *testing.T
	found []string // what the output matched
	stop  func(os.Signal) error
}

// startDemo starts the demo and waits until its output matches ready.
func startDemo(t *testing.T, dir string, env map[string]string, ready string, args ...string) *demoProcess {
	t.Helper()
	cmd := apptest.Invoked(t, dir, env, append([]string{"demo"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found, drained := make(chan []string, 1), make(chan struct{})
	go func() {
		defer close(drained)
		text, pattern := "", regexp.MustCompile(ready)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			text += lines.Text() + "\n"
			if match := pattern.FindStringSubmatch(text); match != nil {
				found <- match
				_, _ = io.Copy(io.Discard, out)
				return
			}
		}
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	p := &demoProcess{t: t, stop: func(s os.Signal) error {
		if err := cmd.Process.Signal(s); err != nil {
			return err
		}
		select {
		case <-drained:
		case <-time.After(time.Minute):
			return fmt.Errorf("it has not ended a minute after %v", s)
		}
		return cmd.Wait()
	}}
	select {
	case p.found = <-found:
	case <-drained:
		t.Fatalf("the demo ended: %v", cmd.Wait())
	case <-time.After(time.Minute):
		t.Fatal("the demo says nothing for a minute")
	}
	return p
}

// portOf returns the port of a listener.
func portOf(l net.Listener) string { return strconv.Itoa(l.Addr().(*net.TCPAddr).Port) }

// getPage returns a page, or "" if nothing answers.
func getPage(t *testing.T, address string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

const demoReady = `Open +(\S+)\s+Pay +(\S+)`

func TestDemoLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	for _, s := range []os.Signal{syscall.SIGHUP, os.Interrupt} {
		dir := t.TempDir()
		if signal.Ignored(s) {
			t.Logf("%v is ignored here, as under nohup, and so by the demo", s)
			continue
		}
		// The usual ports are taken by the first of the two, or by others.
		p := startDemo(t, dir, map[string]string{"TMPDIR": dir}, demoReady)
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Errorf("%v, %v; want one directory while it runs", left, err)
		}
		if err := p.stop(s); err != nil {
			t.Errorf("after %v: %v; want exit code 0", s, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("after %v: %v, %v; want nothing", s, left, err)
		}
	}
}

func TestDemoTakesAFreePort(t *testing.T) {
	t.Parallel()
	for _, port := range []string{"3000", "3001"} { // taken, by this test or by another program
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			defer l.Close()
		}
	}
	dir := t.TempDir()
	p := startDemo(t, dir, map[string]string{"TMPDIR": dir}, demoReady)
	if page := getPage(t, p.found[1]); !strings.Contains(page, "Washer 3") {
		t.Errorf("%s answers %q", p.found[1], page)
	}
	if err := p.stop(os.Interrupt); err != nil {
		t.Error(err)
	}
	// A port that was asked for is not replaced.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	env := map[string]string{"TMPDIR": dir, "DEMO_PORT": portOf(taken)}
	cmd := apptest.Invoked(t, dir, env, "demo")
	var complaint strings.Builder
	cmd.Stderr = &complaint
	if code := apptest.ExitCodeOf(t, cmd); code != 1 || !strings.Contains(complaint.String(), "set DEMO_PORT") {
		t.Errorf("exit code %d, %q", code, complaint.String())
	}
}

func TestDemoInTheLocalNetwork(t *testing.T) {
	t.Parallel()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	network := slices.ContainsFunc(addresses, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.To4() != nil && !n.IP.IsLoopback()
	})
	if !network {
		t.Skip("this computer is in no network")
	}
	dir := t.TempDir()
	env := map[string]string{"TMPDIR": dir, "DEMO_HOST": "lan", "PORT": "0", "DEMO_PORT": "0"}
	p := startDemo(t, dir, env, demoReady)
	pay, err := url.Parse(p.found[2])
	if err != nil || net.ParseIP(pay.Hostname()) == nil || net.ParseIP(pay.Hostname()).IsLoopback() {
		t.Errorf("the stickers lead to %s, %v; want an address of this computer for phones", p.found[2], err)
	}
	if page := getPage(t, p.found[1]); !strings.Contains(page, "scan them with a phone") {
		t.Errorf("%s does not tell to scan with a phone", p.found[1])
	}
	if err := p.stop(os.Interrupt); err != nil {
		t.Error(err)
	}
}

func TestDemoKeepsItsWorldForAnotherService(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "world")
	env := map[string]string{"PORT": "0", "DEMO_PORT": "0"}
	free, err := net.Listen("tcp", "127.0.0.1:0") // serve needs a port that the demo knows
	if err != nil {
		t.Fatal(err)
	}
	env["PORT"] = portOf(free)
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	const ready = `Their page is (\S+)\.(?s:.*)OPERATOR_TOKEN=(\S+)(?s:.*)Ctrl-C`
	p := startDemo(t, t.TempDir(), env, ready, "--keep", dir)
	printed := p.found[2]
	values, err := config.ReadFile(filepath.Join(dir, ".env"))
	if err != nil || values["OPERATOR_TOKEN"] != printed {
		t.Fatalf("%v, %v; want the settings that are printed", values, err)
	}
	if info, err := os.Stat(filepath.Join(dir, ".env")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v; want a file for its owner alone", info, err)
	}

	sells := func() {
		t.Helper()
		w := apptest.NewWorld(t) // for its helpers; its vendors are not used
		service := w.Launch(apptest.Invoked(t, dir, nil, "serve"), io.Discard)
		w.Until("the locker is sold", func() bool {
			page := getPage(t, values["PUBLIC_URL"]+"/pay?device=dev:864475040000012")
			return strings.Contains(page, "SIMULATED CHECKOUT")
		})
		w.Until("the charger's page has its plans and the brand", func() bool {
			page := getPage(t, values["PUBLIC_URL"]+"/pay?device=dev:864475040000021")
			return strings.Contains(page, "Charge until it is full") && strings.Contains(page, "Corner Laundry")
		})
		if err := service.Stop(); err != nil {
			t.Error(err)
		}
	}
	sells()
	if err := p.stop(os.Interrupt); err != nil {
		t.Error(err)
	}
	// The next run has the same keys and addresses, and a ledger of its own.
	p = startDemo(t, t.TempDir(), nil, ready, "--keep", dir)
	if p.found[2] != printed {
		t.Error("the next run has another token")
	}
	if _, err := os.Stat(filepath.Join(dir, "earlier-1", "notepay.db")); err != nil {
		t.Error(err)
	}
	sells()
	if err := p.stop(os.Interrupt); err != nil {
		t.Error(err)
	}
}
