package terms

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"notepay/internal/zones"
)

const (
	minutesOfDay  = 24 * 60
	minutesOfWeek = 7 * minutesOfDay
)

// Hours are the opening hours of a week, by the clocks of a time zone. The zero value is never open.
type Hours struct {
	spans []span // sorted
	zone  *time.Location
	text  string // as it was written, with the days of each part
}

// clockLayout is what clocks show.
const clockLayout = "2006-01-02 15:04"

// span is a part of the week, in minutes since Monday 0:00.
type span struct{ from, to int }

// maxHoursText bounds the text of opening hours, in bytes.
const maxHoursText = 500

// hoursShape matches one part of a rule in lower case: days, if any, and times.
var hoursShape = regexp.MustCompile(`^(?:([a-z]+)(?: ?- ?([a-z]+))?:? )?` +
	`([0-9]{1,2})(?::([0-9]{2}))? ?- ?([0-9]{1,2})(?::([0-9]{2}))?$`)

// ParseHours parses opening hours such as "Mo-Fr 08:00-12:00,13:00-18:00; Sa 10:00-14:00; Europe/Berlin".
// The syntax is a part of OpenStreetMap's, with a time zone. Without one it takes the given one. If the
// text is none, why says so.
func ParseHours(text string, zone *time.Location) (h *Hours, why string) {
	if len(text) > maxHoursText {
		return nil, "is longer than 500 characters"
	}
	rules := strings.Split(text, ";")
	last := strings.TrimSpace(rules[len(rules)-1])
	if len(rules) > 1 && !startsWithTimes(last) && !strings.ContainsAny(last, " ,") {
		if zone, why = parseHoursZone(last); why != "" {
			return nil, why
		}
		rules = rules[:len(rules)-1]
	}
	var parts []hoursPart
	var texts []string
	for _, rule := range rules {
		added, text, why := parseHoursRule(rule)
		if why != "" {
			return nil, why
		}
		for _, later := range added {
			for i := range parts {
				parts[i].drop(later.days)
			}
		}
		parts, texts = append(parts, added...), append(texts, text)
	}
	h = &Hours{zone: zone, text: strings.Join(texts, "; ")}
	for _, p := range parts {
		h.spans = append(h.spans, p.spans()...)
	}
	slices.SortFunc(h.spans, func(a, b span) int { return a.from - b.from })
	return h, ""
}

// parseHoursZone parses the time zone of opening hours. Case does not matter, as in the rules.
func parseHoursZone(name string) (zone *time.Location, why string) {
	zone, err := zones.Named(name)
	if err != nil {
		zone, err = zones.Named(zones.Spelled(name))
	}
	if err != nil || name == "" || name == "Local" {
		return nil, fmt.Sprintf("names no time zone such as Europe/Berlin: %.40q", name)
	}
	return zone, ""
}

// startsWithTimes reports whether a rule begins with what looks like days and times.
func startsWithTimes(rule string) bool {
	first, _, _ := strings.Cut(rule, ",")
	return hoursShape.MatchString(plainHours(first))
}

// plainHours returns a part of a rule in lower case, with plain dashes and single spaces.
func plainHours(part string) string {
	dashes := strings.NewReplacer("–", "-", "—", "-", "\u00a0", " ")
	return strings.ToLower(strings.Join(strings.Fields(dashes.Replace(part)), " "))
}

// hoursPart is a time of the day on some days of the week.
type hoursPart struct {
	days     [7]bool
	from, to int // in minutes; to may be on the next day
}

// drop takes days off, because a later rule sets their hours.
func (p *hoursPart) drop(days [7]bool) {
	for day, is := range days {
		p.days[day] = p.days[day] && !is
	}
}

// spans returns the parts of the week.
func (p *hoursPart) spans() (spans []span) {
	for day, is := range p.days {
		begin, end := day*minutesOfDay+p.from, day*minutesOfDay+p.to
		switch {
		case !is:
		case end <= minutesOfWeek:
			spans = append(spans, span{begin, end})
		default:
			spans = append(spans, span{begin, minutesOfWeek}, span{0, end - minutesOfWeek})
		}
	}
	return spans
}

