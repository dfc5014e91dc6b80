//go:build race

package bridge

// underRace reports whether the race detector is on, which makes everything about ten times slower.
const underRace = true
