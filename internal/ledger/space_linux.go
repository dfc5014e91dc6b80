package ledger

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
)

// SpaceAt returns the space on the disk of a path. The file need not exist. SpaceAt returns
// errors.ErrUnsupported if the file system does not report it.
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
