package apptest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// program returns the path of the program. The first call builds it.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "notepay-test-")
	if err != nil {
		return "", err
	}
	if err := removedAtTheEnd(dir); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	path := filepath.Join(dir, "notepay")
	var flags []string
	if UnderRace {
		flags = append(flags, "-race")
	}
	return path, goBuild(path, os.Environ(), flags...)
})

// removedAtTheEnd removes a directory when this process has ended, however it ends. A shell waits
// for the end.
func removedAtTheEnd(dir string) error {
	waits := exec.Command("sh", "-c", `trap "" INT TERM HUP; read -r never; rm -rf "$0"`, dir)
	if _, err := waits.StdinPipe(); err != nil { // it stays empty and closes with this process
		return err
	}
	if err := waits.Start(); err != nil {
		return err
	}
	go func() { _ = waits.Wait() }() // keeps the pipe open
	return nil
}

// moduleRoot returns the directory of go.mod.
func moduleRoot() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// InModule returns the path of a file in the module.
func InModule(t *testing.T, path ...string) string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(append([]string{root}, path...)...)
}

// goBuild builds the program into path.
func goBuild(path string, env []string, flags ...string) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	return buildTree(root, path, env, flags...)
}

// buildTree builds the program of another tree into path.
func buildTree(root, path string, env []string, flags ...string) error {
	build := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), ".")...)
	build.Dir, build.Env = root, env
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
}

// BuildAsShipped builds the binary with the Makefile's flags.
func BuildAsShipped(t *testing.T, path string) {
	t.Helper()
	BuildTreeAsShipped(t, InModule(t), path)
}

