package web

import "time"

// Clock formats a time of day in UTC. A page's script replaces it with the customer's time zone.
func Clock(t time.Time) string { return t.UTC().Format("15:04:05") + " UTC" }

// Date formats a day and a time of day in UTC.
func Date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") + " UTC" }

// Stamp formats a time for scripts (RFC 3339).
func Stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
