// Package sdnotify tells systemd that the service is ready, alive or stopping.
//
// It promises to do nothing where systemd does not ask for it. It does not know whether the service
// works, which the caller's function says.
package sdnotify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Notify sends a state such as READY=1. It does nothing without NOTIFY_SOCKET.
func Notify(getenv func(string) string, state string) error { return send(getenv, state, nil) }

// Keep gives systemd a copy of a file under a name, which may hold no colon. The next process of the
// service gets it (FileDescriptorStoreMax in the unit). Keep does nothing without NOTIFY_SOCKET.
func Keep(getenv func(string) string, name string, file *os.File) error {
	return send(getenv, "FDSTORE=1\nFDNAME="+name, file)
}

// Drop makes systemd close what Keep gave it under a name.
func Drop(getenv func(string) string, name string) error {
	return Notify(getenv, "FDSTOREREMOVE=1\nFDNAME="+name)
}

// send sends a state, with a file if there is one.
func send(getenv func(string) string, state string, file *os.File) (err error) {
	socket := getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	if name, abstract := strings.CutPrefix(socket, "@"); abstract {
		socket = "\x00" + name
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if file != nil {
		return sendFile(c, state, file)
	}
	_, err = c.Write([]byte(state))
	return err
}

// watchdog returns within which time systemd expects a sign of life, or 0 if it expects none.
func watchdog(getenv func(string) string) time.Duration {
	us, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	if pid := getenv("WATCHDOG_PID"); err != nil || us <= 0 || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	return time.Duration(us) * time.Microsecond
}

// Run reports that the service is ready, and then signs of life, until ctx ends. It sends one
// whenever alive has returned. An alive that hangs makes systemd restart the service.
func Run(ctx context.Context, getenv func(string) string, log *slog.Logger, alive func(context.Context)) {
	tell := func(state string) {
		if err := Notify(getenv, state); err != nil {
			log.Warn("systemd not notified", "err", err)
		}
	}
	tell("READY=1")
	if every := watchdog(getenv) / 3; every > 0 {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for ctx.Err() == nil {
			alive(ctx)
			tell("WATCHDOG=1")
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}
	<-ctx.Done()
	tell("STOPPING=1")
}