// BuildTreeAsShipped builds the binary of another tree with the flags of that tree's Makefile.
func BuildTreeAsShipped(t *testing.T, root, path string) {
	t.Helper()
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^BUILDFLAGS = (.*)$`).FindSubmatch(makefile)
	if line == nil {
		t.Fatal("the Makefile has no BUILDFLAGS")
	}
	var flags []string
	for flag := range strings.FieldsSeq(strings.ReplaceAll(string(line[1]), `\ `, "\x00")) {
		flags = append(flags, strings.ReplaceAll(flag, "\x00", " "))
	}
	if err := buildTree(root, path, append(os.Environ(), "CGO_ENABLED=0"), flags...); err != nil {
		t.Fatal(err)
	}
}

// Invoked returns a command of the program with these settings and no other environment.
func Invoked(t *testing.T, dir string, settings map[string]string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return Invocation(path, dir, settings, args...)
}

// Invocation does the same as Invoked with a binary that was built otherwise.
func Invocation(path, dir string, settings map[string]string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	cmd.Env = []string{} // nil would be this process's
	for name, value := range settings {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// ExitCodeOf runs a command and returns its exit code. It kills the command after a minute.
func ExitCodeOf(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer limit.Stop()
	err := cmd.Wait()
	if err == nil {
		return 0
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		t.Fatal(err)
	}
	return exit.ExitCode()
}

// Command runs a command with the world's settings. It returns the exit code, standard output and
// standard error.
func (w *World) Command(args ...string) (code int, out, complaint string) {
	w.Helper()
	return w.CommandWith(nil, args...)
}

// CommandWith runs a command as Command does, with changed settings.
func (w *World) CommandWith(changed map[string]string, args ...string) (code int, out, complaint string) {
	w.Helper()
	settings := maps.Clone(w.Env)
	maps.Copy(settings, changed)
	cmd := Invoked(w.T, w.Dir, settings, args...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	code = ExitCodeOf(w.T, cmd)
	return code, stdout.String(), stderr.String()
}

// Process is the service as a process of its own.
type Process struct {
	Cmd        *exec.Cmd
	Url        string
	Began      time.Time
	Ended      chan error // holds the one result
	over       chan struct{}
	complaints *strings.Builder // standard error; read it after the end
}

// Spawn starts the service and waits until it listens.
func (w *World) Spawn() *Process {
	w.Helper()
	settings := maps.Clone(w.Env)
	settings["LOG_LEVEL"] = "info"
	return w.Launch(Invoked(w.T, w.Dir, settings), io.Discard)
}

// Launch starts a service and waits until it listens. The end of the test kills it if it still
// runs.
func (w *World) Launch(cmd *exec.Cmd, logs io.Writer) *Process {
	w.Helper()
	p := &Process{
		Cmd:        cmd,
		Ended:      make(chan error, 1),
		over:       make(chan struct{}),
		complaints: &strings.Builder{},
	}
	said := &addressIn{to: logs, found: make(chan string, 1)}
	cmd.Stdout, cmd.Stderr = said, p.complaints
	p.Began = time.Now()
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	go func() {
		defer w.Stir()
		defer close(p.over)
		p.Ended <- cmd.Wait()
	}()
	w.Cleanup(func() {
		_ = cmd.Process.Kill() // usually it has ended
		<-p.over
		if strings.Contains(p.complaints.String(), "DATA RACE") {
			w.Errorf("in the service: %s", p.complaints)
		}
	})
	select {
	case addr := <-said.found:
		p.Url = "http://" + addr
	case err := <-p.Ended:
		p.Ended <- err
		w.Fatalf("the service ended at its start: %v\n%s", err, p.complaints)
	case <-time.After(time.Minute):
		w.Fatal("the service does not listen after a minute")
	}
	return p
}

// Stop sends SIGTERM and returns an error unless the service exits with 0 within a minute.
func (p *Process) Stop() error {
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-p.Ended:
		if err != nil {
			return fmt.Errorf("%w: %s", err, p.complaints)
		}
		return nil
	case <-time.After(time.Minute):
		return errors.New("a minute after SIGTERM the service still runs")
	}
}

// Kill kills the service with SIGKILL and waits for its end.
func (p *Process) Kill(t *testing.T) {
	t.Helper()
	if err := p.Cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.Ended
}

// Loses waits until the service has exited because it lost its lease on the database.
func (p *Process) Loses(t *testing.T) {
	t.Helper()
	select {
	case err := <-p.Ended:
		exit, ok := err.(*exec.ExitError)
		if !ok || exit.ExitCode() != 1 ||
			!strings.Contains(p.complaints.String(), "the lease on the database was lost") {
			t.Errorf("the service ended with %v, %q; want exit code 1 and the reason", err, p.complaints)
		}
	case <-time.After(20 * time.Second):
		t.Error("20 s after the lease was lost the service still runs")
		_ = p.Cmd.Process.Kill()
	}
}

// Terminated sends SIGTERM and fails the test unless the service exits with 0 within 10 s.
func (w *World) Terminated(p *Process) {
	w.Helper()
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		w.Fatal(err)
	}
	select {
	case err := <-p.Ended:
		if err != nil {
			w.Errorf("after SIGTERM: %v; want exit code 0", err)
		}
	case <-time.After(10 * time.Second):
		w.Fatal("10 s after SIGTERM the service still runs")
	}
}

var listening = regexp.MustCompile(`msg=listening addr=(\S+) `)

// addressIn passes on the output of a service and finds the address at which it listens.
type addressIn struct {
	to    io.Writer
	text  bytes.Buffer // until the address is found
	found chan string  // holds it
	over  bool
}

// Write implements io.Writer.
func (a *addressIn) Write(p []byte) (int, error) {
	if !a.over {
		a.text.Write(p)
		if found := listening.FindSubmatch(a.text.Bytes()); found != nil {
			a.found <- string(found[1])
			a.text, a.over = bytes.Buffer{}, true
		}
	}
	return a.to.Write(p)
}

var resident = regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB`)

// ResidentMB returns the peak resident memory of a process in MB, or 0 if the system does not
// report it.
func ResidentMB(t *testing.T, pid int) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	found := resident.FindSubmatch(status)
	if found == nil {
		t.Fatalf("no VmHWM in %s", status)
	}
	kb, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return float64(kb) / 1000
}
