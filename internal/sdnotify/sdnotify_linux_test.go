package sdnotify_test

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
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
