//go:build race

package main

// underRace: the race detector is on, and everything takes some ten times as long.
const underRace = true
