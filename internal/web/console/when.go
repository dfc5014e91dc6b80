package console

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// clockTolerance is how far a payment may be from the time of day that a caller names.
const clockTolerance = 15 * time.Minute

// weekdaysInGerman returns the days of the week from Sunday on.
func weekdaysInGerman() []string {
	return []string{"sonntag", "montag", "dienstag", "mittwoch", "donnerstag", "freitag", "samstag"}
}

// readDay parses a day, in English or German: "2026-11-21", "21.11.2026", "21.11.", "today", "gestern",
// "monday".
func readDay(word string, zone *time.Location, now time.Time) (time.Time, bool) {
	today := midnight(now, zone)
	switch word = strings.ToLower(word); word {
	case "today", "heute":
		return today, true
	case "yesterday", "gestern":
		return today.AddDate(0, 0, -1), true
	case "vorgestern":
		return today.AddDate(0, 0, -2), true
	case "sonnabend":
		word = "samstag"
	}
	for back := range 7 {
		day := today.AddDate(0, 0, -back)
		if strings.EqualFold(day.Weekday().String(), word) || weekdaysInGerman()[day.Weekday()] == word {
			return day, true
		}
	}
	for _, layout := range []string{dayLayout, "2.1.2006", "2.1.06"} {
		if t, err := time.ParseInLocation(layout, word, zone); err == nil {
			return t, true
		}
	}
	// Without its year, a day is the last one of that name. The year 2000 has a 29th of February.
	t, err := time.Parse("2.1.2006", word+"2000")
	if err != nil || !strings.HasSuffix(word, ".") {
		return time.Time{}, false
	}
	day := lastDay(t.Month(), t.Day(), zone, now)
	return day, !day.IsZero()
}

// readDate parses a day with the name of its month, as the console shows it: "21 Nov 2026", "21 Nov",
// "Nov 21". used is the number of fields that the day takes, 0 if there is none.
func readDate(fields []string, zone *time.Location, now time.Time) (day time.Time, used int) {
	if len(fields) < 2 {
		return day, 0
	}
	first, second, used := fields[0], fields[1], 2
	if strings.EqualFold(second, "of") && len(fields) > 2 { // "21st of November"
		second, used = fields[2], 3
	}
	number, month := dayNumber(first), monthNamed(second)
	if month == 0 {
		number, month = dayNumber(second), monthNamed(first)
	}
	if number == 0 || month == 0 {
		return day, 0
	}
	if len(fields) > used && yearNumber.MatchString(fields[used]) {
		year, _ := strconv.Atoi(fields[used]) // digits
		day = time.Date(year, month, number, 0, 0, 0, 0, zone)
		if day.Day() != number {
			return time.Time{}, 0
		}
		return day, used + 1
	}
	if day = lastDay(month, number, zone, now); day.IsZero() {
		return day, 0
	}
	return day, used
}

// readSlashedDay parses a day with slashes: "29/11", "29/11/2026". In German the day is first. In
// English it may also be the month, so only a number above 12 says which one it is.
func (l lang) readSlashedDay(word string, zone *time.Location, now time.Time) (time.Time, bool) {
	match := slashedDay.FindStringSubmatch(word)
	if match == nil {
		return time.Time{}, false
	}
	number, _ := strconv.Atoi(match[1]) // digits
	month, _ := strconv.Atoi(match[2])  // digits
	switch {
	case number <= 12 && month > 12:
		number, month = month, number
	case number <= 12 && number != month && !l.german():
		return time.Time{}, false
	}
	if month < 1 || month > 12 {
		return time.Time{}, false
	}
	if match[3] == "" {
		day := lastDay(time.Month(month), number, zone, now)
		return day, !day.IsZero()
	}
	year, _ := strconv.Atoi("20" + match[3][len(match[3])-2:]) // digits
	day := time.Date(year, time.Month(month), number, 0, 0, 0, 0, zone)
	return day, day.Day() == number
}

// slashedDay matches two numbers, and the year if it is given.
var slashedDay = regexp.MustCompile(`^([0-9]{1,2})/([0-9]{1,2})(?:/((?:20)?[0-9]{2}))?$`)

var (
	yearNumber = regexp.MustCompile(`^20[0-9]{2}$`)
	dayOrdinal = regexp.MustCompile(`^([0-9]{1,2})(?:st|nd|rd|th|\.)?$`)
)

// dayNumber returns the day of a month, or 0.
func dayNumber(word string) int {
	match := dayOrdinal.FindStringSubmatch(strings.ToLower(word))
	if match == nil {
		return 0
	}
	n, _ := strconv.Atoi(match[1]) // digits
	return n
}

