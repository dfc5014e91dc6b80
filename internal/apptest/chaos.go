package apptest

import "time"

const (
	RouteToken  = "route-token-123456"
	MostOfChaos = 1500 // payments in one world, however long it goes on
	// in which all has to come to its end; it waits for the next retry of what failed often
	LongestQuiet = 4 * time.Minute
	ChaosLife    = 25 * time.Second // of a credit
)
