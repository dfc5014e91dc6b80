//go:build race

package apptest

// UnderRace reports whether the race detector is on. Everything then takes about ten times as long.
const UnderRace = true
