package terms

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseLifetime(t *testing.T) {
	t.Parallel()
	plain, confirming, polling := Rules{}, Rules{ConfirmWithin: time.Minute}, Rules{SeenWithin: 10 * time.Minute}
	for _, c := range []struct {
		rules Rules
		text  string
		want  time.Duration
		why   string // part of the reason
	}{
		{plain, "10m", 10 * time.Minute, ""},
		{plain, " 10s ", 10 * time.Second, ""},
		{plain, "0", 0, ""},
		{plain, "0s", 0, ""},
		{plain, "1s", 0, "at least 10s"},
		{plain, "9.999s", 0, "at least 10s"},
		{plain, "-5m", 0, "at least 10s"},
		{plain, "10", 0, "duration"},
		{plain, "soon", 0, "duration"},
		{plain, "", 0, "duration"},
		{plain, "10 m", 0, "duration"},
		{plain, "9999999999h", 0, "duration"},
		{plain, "87600h", 87_600 * time.Hour, ""},
		{plain, "2562047h", 0, "at most 87600h"},
		{confirming, "0", 0, "CONFIRM_WITHIN"},
		{confirming, "20s", 20 * time.Second, ""},
		{polling, "5m", 0, "POLL_INTERVAL"},
		{polling, "10m", 10 * time.Minute, ""},
		{polling, "0", 0, ""},
	} {
		d, why := c.rules.ParseLifetime(c.text)
		if (why == "") != (c.why == "") || !strings.Contains(why, c.why) || why == "" && d != c.want {
			t.Errorf("%+v: %q is %v, %q; want %v, %q", c.rules, c.text, d, why, c.want, c.why)
		}
	}
}

func TestConfirmation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rules Rules
		why   string // part of the reason
	}{
		{Rules{}, ""},
		{Rules{ConfirmWithin: -time.Second}, "below 0"},
		{Rules{ConfirmWithin: 9 * time.Second}, "at least 10s"},
		{Rules{ConfirmWithin: 10 * time.Second}, ""},
		{Rules{SeenWithin: 10 * time.Minute}, ""},
		{Rules{SeenWithin: 10 * time.Minute, ConfirmWithin: 10*time.Minute - 1}, "POLL_INTERVAL"},
		{Rules{SeenWithin: 10 * time.Minute, ConfirmWithin: 10 * time.Minute}, ""},
	} {
		if why := c.rules.Confirmation(); (why == "") != (c.why == "") || !strings.Contains(why, c.why) {
			t.Errorf("%+v: %q; want %q", c.rules, why, c.why)
		}
	}
}

func TestPrices(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text  string
		ids   []string
		wrong string // part of what is wrong
	}{
		{"price_1", []string{"price_1"}, ""},
		{" price_1 ,, price_2,", []string{"price_1", "price_2"}, ""},
		{"price_1,price_1", []string{"price_1"}, "twice"},
		{"prod_1,price_1", []string{"price_1"}, `"prod_1"`},
		{"price_", nil, `"price_"`},
		{"PRICE_1", nil, "not a price id"},
		{"price_1;price_2", nil, "not a price id"},
		{"price_" + strings.Repeat("x", 201), nil, "not a price id"},
		{" , ", nil, "names no price"},
	} {
		ids, wrong := Prices(c.text)
		if !slices.Equal(ids, c.ids) || (len(wrong) == 0) != (c.wrong == "") ||
			!strings.Contains(fmt.Sprint(wrong), c.wrong) {
			t.Errorf("%q: %q, wrong %v; want %q, %q", c.text, ids, wrong, c.ids, c.wrong)
		}
		for _, w := range wrong {
			if len(w.String()) > 120 {
				t.Errorf("%d bytes about what is wrong: %v", len(w.String()), w)
			}
		}
	}
}

func TestSwitch(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"true": "on", " TRUE ": "on", "1": "on", "yes": "on", "On": "on",
		"false": "off", "0": "off", "no": "off", "OFF": "off",
		"": "?", "flase": "?", `"false"`: "?", "2": "?", "disabled": "?",
	} {
		on, ok := Switch(text)
		got := map[bool]string{true: "on", false: "off"}[on]
		if !ok {
			got = "?"
		}
		if got != want {
			t.Errorf("%q is %s; want %s", text, got, want)
		}
	}
}

func TestPulsesAndOutput(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		text           string
		pulses, output int64 // -1: not possible
	}{
		{"0", -1, 0}, {"1", 1, 1}, {" 7 ", 7, 7}, {"255", 255, 255}, {"256", 256, -1}, {"1000", 1000, -1},
		{"1001", -1, -1}, {"-1", -1, -1}, {"+1", -1, -1}, {"1.0", -1, -1}, {"1e2", -1, -1}, {"0x1", -1, -1},
		{"", -1, -1}, {"two", -1, -1},
		{"99999999999999999999", -1, -1}, {"1_0", -1, -1},
	} {
		for name, c := range map[string]struct {
			parse func(string) (int64, string)
			want  int64
		}{"pulses": {Pulses, row.pulses}, "output": {Output, row.output}} {
			n, why := c.parse(row.text)
			if (why == "") != (c.want >= 0) || n != max(c.want, 0) {
				t.Errorf("%s %q: %d, %q; want %d", name, row.text, n, why, c.want)
			}
		}
	}
}
