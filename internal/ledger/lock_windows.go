package ledger

import (
	"errors"
	"fmt"
	"syscall"
)

const sharingViolation = syscall.Errno(32)

// lock takes the lock file at path, or returns ErrLocked: opened for no sharing, it cannot be opened again until it is closed.
func lock(path string) (unlock func() error, err error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		if errors.Is(err, sharingViolation) {
			err = ErrLocked
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() error { return syscall.CloseHandle(h) }, nil
}
