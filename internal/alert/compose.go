package alert

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"notepay/internal/notify"
)

// message returns a message with all but its text.
func (a *Alerter) message(t *target, kind Kind, number int64, state string, keys map[string]bool,
	now time.Time) notify.Message {
	parts := []string{t.ID, string(kind), fmt.Sprint(number), state}
	return notify.Message{
		ID:     messageID(append(parts, slices.Sorted(maps.Keys(keys))...)...),
		Kind:   string(kind),
		State:  state,
		Link:   pageLink(a.c.Link, kind.page()),
		Count:  len(keys),
		Urgent: kind.urgent() && state == notify.Open,
		At:     now,
	}
}

// compose returns the message that something is wrong. fresh are the items that the target does not
// know, and keys those of all open items.
func (a *Alerter) compose(t *target, kind Kind, number int64, fresh []*item, keys map[string]bool,
	now time.Time) notify.Message {
	slices.SortFunc(fresh, func(x, y *item) int { return cmp.Or(x.first.Compare(y.first), cmp.Compare(x.Key, y.Key)) })
	m := a.message(t, kind, number, notify.Open, keys, now)
	m.Title = a.c.Name + ": " + kind.title(len(keys))
	var lines []string
	for _, i := range fresh[:min(len(fresh), maxLines)] {
		lines = append(lines, i.Text)
	}
	if more := len(fresh) - maxLines; more > 0 {
		lines = append(lines, fmt.Sprintf("And %d more.", more))
	}
	if before := len(keys) - len(fresh); before > 0 {
		lines = append(lines, fmt.Sprintf("Still open from before: %d.", before))
	}
	m.Text = strings.Join(lines, "\n")
	if len(fresh) == 1 && len(keys) == 1 && fresh[0].Page != "" {
		m.Link = pageLink(a.c.Link, fresh[0].Page)
	}
	return m
}
