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

func TestReadSearch(t *testing.T) {
	t.Parallel()
	named := func(text string) []entry {
		return matching(
			byName([]*fleet.Device{
				{Device: ledger.Device{UID: "dev:1", Name: "Washer 1"}},
				{Device: ledger.Device{UID: "dev:2", Name: "Washer 12"}},
				{Device: ledger.Device{UID: "dev:3", Name: "Wäscherei"}},
			}),
			text,
		)
	}
	zone := time.FixedZone("east", 3600)
	day := time.Date(2026, 11, 21, 0, 0, 0, 0, zone)
	minor := func(n int64) *int64 { return &n }
	for typed, want := range map[string]searchQuery{
		"":                    {},
		"cr_7k3m9q2xh4abcdef": {Key: "cr_7k3m9q2xh4abcdef"},
		"cs_test_a1B2":        {Key: "cs_test_a1B2"},
		" pi_1 ":              {Key: "pi_1"},
		"evt_1":               {Key: "evt_1"},
		"4242":                {Search: ledger.Filter{Card: "4242"}},
		"2026-11-21":          {Search: ledger.Filter{From: day, To: day.AddDate(0, 0, 1)}},
		"3.50":                {Search: ledger.Filter{Amount: minor(350)}},
		"3,50":                {Search: ledger.Filter{Amount: minor(350)}},
		"3.5":                 {Search: ledger.Filter{Amount: minor(350)}},
		"€3.50":               {Search: ledger.Filter{Amount: minor(350), Currency: "eur"}},
		"3 EUR":               {Search: ledger.Filter{Amount: minor(300), Currency: "eur"}},
		"350 JPY":             {Search: ledger.Filter{Amount: minor(350), Currency: "jpy"}},
		"1.500 KWD":           {Search: ledger.Filter{Amount: minor(1500), Currency: "kwd"}},
		"3.50 eur 4242":       {Search: ledger.Filter{Amount: minor(350), Currency: "eur", Card: "4242"}},
		"washer":              {Search: ledger.Filter{Devices: []string{"dev:1", "dev:2"}}},
		"Washer 1":            {Search: ledger.Filter{Devices: []string{"dev:1"}}, Device: "Washer 1"},
		"WÄSCHE":              {Search: ledger.Filter{Devices: []string{"dev:3"}}, Device: "Wäscherei"},
		"DEV:2":               {Search: ledger.Filter{Devices: []string{"dev:2"}}, Device: "Washer 12"},
		"Dryer 7":             {Search: ledger.Filter{Name: "Dryer 7"}},
		"washer 12 2026-11-21": {
			Search: ledger.Filter{Devices: []string{"dev:2"}, From: day, To: day.AddDate(0, 0, 1)}, Device: "Washer 12",
		},
		"99999999999999999999": {Search: ledger.Filter{Name: "99999999999999999999"}},
	} {
		want.Text = strings.TrimSpace(typed)
		got, problem := readSearch(url.Values{"q": {typed}}, named, zone)
		if problem != "" || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v %q; want %+v", typed, got, problem, want)
		}
	}
	got, problem := readSearch(url.Values{"from": {"2026-11-20"}, "to": {"2026-11-21"}, "state": {"failed"}}, named,
		zone)
	if problem != "" || !got.Search.From.Equal(day.AddDate(0, 0, -1)) || !got.Search.To.Equal(day.AddDate(0, 0, 1)) ||
		len(got.Search.Delivery) != 1 {
		t.Errorf("%+v %q; want both days whole, and what failed", got, problem)
	}
	if _, problem := readSearch(url.Values{"from": {"21.11.2026"}}, named, zone); problem == "" {
		t.Errorf("a day in another form is taken")
	}
}

func TestParseAmount(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text, currency string
		want           int64
		ok             bool
	}{
		{"3.50", "eur", 350, true}, {"3,5", "eur", 350, true}, {"3", "eur", 300, true}, {" 3 ", "jpy", 3, true},
		{"1.5", "kwd", 1500, true},
		{"3.505", "eur", 0, false}, {"3.5", "jpy", 0, false}, {"-3", "eur", 0, false}, {"", "eur", 0, false},
		{"1e3", "eur", 0, false}, {"0x10", "eur", 0, false},
		{"999999999999", "eur", 99999999999900, true}, {"9999999999999", "eur", 0, false},
	} {
		if got, ok := parseAmount(c.text, c.currency); got != c.want || ok != c.ok {
			t.Errorf("%q %s: %d, %v; want %d, %v", c.text, c.currency, got, ok, c.want, c.ok)
		}
	}
}
