//go:build unix

package recording

import (
	"os/signal"
	"syscall"
)

// limitIsAnError makes a write over a limit on the size of files an error like any other. Otherwise
// the signal would end the process.
func limitIsAnError() { signal.Ignore(syscall.SIGXFSZ) }
