//go:build !race

package apptest

// UnderRace reports whether the race detector is on.
const UnderRace = false
