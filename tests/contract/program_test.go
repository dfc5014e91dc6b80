package contract

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// waitTimeout is how long any wait of a test may take, on a slow and busy machine.
const waitTimeout = 60 * time.Second

// bell wakes waiting tests when something may have changed.
type bell struct {
	mu   sync.Mutex
	rung chan struct{} // closed and replaced by each ring
}

func newBell() *bell { return &bell{rung: make(chan struct{})} }

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.rung)
	b.rung = make(chan struct{})
}

func (b *bell) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rung
}

// until waits for a condition, and checks it after each ring.
func (b *bell) until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(waitTimeout)
	// some changes depend on time alone, and do not ring
	unannounced := time.NewTicker(250 * time.Millisecond)
	defer unannounced.Stop()
	for {
		rung := b.next()
		if condition() {
			return
		}
		select {
		case <-rung:
		case <-unannounced.C:
		case <-deadline:
			t.Fatalf("timed out after %v waiting until %s", waitTimeout, what)
		}
	}
}

// program is a running notepay.
type program struct {
	t       *testing.T
	url     string // base URL
	addr    string // the address it listens on; only with its own HTTPS
	bell    *bell
	command *exec.Cmd
	exited  chan error

	mu     sync.Mutex
	output bytes.Buffer
}

// Write collects the output of the program.
func (p *program) Write(text []byte) (int, error) {
	p.mu.Lock()
	p.output.Write(text)
	p.mu.Unlock()
	p.bell.ring()
	return p.t.Output().Write(text)
}

// launch starts notepay with only these settings, and waits until its output matches ready. It
// stops the program after the test and checks that it ends cleanly.
func launch(
	t *testing.T,
	b *bell,
	env map[string]string,
	ready *regexp.Regexp,
	args ...string,
) (p *program, found []string) {
	t.Helper()
	p = &program{
		t:       t,
		bell:    b,
		command: exec.Command(os.Getenv("NOTEPAY_BINARY"), args...),
		exited:  make(chan error, 1),
	}
	p.command.Dir = t.TempDir() // has no .env
	p.command.Env = []string{"TMPDIR=" + t.TempDir()}
	for name, value := range env {
		p.command.Env = append(p.command.Env, name+"="+value)
	}
	p.command.Stdout, p.command.Stderr = p, p
	if err := p.command.Start(); err != nil {
		t.Fatalf("start notepay: %v", err)
	}
	go func() {
		p.exited <- p.command.Wait()
		b.ring()
	}()
	t.Cleanup(p.stop)
	b.until(t, "notepay is ready", func() bool {
		found = ready.FindStringSubmatch(p.printed())
		if found == nil && len(p.exited) > 0 {
			t.Fatal("notepay ended before it was ready")
		}
		return found != nil
	})
	return p, found
}

func (p *program) printed() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// stop stops notepay once, and waits until it has ended.
func (p *program) stop() {
	p.t.Helper()
	if p.command.ProcessState != nil {
		return
	}
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("stop notepay: %v", err)
	}
	timer := time.AfterFunc(waitTimeout, func() { _ = p.command.Process.Kill() })
	defer timer.Stop()
	if err := <-p.exited; err != nil {
		p.t.Errorf("notepay ended with %v; want a clean stop", err)
	}
}

// get sends a GET request to notepay and follows no redirect. Header holds names and values in
// turn.
func (p *program) get(path string, header ...string) (status int, location, body string) {
	p.t.Helper()
	return p.ask(http.MethodGet, path, "", header...)
}

// post submits a form and follows no redirect.
func (p *program) post(path, form string, header ...string) (status int, location, body string) {
	p.t.Helper()
	return p.ask(http.MethodPost, path, form, append(header, "Content-Type", formKind)...)
}

func (p *program) ask(method, path, form string, header ...string) (status int, location, body string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, p.url+path, strings.NewReader(form))
	if err != nil {
		p.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	return response.StatusCode, response.Header.Get("Location"), string(text)
}

// payment waits until the operator's API returns all the wanted texts for a session's payment, such
// as `"machine":"sent"`.
func (p *program) payment(session string, wanted ...string) {
	p.t.Helper()
	p.bell.until(p.t, fmt.Sprintf("the payment of %s has %s", session, strings.Join(wanted, ", ")), func() bool {
		_, _, body := p.get("/api/payments/"+session, "Authorization", "Bearer "+operatorToken)
		for _, part := range wanted {
			if !strings.Contains(body, part) {
				return false
			}
		}
		return true
	})
}
