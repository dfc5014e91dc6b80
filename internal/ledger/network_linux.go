package ledger

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
)

// NetworkDisk returns the kind of network file system that holds path, "" for a local disk. The
// file need not exist. Locks and syncs of network file systems do not keep SQLite's promises
// (sqlite.org/howtocorrupt.html, 2.1 and 3.1).
func NetworkDisk(path string) (string, error) {
	var fs syscall.Statfs_t
	err := syscall.Statfs(path, &fs)
	if errors.Is(err, syscall.ENOENT) {
		err = syscall.Statfs(filepath.Dir(path), &fs)
	}
	if err != nil {
		return "", fmt.Errorf("look at the disk of %s: %w", path, err)
	}
	return networkKind(uint32(fs.Type)), nil // the magic numbers have 32 bits
}

// networkKind returns the name of a network file system by its magic number in statfs(2).
func networkKind(number uint32) string {
	switch number {
	case 0x6969:
		return "nfs"
	case 0xff534d42, 0xfe534d42, 0x517b:
		return "cifs"
	case 0x65735546:
		return "fuse"
	case 0x01021997:
		return "9p"
	case 0x00c36400:
		return "ceph"
	case 0x5346414f:
		return "afs"
	case 0x0bd00bd0:
		return "lustre"
	case 0x47504653:
		return "gpfs"
	}
	return ""
}
