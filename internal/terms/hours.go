package terms

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

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

// daysShape and timesShape match the days and the times of a part in lower case. The words for times
// are OpenStreetMap's.
var (
	daysShape  = regexp.MustCompile(`^([a-z]+)(?: ?- ?([a-z]+))?$`)
	timesShape = regexp.MustCompile(
		`^(?:([0-9]{1,2})(?::([0-9]{2}))? ?- ?([0-9]{1,2})(?::([0-9]{2}))?|` + alwaysOpen + `|off|closed)$`)
)

const (
	alwaysOpen = "24/7"

	// notRule and noRule say that a part is no rule, and that a text has none.
	notRule = "is no rule such as Mo-Fr 06:00-22:00"
	noRule  = "has no rule such as Mo-Fr 06:00-22:00"
)

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
	if len(h.spans) == 0 {
		return nil, "is never open; payment_enabled=false takes a machine out of sale"
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
	days, times := cutTimes(strings.TrimSpace(first))
	return timesShape.MatchString(plainHours(times)) && (days == "" || daysShape.MatchString(plainHours(days)))
}

// cutTimes cuts a part of a rule into its days and its times. Each may be "".
func cutTimes(part string) (days, times string) {
	at := strings.IndexAny(part, "0123456789")
	if at < 0 {
		at = strings.LastIndexFunc(part, func(r rune) bool { return unicode.IsSpace(r) || r == ':' })
		if at++; !timesShape.MatchString(plainHours(part[at:])) { // no word for closed
			at = len(part)
		}
	}
	return strings.TrimRight(part[:at], ": \t\u00a0"), part[at:]
}

// plainHours returns a part of a rule in lower case, with plain dashes and single spaces.
func plainHours(part string) string {
	dashes := strings.NewReplacer("–", "-", "—", "-", "\u00a0", " ")
	return strings.ToLower(strings.Join(strings.Fields(dashes.Replace(part)), " "))
}

// hoursPart is a time of the day on some days of the week.
type hoursPart struct {
	days     [7]bool
	from, to int // in minutes; to may be on the next day, and equals from if it is closed
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
		case !is || begin == end:
		case end <= minutesOfWeek:
			spans = append(spans, span{begin, end})
		default:
			spans = append(spans, span{begin, minutesOfWeek}, span{0, end - minutesOfWeek})
		}
	}
	return spans
}

// parseHoursRule parses the parts of a rule, with commas between them. Days without times have those of
// the part behind them. A part without days has those of the part before it, and text names them in
// each part.
func parseHoursRule(rule string) (parts []hoursPart, text, why string) {
	p := hoursPart{days: [7]bool{true, true, true, true, true, true, true}}
	var named, texts []string // the days of p, and the parts, as they are written
	waiting := false          // the days have no times yet
	for written := range strings.SplitSeq(rule, ",") {
		written = strings.TrimSpace(written)
		if written == "" {
			continue
		}
		days, times := cutTimes(written)
		if days != "" {
			if !waiting {
				p.days, named = [7]bool{}, nil
			}
			if why := p.addDays(plainHours(days)); why != "" {
				return nil, "", fmt.Sprintf("%s: %.60q", why, plainHours(written))
			}
			named = append(named, days)
		}
		if waiting = times == ""; waiting {
			continue
		}
		if p.from, p.to, why = parseTimes(plainHours(times)); why != "" {
			return nil, "", fmt.Sprintf("%s: %.60q", why, plainHours(written))
		}
		if p.from == p.to {
			for i := range parts {
				parts[i].drop(p.days)
			}
		}
		if len(named) > 1 || days == "" && len(named) > 0 {
			written = strings.Join(named, ",") + " " + times
		}
		parts, texts = append(parts, p), append(texts, written)
	}
	if len(parts) == 0 || waiting {
		return nil, "", noRule
	}
	return parts, strings.Join(texts, ", "), ""
}

// addDays adds a day, or the first and the last day of some.
func (p *hoursPart) addDays(days string) (why string) {
	match := daysShape.FindStringSubmatch(days)
	if match == nil {
		return notRule
	}
	from := weekday(match[1])
	to := from
	if match[2] != "" {
		to = weekday(match[2])
	}
	if from < 0 || to < 0 {
		return "has an unknown day"
	}
	for day := from; ; day = (day + 1) % 7 {
		if p.days[day] = true; day == to {
			return ""
		}
	}
}

// parseTimes parses the times of a part. If it is closed, they are equal.
func parseTimes(times string) (from, to int, why string) {
	match := timesShape.FindStringSubmatch(times)
	switch {
	case match == nil:
		return 0, 0, notRule
	case times == alwaysOpen:
		return 0, minutesOfDay, ""
	case match[1] == "": // off or closed
		return 0, 0, ""
	}
	from, ok := minuteOfDay(match[1], match[2])
	to, okTo := minuteOfDay(match[3], match[4])
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
