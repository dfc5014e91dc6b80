//go:build !linux

package ledger

import "errors"

// NetworkDisk returns errors.ErrUnsupported on this system.
func NetworkDisk(string) (string, error) { return "", errors.ErrUnsupported }
