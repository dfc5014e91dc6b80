//go:build !linux

package ledger

import "errors"

// SpaceAt returns errors.ErrUnsupported on this system.
func SpaceAt(string) (Space, error) { return Space{}, errors.ErrUnsupported }
