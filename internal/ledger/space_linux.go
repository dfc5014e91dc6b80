package ledger

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
)

// SpaceAt returns the room on the disk of a path, whether the file exists yet or not. It returns
// errors.ErrUnsupported where the file system does not tell.
func SpaceAt(path string) (Space, error) {
	var fs syscall.Statfs_t
	err := syscall.Statfs(path, &fs)
	if errors.Is(err, syscall.ENOENT) {
		err = syscall.Statfs(filepath.Dir(path), &fs)
	}
	if err != nil {
		return Space{}, fmt.Errorf("read the free space at %s: %w", path, err)
	}
	if fs.Blocks == 0 || fs.Frsize <= 0 {
		return Space{}, errors.ErrUnsupported
	}
	return Space{Free: fs.Bavail * uint64(fs.Frsize), Total: fs.Blocks * uint64(fs.Frsize)}, nil
}
