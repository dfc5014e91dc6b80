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

// lock takes the lock file at path, or returns ErrLocked. The kernel releases the lock when the
// process ends, in whatever way.
func lock(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if err := flock(f); err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		// Another process may have removed the file between open and lock. A lock on a file without
		// a name excludes no process.
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

// unlock releases a lock. Closing alone is not enough: a child process that is just being started
// keeps the descriptor until it runs its own program.
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

// lockInode locks the database itself, which may have a second path, such as a bind mount of the
// file. It only works on Linux: other systems and network file systems mix these locks with
// SQLite's.
func lockInode(f *os.File) error {
	if network, err := NetworkDisk(f.Name()); runtime.GOOS != "linux" || network != "" || err != nil {
		return nil
	}
	if err := flock(f); errors.Is(err, ErrLocked) {
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return nil // the file system has no such locks
}

// identify returns a file's inode and its number of names (hard links).
func identify(info os.FileInfo) (inode, names uint64) {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Ino), uint64(s.Nlink)
	}
	return 0, 1
}

// giveTo gives a file the owner of another file, or of its directory, as far as permitted. Root may
// restore the ledger of a service that does not run as root.
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
