//go:build unix

package recording

import (
	"os/signal"
	"syscall"
)

// ignoreSizeLimitSignal ignores the signal of a write beyond the limit on file sizes, which would
// end the process. The write then fails with an ordinary error.
func ignoreSizeLimitSignal() { signal.Ignore(syscall.SIGXFSZ) }
