//go:build !linux

package ledger

import "errors"

// SpaceAt returns the room on the disk of a path; here the system does not tell
// (errors.ErrUnsupported).
func SpaceAt(string) (Space, error) { return Space{}, errors.ErrUnsupported }
