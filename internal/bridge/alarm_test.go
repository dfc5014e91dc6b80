package bridge

import (
	"testing"
	"time"
)

func TestAlarm(t *testing.T) {
	t.Parallel()
	at := func(minute int) time.Time { return time.Date(2026, 3, 1, 12, minute, 0, 0, time.UTC) }
	due := func(row, now time.Time) func(*alarm) { return func(a *alarm) { a.dueAt(row, now) } }
	for name, c := range map[string]struct {
		next     time.Time // zero: the worker is awake
		obscured bool
		event    func(*alarm)
		rings    bool
	}{
		"a row that is due earlier":           {at(10), false, due(at(9), at(1)), true},
		"a row that is due when it looks":     {at(10), false, due(at(10), at(1)), false},
		"a row that is due later":             {at(10), false, due(at(11), at(1)), false},
		"a row without a time":                {at(10), false, due(time.Time{}, at(1)), true},
		"a row while it reads":                {time.Time{}, false, due(at(11), at(1)), true},
		"a row that is due by a new clock":    {at(10), false, due(at(20), at(21)), true},
		"a free device that no row waits for": {at(10), false, (*alarm).freed, false},
		"a free device that a row waits for":  {at(10), true, (*alarm).freed, true},
		"a free device while it reads":        {time.Time{}, false, (*alarm).freed, true},
		"another cause":                       {at(10), false, (*alarm).ring, true},
	} {
		a := newAlarm()
		a.sleepUntil(c.next, c.obscured)
		c.event(a)
		if rings := len(a.wake) == 1; rings != c.rings {
			t.Errorf("%s rings: %t; want %t", name, rings, c.rings)
		}
	}
}
