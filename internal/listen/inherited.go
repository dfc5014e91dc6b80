package listen

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// firstFD is the first file descriptor that systemd passes (sd_listen_fds).
const firstFD = 3

// plainName is the name of the socket for http://, as FileDescriptorName in a systemd socket unit.
const plainName = "http"

// Inherited returns the listeners that systemd opened for this process, nil for none. The one with
// the name http is for http://. Without names, the first is the main one, and the second for
// http://.
func Inherited(getenv func(string) string) (main, plain net.Listener, err error) {
	n, err := strconv.Atoi(getenv("LISTEN_FDS"))
	if err != nil || n < 1 || getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil, nil
	}
	names := strings.Split(getenv("LISTEN_FDNAMES"), ":")
	var rest []net.Listener
	for i := range min(n, 16) {
		name := ""
		if i < len(names) {
			name = names[i]
		}
		file := os.NewFile(uintptr(firstFD+i), name)
		l, err := net.FileListener(file) // a copy that child processes do not inherit
		_ = file.Close()
		if err != nil {
			return nil, nil, fmt.Errorf("socket %d of systemd: %w", i+1, err)
		}
		if name == plainName && plain == nil {
			plain = l
		} else {
			rest = append(rest, l)
		}
	}
	if len(rest) > 0 {
		main, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 && plain == nil {
		plain, rest = rest[0], rest[1:]
	}
	for _, l := range rest {
		if err := l.Close(); err != nil {
			return nil, nil, err
		}
	}
	return main, plain, nil
}
