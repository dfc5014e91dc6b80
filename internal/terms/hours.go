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
	text  string // as it was written
}

// clockLayout is what clocks show.
const clockLayout = "2006-01-02 15:04"

// span is a part of the week, in minutes since Monday 0:00.
type span struct{ from, to int }

// maxHoursText bounds the text of opening hours, in bytes.
const maxHoursText = 500

// hoursRule matches one rule in lower case: days, if any, and times.
var hoursRule = regexp.MustCompile(`^(?:([a-z]+)(?: ?- ?([a-z]+))?:? )?` +
	`([0-9]{1,2})(?::([0-9]{2}))? ?- ?([0-9]{1,2})(?::([0-9]{2}))?$`)

// ParseHours parses opening hours such as "Mo-Fr 06:00-22:00, Sa 08:00-20:00; Europe/Berlin". Without a
// time zone it takes the given one. If the text is none, why says so.
func ParseHours(text string, zone *time.Location) (h *Hours, why string) {
	if len(text) > maxHoursText {
		return nil, "is longer than 500 characters"
	}
	rules, place, hasZone := strings.Cut(text, ";")
	if hasZone {
		var err error
		place = strings.TrimSpace(place)
		if zone, err = zones.Named(place); err != nil { // case does not matter, as in the rules
			zone, err = zones.Named(zones.Spelled(place))
		}
		if err != nil || place == "" || place == "Local" {
			return nil, fmt.Sprintf("names no time zone such as Europe/Berlin: %.40q", place)
		}
	}
	h = &Hours{zone: zone, text: strings.TrimSpace(rules)}
	dashes := strings.NewReplacer("–", "-", "—", "-", "\u00a0", " ")
	for rule := range strings.SplitSeq(rules, ",") {
		rule = strings.ToLower(strings.Join(strings.Fields(dashes.Replace(rule)), " "))
		if rule == "" {
			continue
		}
		spans, why := parseRule(rule)
		if why != "" {
			return nil, fmt.Sprintf("%s: %.60q", why, rule)
		}
		h.spans = append(h.spans, spans...)
	}
	if len(h.spans) == 0 {
		return nil, "has no rule such as Mo-Fr 06:00-22:00"
	}
	slices.SortFunc(h.spans, func(a, b span) int { return a.from - b.from })
	return h, ""
}

// parseRule parses one rule.
func parseRule(rule string) (spans []span, why string) {
	match := hoursRule.FindStringSubmatch(rule)
	if match == nil {
		return nil, "is no rule such as Mo-Fr 06:00-22:00"
	}
	first, last := 0, 6
	if match[1] != "" {
		if first = weekday(match[1]); first < 0 {
			return nil, "has an unknown day"
		}
		last = first
		if match[2] != "" {
			if last = weekday(match[2]); last < 0 {
				return nil, "has an unknown day"
			}
		}
	}
	from, ok := minuteOfDay(match[3], match[4])
	to, okTo := minuteOfDay(match[5], match[6])
	if !ok || !okTo || from == minutesOfDay {
		return nil, "has an impossible time"
	}
	if from == to {
		return nil, "begins and ends at the same time"
	}
	if to < from {
		to += minutesOfDay // it ends on the next day
	}
	for day := first; ; day = (day + 1) % 7 {
		begin, end := day*minutesOfDay+from, day*minutesOfDay+to
		if end <= minutesOfWeek {
			spans = append(spans, span{begin, end})
		} else {
			spans = append(spans, span{begin, minutesOfWeek}, span{0, end - minutesOfWeek})
		}
		if day == last {
			return spans, ""
		}
	}
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

// String returns the hours as they were written, with their time zone.
func (h *Hours) String() string { return h.text + "; " + h.zone.String() }
