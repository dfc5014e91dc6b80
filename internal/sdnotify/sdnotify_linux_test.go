package sdnotify_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"notepay/internal/sdnotify"
)

func TestRun(t *testing.T) {
	t.Parallel()
	for _, socket := range []string{filepath.Join(t.TempDir(), "s"), "@notepay-test-" + filepath.Base(t.TempDir())} {
		address := &net.UnixAddr{Name: socket, Net: "unixgram"}
		l, err := net.ListenUnixgram("unixgram", address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		env := map[string]string{"NOTIFY_SOCKET": socket, "WATCHDOG_USEC": "30000"}
		ctx, stop := context.WithCancel(t.Context())
		var hangs atomic.Bool
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			sdnotify.Run(ctx, func(name string) string { return env[name] }, slog.New(slog.DiscardHandler),
				func(ctx context.Context) {
					if hangs.Load() {
						<-ctx.Done()
					}
				})
		}()
		next := func(wait time.Duration) string {
			buffer := make([]byte, 100)
			if err := l.SetReadDeadline(time.Now().Add(wait)); err != nil {
				t.Fatal(err)
			}
			n, err := l.Read(buffer)
			if err != nil {
				return ""
			}
			return string(buffer[:n])
		}
		for _, want := range []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1"} {
			if got := next(10 * time.Second); got != want {
				t.Errorf("%q; want %q", got, want)
			}
		}
		hangs.Store(true)
		for next(200*time.Millisecond) != "" { // what was sent before
		}
		stop()
		<-ended
		last := ""
		for got := next(200 * time.Millisecond); got != ""; got = next(200 * time.Millisecond) {
			last = got
		}
		if last != "STOPPING=1" {
			t.Errorf("%q at the end; want STOPPING=1", last)
		}
	}
}

func TestNotifyWithoutSystemd(t *testing.T) {
	t.Parallel()
	if err := sdnotify.Notify(func(string) string { return "" }, "READY=1"); err != nil {
		t.Error(err)
	}
	gone := func(string) string { return "/no/such/socket" }
	if err := sdnotify.Notify(gone, "READY=1"); err == nil {
		t.Error("a socket that does not exist was notified")
	}
}

// TestKeep passes an open file to a socket like systemd's, which gets another descriptor of it.
func TestKeep(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	getenv := func(string) string { return socket }
	if err := sdnotify.Keep(getenv, "main", file); err != nil {
		t.Fatal(err)
	}
	if err := sdnotify.Drop(getenv, "main"); err != nil {
		t.Fatal(err)
	}
	state, control := make([]byte, 100), make([]byte, 100)
	n, c, _, _, err := l.ReadMsgUnix(state, control)
	if err != nil || string(state[:n]) != "FDSTORE=1\nFDNAME=main" {
		t.Fatalf("%q, %v; want a file to keep", state[:n], err)
	}
	messages, err := syscall.ParseSocketControlMessage(control[:c])
	if err != nil || len(messages) != 1 {
		t.Fatalf("%v, %v; want one control message", messages, err)
	}
	passed, err := syscall.ParseUnixRights(&messages[0])
	if err != nil || len(passed) != 1 {
		t.Fatalf("%v, %v; want one file", passed, err)
	}
	got := os.NewFile(uintptr(passed[0]), "passed")
	defer got.Close()
	if _, err := got.WriteString("kept"); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(file.Name()); err != nil || string(text) != "kept" {
		t.Errorf("%q, %v; want the same file", text, err)
	}
	if n, err := l.Read(state); err != nil || string(state[:n]) != "FDSTOREREMOVE=1\nFDNAME=main" {
		t.Errorf("%q, %v; want it dropped", state[:n], err)
	}
}
