package web

import "time"

// Clock is a time of day as it is written without JavaScript, which knows the customer's time zone.
func Clock(t time.Time) string { return t.UTC().Format("15:04:05") + " UTC" }

// Date is a time with its day.
func Date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") + " UTC" }

// Stamp is a time as the script reads it.
func Stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
