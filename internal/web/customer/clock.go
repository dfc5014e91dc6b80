package customer

import (
	"regexp"
	"strings"
	"time"

	"notepay/internal/web"
)

// moment is a time of day where the machine stands. Without a script, pages show it as it is written
// here. A script shows it in the browser's format.
type moment struct {
	at   time.Time
	zone *time.Location
}

func (m moment) in(l Language) string { return l.digits(m.at.In(zoneOr(m.zone)).Format("15:04 MST")) }

// opening is when a machine opens, where it stands. Its day is left out if that is today.
type opening struct {
	moment
	now time.Time
}

func (o opening) in(l Language) string {
	at, now := o.at.In(zoneOr(o.zone)), o.now.In(zoneOr(o.zone))
	if at.YearDay() == now.YearDay() && at.Year() == now.Year() {
		return l.digits(at.Format("15:04"))
	}
	return l.digits(at.Format("2006-01-02 15:04"))
}

// zoneOr returns the zone, or UTC for none.
func zoneOr(zone *time.Location) *time.Location {
	if zone == nil {
		return time.UTC
	}
	return zone
}

// zone returns the time zone of the machines.
func (c *Handler) zone() *time.Location { return zoneOr(c.Zone) }

// zoneName matches the names of time zones that browsers know as well.
var zoneName = regexp.MustCompile(`^(UTC|[A-Za-z]+(/[A-Za-z0-9_+-]+)+)$`)

// ZoneName returns the machines' time zone for scripts, or "" for one that browsers do not know.
// Browsers then show their own.
func (v view) ZoneName() string {
	if name := v.zone.String(); zoneName.MatchString(name) {
		return name
	}
	return ""
}

// Now returns the service's time in Unix milliseconds, because the browser's clock may be wrong.
func (v view) Now() int64 { return v.now.UnixMilli() }

// countdown is a wait that a page's script counts down by the second.
type countdown struct {
	text        Message // with the placeholder wait, which is an about
	wait        about
	from, until time.Time
}

// part returns how much of the countdown is left, in percent. It changes together with the text, so
// that the page changes no more often.
func (c countdown) part() int {
	left, all := c.wait.shown(), c.until.Sub(c.from)
	if all <= 0 {
		return 0
	}
	return int(min(max(100*left/all, 0), 100))
}

// countdownView is a countdown in one language.
type countdownView struct {
	Before, Wait, After string // the text around the wait
	From, Until         string // for scripts
	Part                int
}

func (c countdown) in(l Language) *countdownView {
	if c.until.IsZero() {
		return nil
	}
	v := &countdownView{From: web.Stamp(c.from), Until: web.Stamp(c.until), Part: c.part(), Wait: c.wait.in(l)}
	v.Before, v.After, _ = strings.Cut(l.Translate(c.text), v.Wait)
	return v
}

// lineView is a sentence with at most one time in it.
type lineView struct{ Before, Clock, Stamp, After string }

// lineOf translates a sentence, and separates the time in it, if there is one.
func lineOf(l Language, m Message) lineView {
	text := l.Translate(m)
	for i := 1; i < len(m.args); i += 2 {
		if at, ok := m.args[i].(moment); ok {
			v := lineView{Clock: at.in(l), Stamp: web.Stamp(at.at)}
			v.Before, v.After, _ = strings.Cut(text, v.Clock)
			return v
		}
	}
	return lineView{Before: text}
}
