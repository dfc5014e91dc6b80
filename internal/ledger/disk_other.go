//go:build !linux

package ledger

import "errors"

// NetworkDisk names the network file system that a path is on; here that cannot be found out
// (errors.ErrUnsupported).
func NetworkDisk(string) (string, error) { return "", errors.ErrUnsupported }
