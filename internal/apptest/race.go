//go:build race

package apptest

// UnderRace: the race detector is on, and everything takes some ten times as long.
const UnderRace = true
