//go:build !unix

package sdnotify

import (
	"errors"
	"net"
	"os"
)

// sendFile returns an error, because systemd does not run here.
func sendFile(*net.UnixConn, string, *os.File) error { return errors.ErrUnsupported }
