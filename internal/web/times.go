package web

import "time"

// Clock formats a time of day in the zone. A page's script shows it in the reader's own format.
func Clock(t time.Time, zone *time.Location) string { return t.In(zone).Format("15:04:05 MST") }

// Date formats a day and a time of day in the zone.
func Date(t time.Time, zone *time.Location) string { return t.In(zone).Format("2006-01-02 15:04 MST") }

// Stamp formats a time for scripts (RFC 3339).
func Stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
