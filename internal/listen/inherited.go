package listen

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"notepay/internal/sdnotify"
)

// firstFD is the first file descriptor that systemd passes (sd_listen_fds).
const firstFD = 3

// plainName is the name of the socket for http://, as FileDescriptorName in a systemd socket unit.
const plainName = "http"

// The names under which systemd keeps the sockets that notepay opened itself.
const (
	keptMain     = "notepay-main"
	keptRedirect = "notepay-redirect"
)

// handed are the listeners that systemd passes to this process.
type handed struct {
	main, redirect net.Listener            // of socket units; nil for none
	kept           map[string]net.Listener // of an earlier process of this service
}

// inherited returns the listeners that systemd opened for this process or kept for it. Of the opened
// ones, the one with the name http is for http://. Without names, the first is the main one, and the
// second for http://.
func inherited(getenv func(string) string) (h handed, err error) {
	n, err := strconv.Atoi(getenv("LISTEN_FDS"))
	if err != nil || n < 1 || getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return h, nil
	}
	names := strings.Split(getenv("LISTEN_FDNAMES"), ":")
	h.kept = map[string]net.Listener{}
	var rest []net.Listener
	for i := range min(n, 16) {
		name := ""
		if i < len(names) {
			name = names[i]
		}
		file := os.NewFile(uintptr(firstFD+i), name)
		l, err := net.FileListener(file) // a copy that child processes do not inherit
		_ = file.Close()
		switch kept := name == keptMain || name == keptRedirect; {
		case err != nil && kept:
			// It is opened again.
		case err != nil:
			return h, fmt.Errorf("socket %d of systemd: %w", i+1, err)
		case kept && h.kept[name] == nil:
			h.kept[name] = l
		case name == plainName && h.redirect == nil:
			h.redirect = l
		default:
			rest = append(rest, l)
		}
	}
	if len(rest) > 0 {
		h.main, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 && h.redirect == nil {
		h.redirect, rest = rest[0], rest[1:]
	}
	for _, l := range rest {
		err = errors.Join(err, l.Close())
	}
	return h, err
}

// open returns the kept listener of a name if it has the address, or a new one.
func (h *handed) open(name, address string) (net.Listener, error) {
	if l := h.kept[name]; l != nil {
		delete(h.kept, name)
		if at(l, address) {
			return l, nil
		}
		if err := errors.Join(l.Close(), sdnotify.Drop(os.Getenv, name)); err != nil {
			return nil, err
		}
		// systemd closes its copy a moment later, and the new address may overlap the old one.
		for range 20 {
			if l, err := net.Listen("tcp", address); !errors.Is(err, syscall.EADDRINUSE) {
				return l, err
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	return net.Listen("tcp", address)
}

// drop closes the kept listeners that are not used.
func (h *handed) drop() (err error) {
	for name, l := range h.kept {
		err = errors.Join(err, l.Close(), sdnotify.Drop(os.Getenv, name))
	}
	return err
}

// at reports whether a listener has an address of the settings, such as :443.
func at(l net.Listener, address string) bool {
	wanted, err := net.ResolveTCPAddr("tcp", address)
	got, ok := l.Addr().(*net.TCPAddr)
	if err != nil || !ok || wanted.Port != got.Port {
		return false
	}
	a, b := wanted.AddrPort().Addr().Unmap(), got.AddrPort().Addr().Unmap()
	return a == b || unspecified(a) && unspecified(b)
}

// unspecified reports whether an address means all of this computer.
func unspecified(a netip.Addr) bool { return !a.IsValid() || a.IsUnspecified() }

// keep gives systemd a copy of a listener for the next process of this service.
func keep(name string, l net.Listener) error {
	tcp, ok := l.(*net.TCPListener)
	if !ok || os.Getenv("NOTIFY_SOCKET") == "" {
		return nil
	}
	file, err := tcp.File()
	if err != nil {
		return err
	}
	return errors.Join(sdnotify.Keep(os.Getenv, name, file), file.Close())
}
