//go:build unix

package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// lock takes the lock file at path, or returns ErrLocked. The kernel releases it when the process
// ends, however it ends.
func lock(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if err := flock(f); err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		// Between opening and locking, the file may have been removed. A lock on a file without a
		// name keeps nobody out.
		held, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, unlock(f))
		}
		if named, err := os.Stat(path); err == nil && os.SameFile(held, named) {
			return f, nil
		}
		if err := unlock(f); err != nil {
			return nil, err
		}
	}
}

// unlock releases a lock. Closing alone would leave it to a process that we are just starting,
// until that process runs its own program.
func unlock(f *os.File) error {
	return errors.Join(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close())
}

func flock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

// lockInode locks the database itself, which may be reached under a second path, such as a mount of
// this one file. Only Linux keeps these locks apart from those that SQLite takes, and network file
// systems do not.
func lockInode(f *os.File) error {
	if network, err := NetworkDisk(f.Name()); runtime.GOOS != "linux" || network != "" || err != nil {
		return nil
	}
	if err := flock(f); errors.Is(err, ErrLocked) {
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return nil // a file system without such locks
}

// identify returns the number of a file in its file system, and how many names (hard links) it has.
func identify(info os.FileInfo) (inode, names uint64) {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Ino), uint64(s.Nlink)
	}
	return 0, 1
}

// giveTo makes a file belong to the owner of another, or of its directory, as far as this process
// may: root may restore the ledger of a service that is not root.
func giveTo(owner, path string) {
	info, err := os.Stat(owner)
	if err != nil {
		info, err = os.Stat(filepath.Dir(owner))
	}
	if err != nil {
		return
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		_ = os.Chown(path, int(s.Uid), int(s.Gid))
	}
}
