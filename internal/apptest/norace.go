//go:build !race

package apptest

const UnderRace = false
