package ledger

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

const sharingViolation = syscall.Errno(32)

// lock takes the lock file at path, or returns ErrLocked. A file opened without sharing cannot be
// opened again until it is closed.
func lock(path string) (*os.File, error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	const access = syscall.GENERIC_READ | syscall.GENERIC_WRITE
	h, err := syscall.CreateFile(name, access, 0, nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		if errors.Is(err, sharingViolation) {
			err = ErrLocked
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return os.NewFile(uintptr(h), path), nil
}

func unlock(f *os.File) error { return f.Close() }

// lockInode does nothing, because Windows does not remove or replace an open file.
func lockInode(*os.File) error { return nil }

// identify returns 0, which means unknown, because Windows identifies only open files.
func identify(os.FileInfo) (inode, names uint64) { return 0, 1 }

// giveTo does nothing, because a new file inherits its rights from the directory.
func giveTo(owner, path string) {}