// monthNamed returns the month that begins with a word of at least three letters, or 0.
func monthNamed(word string) time.Month {
	word = strings.ToLower(strings.TrimSuffix(word, "."))
	for month := time.January; month <= time.December; month++ {
		if len(word) >= 3 && strings.HasPrefix(strings.ToLower(month.String()), word) {
			return month
		}
	}
	return 0
}

// lastDay returns the last day of this name that has come, or the zero time.
func lastDay(month time.Month, number int, zone *time.Location, now time.Time) time.Time {
	today := midnight(now, zone)
	for back := range 5 { // each fourth year has a 29th of February
		day := time.Date(today.Year()-back, month, number, 0, 0, 0, 0, zone)
		if day.Day() == number && !day.After(today) {
			return day
		}
	}
	return time.Time{}
}

var (
	clockTime = regexp.MustCompile(`^([0-9]{1,2})(?::([0-5][0-9])(?::[0-5][0-9])?)?(am|pm|h)?$`)
	dotted    = regexp.MustCompile(`^[0-9]{1,2}\.[0-5][0-9]$`)
)

// readClock parses a time of day: "14:05", "2:05pm", "2 pm", "14 Uhr". A whole number is one only with
// "am", "pm", "h" or "Uhr", and "14.05" only with "Uhr". used is the number of fields that the time takes,
// 0 if there is none.
func readClock(field, following string) (sinceMidnight time.Duration, used int) {
	after := strings.ToLower(following)
	if after == "uhr" && dotted.MatchString(field) {
		field = strings.Replace(field, ".", ":", 1)
	}
	match := clockTime.FindStringSubmatch(strings.ToLower(field))
	if match == nil {
		return 0, 0
	}
	used = 1
	half := match[3]
	if half == "" && (after == "am" || after == "pm" || after == "h" || after == "uhr") {
		half, used = after, 2
	}
	if match[2] == "" && half == "" {
		return 0, 0
	}
	hour, _ := strconv.Atoi(match[1])   // digits
	minute, _ := strconv.Atoi(match[2]) // digits, or "": 0
	switch {
	case half != "am" && half != "pm":
		if hour > 23 {
			return 0, 0
		}
	case hour < 1 || hour > 12:
		return 0, 0
	default:
		hour %= 12
		if half == "pm" {
			hour += 12
		}
	}
	return time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute, used
}

// at narrows the search to a time of day. Without a day it is the last time that the clock showed it.
// at reports false if the search is about several days.
func (w *searchQuery) at(clock time.Duration, zone *time.Location, now time.Time) bool {
	day := w.Search.From
	if day.IsZero() && w.Search.To.IsZero() {
		day = midnight(now, zone)
		if clockOf(day, clock).After(now.Add(clockTolerance)) {
			day = day.AddDate(0, 0, -1)
		}
	} else if day.IsZero() || !w.Search.To.Equal(day.AddDate(0, 0, 1)) {
		return false
	}
	at := clockOf(day, clock)
	w.Search.From, w.Search.To = at.Add(-clockTolerance), at.Add(clockTolerance+time.Minute)
	return true
}

// clockOf returns the moment at which a day's clocks show a time.
func clockOf(day time.Time, clock time.Duration) time.Time {
	return time.Date(day.Year(), day.Month(), day.Day(), 0, int(clock/time.Minute), 0, 0, day.Location())
}

// readTimes notes how the search reads days and times.
func (w *searchQuery) readTimes(zone *time.Location) {
	const clockWords = "15:04"
	dayWords := w.lang.layout(layoutWeekdayDate)
	from, to := w.Search.From.In(zone), w.Search.To.In(zone)
	first, last := from.Format(dayWords), to.AddDate(0, 0, -1).Format(dayWords)
	switch {
	case w.Search.From.IsZero() && w.Search.To.IsZero():
	case w.Search.From.IsZero():
		w.read("paid until {day}", "day", last)
	case w.Search.To.IsZero():
		w.read("paid from {day} on", "day", first)
	case to.Equal(from.AddDate(0, 0, 1)) && from.Equal(midnight(from, zone)):
		w.read("paid on {day}", "day", first)
	case to.Sub(from) <= 2*clockTolerance+time.Minute:
		w.read("paid between {from} and {to} on {day}", "from", from.Format(clockWords),
			"to", to.Add(-time.Minute).Format(clockWords), "day", first)
	default:
		w.read("paid from {from} to {to}", "from", first, "to", last)
	}
}
