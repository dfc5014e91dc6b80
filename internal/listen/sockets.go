package listen

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"notepay/internal/config"
)

// Sockets are the listeners of the service.
type Sockets struct {
	Main     net.Listener
	Redirect net.Listener // for http:// beside the built-in HTTPS; nil for none

	own []string // the names of those that no socket unit opened
}

// Open takes the sockets that systemd opened, and opens those that are missing. systemd keeps what
// notepay opened itself, so that the next process gets it and no connection is refused in between.
// The error says which setting to change.
func Open(s *config.Settings) (o Sockets, err error) {
	h, err := inherited(os.Getenv)
	if err != nil {
		return o, err
	}
	o = Sockets{Main: h.main, Redirect: h.redirect}
	redirects := s.TLS() && s.TLSRedirectAddr != config.RedirectOff
	if o.Main == nil && !redirects {
		o.Main, o.Redirect = o.Redirect, nil // behind a proxy, the only socket may be named http
	}
	if o.Main == nil {
		if o.Main, err = h.open(keptMain, s.Address()); err != nil {
			return o, errors.Join(mainError(s, err), o.Close(), h.drop())
		}
		o.own = append(o.own, keptMain)
	}
	switch {
	case !redirects && o.Redirect != nil:
		err = o.Redirect.Close()
		o.Redirect = nil
	case redirects && o.Redirect == nil:
		if o.Redirect, err = h.open(keptRedirect, s.TLSRedirectAddr); err != nil {
			return o, errors.Join(redirectError(s, err), o.Close(), h.drop())
		}
		o.own = append(o.own, keptRedirect)
	}
	return o, errors.Join(err, h.drop())
}

// Keep lets systemd keep the sockets that notepay opened itself for the next process. It does nothing
// without systemd.
func (o Sockets) Keep() (err error) {
	for _, name := range o.own {
		l := o.Main
		if name == keptRedirect {
			l = o.Redirect
		}
		err = errors.Join(err, keep(name, l))
	}
	return err
}

// Close closes the sockets. A server may have closed them already.
func (o Sockets) Close() (err error) {
	for _, l := range []net.Listener{o.Main, o.Redirect} {
		if l == nil {
			continue
		}
		if e := l.Close(); e != nil && !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// mainError returns why the main address cannot be opened, and which setting changes it.
func mainError(s *config.Settings, err error) error {
	switch {
	case errors.Is(err, syscall.EACCES):
		return privilegeError(s.Address())
	case !errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen: %w", err)
	case s.ListenAddr == "":
		return fmt.Errorf("port %d is taken by another program: set PORT or LISTEN_ADDR", s.Port)
	}
	return fmt.Errorf("%s is taken by another program: set LISTEN_ADDR", s.ListenAddr)
}

// redirectError returns why the port for http:// cannot be opened, and what to do.
func redirectError(s *config.Settings, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is taken by another program, perhaps a web server: stop it, or set TLS_REDIRECT_ADDR",
			s.TLSRedirectAddr)
	case errors.Is(err, syscall.EACCES):
		return privilegeError(s.TLSRedirectAddr)
	}
	return fmt.Errorf("listen: %w", err)
}

// privilegeError says how a port below 1024 is opened without root.
func privilegeError(addr string) error {
	return fmt.Errorf("%s may be opened by root only: run notepay by systemd with AmbientCapabilities=%s, "+
		"or set LISTEN_ADDR and TLS_REDIRECT_ADDR to ports above 1023", addr, "CAP_NET_BIND_SERVICE")
}
