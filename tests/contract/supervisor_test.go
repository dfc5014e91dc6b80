//go:build linux

package contract

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// supervisor starts the service of the Debian package in a chroot as systemd does with the package's
// unit: with its user and the one capability. It waits until the service says that it is ready, and
// keeps the files that the service gives it for the next start.
type supervisor struct {
	*testing.T
	root   string // of the chroot
	notify *net.UnixConn
	log    lockedBuffer

	process *exec.Cmd
	exited  chan error
	kept    []*os.File // named as in systemd's store
}

// lockedBuffer collects what a process prints.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(text)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func newSupervisor(t *testing.T, root string) *supervisor {
	t.Helper()
	address := &net.UnixAddr{Name: "@notepay-supervisor-" + strconv.Itoa(os.Getpid()), Net: "unixgram"}
	notify, err := net.ListenUnixgram("unixgram", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &supervisor{T: t, root: root, notify: notify}
	t.Cleanup(func() {
		if s.process != nil && s.process.ProcessState == nil {
			_ = s.process.Process.Kill()
			<-s.exited
		}
		_ = notify.Close()
		for _, f := range s.kept {
			_ = f.Close()
		}
		if t.Failed() {
			t.Logf("the service says:\n%s", s.log.String())
		}
	})
	return s
}

// start starts the service and returns when it is ready.
func (s *supervisor) start() {
	s.Helper()
	text, err := os.ReadFile(s.root + "/etc/notepay/env")
	if err != nil {
		s.Fatal(err)
	}
	env := []string{"PATH=/usr/bin:/bin", "NOTIFY_SOCKET=" + s.notify.LocalAddr().String()}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			env = append(env, line)
		}
	}
	if len(s.kept) > 0 {
		var names []string
		for _, f := range s.kept {
			names = append(names, f.Name())
		}
		env = append(env, "LISTEN_FDS="+strconv.Itoa(len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	}
	// Each exec keeps the number of the process.
	const script = `umask 077; cd /var/lib/notepay; LISTEN_PID=$$ exec setpriv --reuid notepay --regid notepay \
		--clear-groups --no-new-privs --inh-caps -all,+net_bind_service --ambient-caps -all,+net_bind_service \
		--bounding-set -all,+net_bind_service /usr/bin/notepay serve`
	s.process = exec.Command("chroot", s.root, "sh", "-c", script)
	s.process.Env, s.process.ExtraFiles = env, s.kept
	s.process.Stdout, s.process.Stderr = &s.log, &s.log
	if err := s.process.Start(); err != nil {
		s.Fatal(err)
	}
	s.exited = make(chan error, 1)
	go func() { s.exited <- s.process.Wait() }()
	for deadline := time.Now().Add(waitTimeout); ; {
		state, file, err := s.next(time.Second)
		switch {
		case err == nil && state == "READY=1":
			return
		case err == nil && file != nil:
			s.keep(file)
		case errors.Is(err, os.ErrDeadlineExceeded) && len(s.exited) == 0 && time.Now().Before(deadline):
		case err != nil:
			s.Fatalf("the service is not ready: %v\n%s", err, s.log.String())
		}
	}
}

// next returns what the service says next, and the file that comes with it.
func (s *supervisor) next(wait time.Duration) (state string, file *os.File, err error) {
	if err := s.notify.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return "", nil, err
	}
	text, control := make([]byte, 200), make([]byte, 200)
	n, c, _, _, err := s.notify.ReadMsgUnix(text, control)
	if err != nil || c == 0 {
		return string(text[:n]), nil, err
	}
	messages, err := syscall.ParseSocketControlMessage(control[:c])
	if err != nil || len(messages) != 1 {
		return "", nil, errors.Join(err, io.ErrUnexpectedEOF)
	}
	passed, err := syscall.ParseUnixRights(&messages[0])
	if err != nil || len(passed) != 1 {
		return "", nil, errors.Join(err, io.ErrUnexpectedEOF)
	}
	syscall.CloseOnExec(passed[0])
	_, name, _ := strings.Cut(string(text[:n]), "FDNAME=")
	return string(text[:n]), os.NewFile(uintptr(passed[0]), name), nil
}

// keep stores a file. The unit allows two, and a file that was stored before counts once.
func (s *supervisor) keep(file *os.File) {
	s.Helper()
	for i, old := range s.kept {
		if old.Name() == file.Name() {
			_ = old.Close()
			s.kept[i] = file
			return
		}
	}
	s.kept = append(s.kept, file)
	if len(s.kept) > 2 {
		s.Fatalf("the service stores %d files; its unit allows two", len(s.kept))
	}
}

// stop stops the service in order.
func (s *supervisor) stop() {
	s.Helper()
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		s.Fatal(err)
	}
	timer := time.AfterFunc(15*time.Second, func() { _ = s.process.Process.Kill() }) // as the unit says
	defer timer.Stop()
	if err := <-s.exited; err != nil {
		s.Fatalf("the service does not stop in order: %v\n%s", err, s.log.String())
	}
}
