//go:build unix

package sdnotify

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// sendFile sends a state with a copy of a file. It does not use file.Fd, which makes a socket block
// its readers.
func sendFile(c *net.UnixConn, state string, file *os.File) error {
	from, err := c.SyscallConn()
	if err != nil {
		return err
	}
	what, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var writeErr, sendErr error
	err = what.Control(func(passed uintptr) {
		writeErr = from.Write(func(fd uintptr) (done bool) {
			sendErr = syscall.Sendmsg(int(fd), []byte(state), syscall.UnixRights(int(passed)), nil, 0)
			return !errors.Is(sendErr, syscall.EAGAIN)
		})
	})
	return errors.Join(err, writeErr, sendErr)
}
