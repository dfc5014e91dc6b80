//go:build race

package bridge

// underRace: the race detector is on, and everything takes some ten times as long.
const underRace = true
