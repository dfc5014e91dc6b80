package apptest

import "time"

const (
	RouteToken   = "route-token-123456"
	MostOfChaos  = 1500             // payments in one world, however long it goes on
	LongestQuiet = 4 * time.Minute  // in which all has to come to its end; it waits for the next retry of what failed often
	ChaosLife    = 25 * time.Second // of a credit
)
