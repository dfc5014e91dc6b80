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
}

// Open takes the sockets that systemd opened, and opens those that are missing. The error says which
// setting to change.
func Open(s *config.Settings) (o Sockets, err error) {
	if o.Main, o.Redirect, err = Inherited(os.Getenv); err != nil {
		return o, err
	}
	redirects := s.TLS() && s.TLSRedirectAddr != config.RedirectOff
	if o.Main == nil && !redirects {
		o.Main, o.Redirect = o.Redirect, nil // behind a proxy, the only socket may be named http
	}
	if o.Main == nil {
		if o.Main, err = net.Listen("tcp", s.Address()); err != nil {
			return o, errors.Join(mainError(s, err), o.Close())
		}
	}
	switch {
	case !redirects && o.Redirect != nil:
		err = o.Redirect.Close()
		o.Redirect = nil
		return o, err
	case redirects && o.Redirect == nil:
		if o.Redirect, err = net.Listen("tcp", s.TLSRedirectAddr); err != nil {
			return o, errors.Join(redirectError(s, err), o.Close())
		}
	}
	return o, nil
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
