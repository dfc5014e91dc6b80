package console

import (
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
)

// What operators type while a customer is on the telephone.
func TestReadSearchOfACall(t *testing.T) {
	t.Parallel()
	named := func(text string) []entry {
		return matching(byName([]*fleet.Device{
			{Device: ledger.Device{UID: "dev:3", Name: "Washer 3"}},
			{Device: ledger.Device{UID: "dev:30", Name: "Washer 30"}},
			{Device: ledger.Device{UID: "dev:5", Name: "May 5"}},
		}), text)
	}
	now := time.Date(2026, 11, 21, 15, 0, 0, 0, time.UTC)
	day := func(year int, month time.Month, day int) ledger.Filter {
		at := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
		return ledger.Filter{From: at, To: at.AddDate(0, 0, 1)}
	}
	washer := func(f ledger.Filter) ledger.Filter {
		f.Devices = []string{"dev:3"}
		return f
	}
	at := time.Date(2026, 11, 21, 14, 5, 0, 0, time.UTC)
	call := ledger.Filter{Card: "4242", From: at.Add(-15 * time.Minute), To: at.Add(16 * time.Minute)}
	for typed, want := range map[string]ledger.Filter{
		"20 Nov":           day(2026, time.November, 20),
		"20 Nov 2025":      day(2025, time.November, 20),
		"Nov 20, 2025":     day(2025, time.November, 20),
		"20. november":     day(2026, time.November, 20),
		"20th of November": day(2026, time.November, 20),
		"22 Nov":           day(2025, time.November, 22), // has not come yet
		"29 Feb":           day(2024, time.February, 29),
		"washer 3 20 Nov":  washer(day(2026, time.November, 20)),
		"31 Nov":           {Name: "31 Nov"},
		"May 5":            {Devices: []string{"dev:5"}},
		"washer3":          washer(ledger.Filter{}),
		"14:05, card 4242, washer 3, it did not start":                   washer(call),
		"it didn't start, 14:05, card ending in 4242, it was washer 3":   washer(call),
		"The customer says: washer 3, my card's last digits were 4242":   washer(ledger.Filter{Card: "4242"}),
		"the customer called about washer 3 but 4242 was charged at all": washer(ledger.Filter{Card: "4242"}),
	} {
		got, problem := readSearch(lang{}, url.Values{"q": {typed}}, named, time.UTC, now)
		if problem != "" || !reflect.DeepEqual(got.Search, want) {
			t.Errorf("%q: %+v %q; want %+v", typed, got.Search, problem, want)
		}
	}
	got, _ := readSearch(lang{}, url.Values{"q": {"14:05, washer 3, it did not start"}}, named, time.UTC, now)
	if len(got.Ignored) > 0 {
		t.Errorf("it says that it left out %s", strings.Join(got.Ignored, " "))
	}
}