// parseHoursRule parses the parts of a rule, with commas between them. A part without days has those
// of the part before it, and text names them in each part.
func parseHoursRule(rule string) (parts []hoursPart, text, why string) {
	days, named := [7]bool{true, true, true, true, true, true, true}, ""
	var texts []string
	for written := range strings.SplitSeq(rule, ",") {
		written = strings.TrimSpace(written)
		part := plainHours(written)
		if part == "" {
			continue
		}
		match := hoursShape.FindStringSubmatch(part)
		if match == nil {
			return nil, "", fmt.Sprintf("is no rule such as Mo-Fr 06:00-22:00: %.60q", part)
		}
		switch {
		case match[1] != "":
			if days, why = parseDays(match[1], match[2]); why != "" {
				return nil, "", fmt.Sprintf("%s: %.60q", why, part)
			}
			named = strings.TrimRight(written[:strings.IndexAny(written, "0123456789")], ": \t\u00a0") + " "
		case named != "":
			written = named + written
		}
		p := hoursPart{days: days}
		if p.from, p.to, why = parseTimes(match[3:]); why != "" {
			return nil, "", fmt.Sprintf("%s: %.60q", why, part)
		}
		parts, texts = append(parts, p), append(texts, written)
	}
	if len(parts) == 0 {
		return nil, "", "has no rule such as Mo-Fr 06:00-22:00"
	}
	return parts, strings.Join(texts, ", "), ""
}

// parseDays parses the first and the last day of a part, which may be "".
func parseDays(first, last string) (days [7]bool, why string) {
	from := weekday(first)
	to := from
	if last != "" {
		to = weekday(last)
	}
	if from < 0 || to < 0 {
		return days, "has an unknown day"
	}
	for day := from; ; day = (day + 1) % 7 {
		if days[day] = true; day == to {
			return days, ""
		}
	}
}

// parseTimes parses the hours and minutes of two times.
func parseTimes(match []string) (from, to int, why string) {
	from, ok := minuteOfDay(match[0], match[1])
	to, okTo := minuteOfDay(match[2], match[3])
	switch {
	case !ok || !okTo || from == minutesOfDay:
		return 0, 0, "has an impossible time"
	case from == to:
		return 0, 0, "begins and ends at the same time"
	case to < from:
		to += minutesOfDay // it ends on the next day
	}
	return from, to, ""
}

// weekday returns the number of a day, Monday is 0, or -1. A name may be cut to two letters.
func weekday(name string) int {
	for i, whole := range []string{"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"} {
		if len(name) >= 2 && strings.HasPrefix(whole, name) {
			return i
		}
	}
	return -1
}

func minuteOfDay(hour, minute string) (int, bool) {
	h, _ := strconv.Atoi(hour)   // digits
	m, _ := strconv.Atoi(minute) // digits, or "": 0
	return h*60 + m, m < 60 && h*60+m <= minutesOfDay
}

// minuteOfWeek returns what the clocks of the zone show.
func (h *Hours) minuteOfWeek(t time.Time) (local time.Time, minute int) {
	local = t.In(h.zone)
	day := (int(local.Weekday()) + 6) % 7
	return local, day*minutesOfDay + local.Hour()*60 + local.Minute()
}

// Open reports whether it is open at a time. No hours are always open.
func (h *Hours) Open(t time.Time) bool {
	if h == nil {
		return true
	}
	_, minute := h.minuteOfWeek(t)
	return slices.ContainsFunc(h.spans, func(s span) bool { return s.from <= minute && minute < s.to })
}

// Next returns when it opens next, if it is closed at a time.
func (h *Hours) Next(t time.Time) (next time.Time) {
	local, now := h.minuteOfWeek(t)
	today := now / minutesOfDay
	for _, s := range h.spans {
		ahead := (s.from/minutesOfDay - today + 7) % 7
		if ahead == 0 && s.from <= now {
			ahead = 7
		}
		at := time.Date(local.Year(), local.Month(), local.Day()+ahead, 0, s.from%minutesOfDay, 0, 0, h.zone)
		// When clocks are set back, they show some times twice. The first one that is still to come
		// counts.
		_, there := at.Zone()
		_, here := local.Zone()
		twin := at.Add(time.Duration(there-here) * time.Second)
		if twin.Format(clockLayout) == at.Format(clockLayout) && twin.After(t) && (twin.Before(at) || !at.After(t)) {
			at = twin
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}

// Zone returns the time zone of the hours.
func (h *Hours) Zone() *time.Location { return h.zone }

// String returns the hours as they were written, with the days of each part and their time zone.
func (h *Hours) String() string { return h.text + "; " + h.zone.String() }
