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
				{Device: ledger.Device{UID: "dev:4", Name: "Locker 4242"}},
				{Device: ledger.Device{UID: "dev:a", Name: "Shower"}},
				{Device: ledger.Device{UID: "dev:b", Name: "shower"}}, // two machines may have one name
				{Device: ledger.Device{UID: "dev:c", Name: "Shower 2"}},
				{Device: ledger.Device{UID: "dev:5", Name: "Waschmaschine 3"}},
			}),
			text,
		)
	}
	zone := time.FixedZone("east", 3600)
	now := time.Date(2026, 11, 21, 15, 0, 0, 0, zone) // a Saturday
	around := func(day, hour, minute int) ledger.Filter {
		at := time.Date(2026, 11, day, hour, minute, 0, 0, zone)
		return ledger.Filter{From: at.Add(-15 * time.Minute), To: at.Add(16 * time.Minute)}
	}
	with := func(f ledger.Filter, card, device string) ledger.Filter {
		f.Card, f.Devices = card, []string{device}
		return f
	}
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
		"Shower":              {Search: ledger.Filter{Devices: []string{"dev:a", "dev:b"}}},
		"Dryer 7":             {Search: ledger.Filter{Name: "Dryer 7"}},
		"washer 12 2026-11-21": {
			Search: ledger.Filter{Devices: []string{"dev:2"}, From: day, To: day.AddDate(0, 0, 1)}, Device: "Washer 12",
		},
		"2 washer 12, 4242": {
			Search:  ledger.Filter{Devices: []string{"dev:2"}, Card: "4242"},
			Device:  "Washer 12",
			Ignored: []string{"2"},
		},
		"locker 4242":       {Search: ledger.Filter{Devices: []string{"dev:4"}}, Device: "Locker 4242"},
		"locker 4242 4242":  {Search: ledger.Filter{Devices: []string{"dev:4"}, Card: "4242"}, Device: "Locker 4242"},
		"card 4242,3,50":    {Search: ledger.Filter{Card: "4242", Name: "3 50"}},
		"card 4242, 3,50":   {Search: ledger.Filter{Card: "4242", Amount: minor(350)}},
		"casey@example.com": {Email: "casey@example.com"},
		"14:05":             {Search: around(21, 14, 5)},
		"at 14:05":          {Search: around(21, 14, 5)},
		"15:10":             {Search: around(21, 15, 10)},
		"23:50":             {Search: around(20, 23, 50)},
		"2:05pm":            {Search: around(21, 14, 5)},
		"2 pm, yesterday":   {Search: around(20, 14, 0)},
		"12am 20.11.2026":   {Search: around(20, 0, 0)},
		"14:05 friday":      {Search: around(20, 14, 5)},
		"14:05 20.11.":      {Search: around(20, 14, 5)},
		"22.11.":            {Search: ledger.Filter{From: day.AddDate(-1, 0, 1), To: day.AddDate(-1, 0, 2)}},
		"Today":             {Search: ledger.Filter{From: day, To: day.AddDate(0, 0, 1)}},
		"yesterday":         {Search: ledger.Filter{From: day.AddDate(0, 0, -1), To: day}},
		"24:05":             {Search: ledger.Filter{Name: "24:05"}},
		"washer 1 did not start, card 4242 at 14:05": {
			Search: with(around(21, 14, 5), "4242", "dev:1"), Device: "Washer 1",
		},
		"Waschmaschine 3 um 14:05": {Search: with(around(21, 14, 5), "", "dev:5"), Device: "Waschmaschine 3"},
		"Waschmaschine 3, nicht gestartet, Karte 4242, gestern um 14 Uhr": {
			Search: with(around(20, 14, 0), "4242", "dev:5"), Device: "Waschmaschine 3",
		},
		"Die Waschmaschine 3 ist nicht gestartet": {
			Search: ledger.Filter{Devices: []string{"dev:5"}}, Device: "Waschmaschine 3",
		},
		"nicht gestartet":            {},
		"Karte 4242":                 {Search: ledger.Filter{Card: "4242"}},
		"Karte endet auf 4242":       {Search: ledger.Filter{Card: "4242"}},
		"heute":                      {Search: ledger.Filter{From: day, To: day.AddDate(0, 0, 1)}},
		"Gestern":                    {Search: ledger.Filter{From: day.AddDate(0, 0, -1), To: day}},
		"vorgestern":                 {Search: ledger.Filter{From: day.AddDate(0, 0, -2), To: day.AddDate(0, 0, -1)}},
		"am Freitag gegen 14.05 Uhr": {Search: around(20, 14, 5)},
		"Sonnabend":                  {Search: ledger.Filter{From: day, To: day.AddDate(0, 0, 1)}},
		"14:05 20.11.26":             {Search: around(20, 14, 5)},
		"3,50 Euro":                  {Search: ledger.Filter{Amount: minor(350), Currency: "eur"}},
		"3,50 und Karte 4242":        {Search: ledger.Filter{Amount: minor(350), Card: "4242"}},
		"3.50 for washer 1": {
			Search: ledger.Filter{Amount: minor(350), Devices: []string{"dev:1"}}, Device: "Washer 1",
		},
		"24.05 Uhr": {Search: ledger.Filter{Amount: minor(2405)}},
		"wäscherei door stuck": {
			Search: ledger.Filter{Devices: []string{"dev:3"}}, Device: "Wäscherei", Ignored: []string{"door", "stuck"},
		},
		"wäscherei 7":          {Search: ledger.Filter{Name: "wäscherei 7"}},
		"99999999999999999999": {Search: ledger.Filter{Name: "99999999999999999999"}},
	} {
		want.Text = strings.TrimSpace(typed)
		got, problem := readSearch(lang{}, url.Values{"q": {typed}}, named, zone, now)
		got.Read = nil
		if problem != "" || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v %q; want %+v", typed, got, problem, want)
		}
	}
	got, problem := readSearch(lang{}, url.Values{"from": {"2026-11-20"}, "to": {"2026-11-21"},
		"state": {"failed"}}, named,
		zone, now)
	if problem != "" || !got.Search.From.Equal(day.AddDate(0, 0, -1)) || !got.Search.To.Equal(day.AddDate(0, 0, 1)) ||
		len(got.Search.Delivery) != 1 {
		t.Errorf("%+v %q; want both days whole, and what failed", got, problem)
	}
	if _, problem := readSearch(lang{}, url.Values{"from": {"21.11.2026"}}, named, zone, now); problem == "" {
		t.Errorf("a day in another form is taken")
	}
	two := url.Values{"from": {"2026-11-20"}, "to": {"2026-11-21"}, "q": {"14:05"}}
	if _, problem := readSearch(lang{}, two, named, zone, now); problem == "" {
		t.Errorf("a time of two days is taken")
	}
	read, _ := readSearch(lang{}, url.Values{"q": {"washer 1, 4242, 3.50 EUR, 14:05"}, "state": {"failed"}}, named,
		zone, now)
	want := "state did not start, or not known; card ending in 4242; amount 3.50 EUR; machine Washer 1; " +
		"paid between 13:50 and 14:20 on Sat 21 Nov 2026"
	if got := strings.Join(read.Read, "; "); got != want {
		t.Errorf("it says %q; want %q", got, want)
	}
	german, err := readLang("de")
	if err != nil {
		t.Fatal(err)
	}
	call := url.Values{"q": {"Waschmaschine 3 um 14.05 Uhr nicht gestartet, Karte 4242, 3,50 Euro"}}
	read, _ = readSearch(german, call, named, zone, now)
	want = "Karte endet auf 4242; Betrag 3,50 EUR; Maschine Waschmaschine 3; " +
		"bezahlt am 21.11.2026 zwischen 13:50 und 14:20"
	if got := strings.Join(read.Read, "; "); got != want {
		t.Errorf("in German it says %q; want %q", got, want)
	}
}

func TestSearchReadsADayWithSlashes(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("east", 3600)
	now := time.Date(2026, 11, 30, 15, 0, 0, 0, zone)
	named := func(text string) []entry {
		return matching(byName([]*fleet.Device{{Device: ledger.Device{UID: "dev:1", Name: "Washer 2/3"}}}), text)
	}
	german, err := readLang("de")
	if err != nil {
		t.Fatal(err)
	}
	for typed, want := range map[string][2]string{ // the day in English and in German, "": none
		"29/11":            {"2026-11-29", "2026-11-29"},
		"11/29":            {"2026-11-29", "2026-11-29"},
		"1/12":             {"", "2025-12-01"},
		"5/11":             {"", "2026-11-05"},
		"11/11":            {"2026-11-11", "2026-11-11"},
		"29/11/2025":       {"2025-11-29", "2025-11-29"},
		"29/11/25":         {"2025-11-29", "2025-11-29"},
		"29/2":             {"2024-02-29", "2024-02-29"},
		"29/2/2026":        {"", ""},
		"31/11":            {"", ""},
		"30/30":            {"", ""},
		"0/5":              {"", ""},
		"29/11/1999":       {"", ""},
		"2/3":              {"", ""}, // a machine is named so
		"washer 2/3 29/11": {"2026-11-29", "2026-11-29"},
	} {
		for i, l := range []lang{{}, german} {
			got, problem := readSearch(l, url.Values{"q": {typed}}, named, zone, now)
			day := ""
			if !got.Search.From.IsZero() {
				day = got.Search.From.Format(dayLayout)
			}
			if problem != "" || day != want[i] || day != "" && !got.Search.To.Equal(got.Search.From.AddDate(0, 0, 1)) {
				t.Errorf("%q in %s is %q %s; want %q", typed, l.Tag(), day, problem, want[i])
			}
		}
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
