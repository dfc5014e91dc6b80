package terms

import (
	"slices"
	"testing"
	"time"
)

func TestParseHours(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text, at, next string // next: "" if it is open
	}{
		{"Mo-Fr 06:00-22:00, Sa 08:00-20:00; Europe/Berlin", "2026-11-30 05:59", "2026-11-30 06:00"}, // a Monday
		{"Mo-Fr 06:00-22:00, Sa 08:00-20:00; Europe/Berlin", "2026-11-30 06:00", ""},
		{"Mo-Fr 06:00-22:00, Sa 08:00-20:00; Europe/Berlin", "2026-11-30 21:59", ""},
		{"Mo-Fr 06:00-22:00, Sa 08:00-20:00; Europe/Berlin", "2026-11-30 22:00", "2026-12-01 06:00"},
		{"Mo-Fr 06:00-22:00, Sa 08:00-20:00; Europe/Berlin", "2026-12-05 20:00", "2026-12-07 06:00"},
		{"  mo – fr  6-22 ,sa 8-20;  Europe/Berlin ", "2026-12-05 07:00", "2026-12-05 08:00"},
		{"Mo-Fr 06:00-22:00; america/NEW_YORK", "2026-11-30 07:00", "2026-11-30 06:00"},
		{"Monday-Friday: 6:00 - 22:00", "2026-12-06 12:00", "2026-12-07 06:00"},
		{"06:00-22:00", "2026-12-06 23:00", "2026-12-07 06:00"},
		{"00:00-24:00", "2026-12-06 23:59", ""},
		{"Fr-Su 22:00-02:00", "2026-12-07 01:59", ""}, // the night from Sunday to Monday
		{"Fr-Su 22:00-02:00", "2026-12-07 02:00", "2026-12-11 22:00"},
		{"Sa-Mo 10:00-12:00", "2026-12-07 11:00", ""},
		{"Sa-Mo 10:00-12:00", "2026-12-08 11:00", "2026-12-12 10:00"},
		{"Mo 06:00-08:00, Mo 18:00-20:00", "2026-11-30 09:00", "2026-11-30 18:00"},
		{"Mo 10:00-12:00", "2026-11-30 12:00", "2026-12-07 10:00"},
		{"Su 02:30-04:00", "2026-03-29 01:00", "2026-03-29 03:30"}, // 2:30 does not exist on this day
		// a lunch break
		{"Mo-Fr 08:00-12:00,13:00-18:00", "2026-11-30 12:30", "2026-11-30 13:00"},
		{"Mo-Fr 08:00-12:00,13:00-18:00", "2026-12-04 17:59", ""},
		{"Mo-Fr 08:00-12:00,13:00-18:00", "2026-12-05 14:00", "2026-12-07 08:00"}, // a Saturday
		{"Mo-Fr 08:00-12:00, , 13:00-15:00, 16:00-18:00", "2026-12-05 17:00", "2026-12-07 08:00"},
		{"08:00-12:00, 13:00-18:00", "2026-12-05 14:00", ""},
		{"13:00-18:00, Mo-Fr 08:00-12:00", "2026-12-05 14:00", ""},
		{"Fr 22:00-02:00, 10:00-12:00", "2026-12-05 11:00", "2026-12-11 10:00"},
		{"Mo-Fr 08:00-12:00,13:00-18:00, Sa 10:00-14:00", "2026-12-05 13:00", ""},
		// a semicolon begins a new rule, which replaces the days that it names
		{"Mo-Fr 08:00-12:00,13:00-18:00; Sa 10:00-14:00; Europe/Berlin", "2026-12-05 13:00", ""},
		{"Mo-Fr 08:00-12:00,13:00-18:00; Sa 10:00-14:00", "2026-12-06 13:00", "2026-12-07 08:00"},
		{"Mo-Su 08:00-18:00; We 08:00-12:00", "2026-12-02 13:00", "2026-12-03 08:00"},
		{"Mo-Su 08:00-18:00; We 08:00-12:00", "2026-12-01 13:00", ""},
		{"Mo-Fr 08:00-12:00; 13:00-18:00", "2026-12-05 14:00", ""},
		{"Mo-Fr 08:00-12:00; 13:00-18:00", "2026-11-30 09:00", "2026-11-30 13:00"},
		// single days before a time
		{"Mo,We,Fr-Sa 08:00-12:00", "2026-11-30 12:00", "2026-12-02 08:00"},
		{"Mo,We,Fr-Sa 08:00-12:00", "2026-12-05 11:59", ""},
		{"Mo, We: 08:00-12:00,13:00-18:00, Fr 10:00-14:00", "2026-12-02 17:00", ""},
		{"Mo, We: 08:00-12:00,13:00-18:00, Fr 10:00-14:00", "2026-12-02 18:00", "2026-12-04 10:00"},
		// the whole day, and not at all
		{"24/7", "2026-12-06 23:59", ""},
		{"24/7; Europe/Berlin", "2026-12-06 23:59", ""},
		{"24/7; Su off; Europe/Berlin", "2026-12-06 12:00", "2026-12-07 00:00"},
		{"Mo-Su 08:00-18:00; Sa,Su OFF", "2026-12-05 12:00", "2026-12-07 08:00"},
		{"Mo-Su 08:00-18:00, Su closed", "2026-12-06 12:00", "2026-12-07 08:00"},
		{"Mo-Su 08:00-18:00, Su: closed", "2026-12-05 12:00", ""},
		{"Su off; 08:00-18:00", "2026-12-06 12:00", ""},    // the later rule counts
		{"Sa 22:00-02:00; Su off", "2026-12-06 01:00", ""}, // Saturday's night
		{"Mo-Fr 06:00-22:00; Etc/GMT-1", "2026-11-30 05:59", "2026-11-30 06:00"},
	} {
		h, why := ParseHours(c.text, berlin)
		if why != "" {
			t.Errorf("%q: %s", c.text, why)
			continue
		}
		at, _ := time.ParseInLocation("2006-01-02 15:04", c.at, berlin)
		if h.Open(at) != (c.next == "") {
			t.Errorf("%q is open at %s: %v", c.text, c.at, h.Open(at))
		} else if next := h.Next(at.UTC()).Format("2006-01-02 15:04"); c.next != "" && next != c.next {
			t.Errorf("%q at %s: it opens at %s; want %s", c.text, c.at, next, c.next)
		}
	}
	// At 3:00 summer time the clocks are set back to 2:00, and show 2:30 once more.
	h, why := ParseHours("Su 02:30-04:00", berlin)
	if why != "" {
		t.Fatal(why)
	}
	for at, next := range map[string]string{
		"2026-10-25T00:15:00Z": "2026-10-25T00:30:00Z", // 2:15 summer time
		"2026-10-25T00:45:00Z": "",
		"2026-10-25T01:15:00Z": "2026-10-25T01:30:00Z", // 2:15 winter time
		"2026-10-25T01:30:00Z": "",
		"2026-10-25T03:00:00Z": "2026-11-01T01:30:00Z",
	} {
		now, _ := time.Parse(time.RFC3339, at)
		if h.Open(now) != (next == "") {
			t.Errorf("open at %s: %v", at, h.Open(now))
		} else if got := h.Next(now).UTC().Format(time.RFC3339); next != "" && got != next {
			t.Errorf("at %s it opens at %s; want %s", at, got, next)
		}
	}
	for _, text := range []string{
		"", ";", "; Europe/Berlin", "Mo-Fr", "Xx 06:00-22:00", "Mo-Xx 6-22", "M 6-22", "Mo 25:00-26:00",
		"Mo 06:60-07:00",
		"Mo 06:00-06:00", "Mo 24:00-06:00", "06:00-22:00; Mars/Olympus", "06:00-22:00;", "06:00-22:00; Local", "closed",
		"Mo off", "Mo-Fr 08:00-12:00; closed", "Mo,We", "Mo 08:00-12:00, We", "PH off", "Mo-Fr 08:00-12:00; PH off",
		"Mo we 08:00-12:00", "24/6", "off-off 08:00-12:00",
		"06:00-22:00 Europe/Berlin", "06:00-22:00; Europe/Berlin; Mo 6-7", "06:00-22:00; Su 25:00-26:00",
		"Mo-Fr 08:00-12:00;; Europe/Berlin",
	} {
		if _, why := ParseHours(text, berlin); why == "" {
			t.Errorf("%q is taken for opening hours", text)
		}
	}
	if h := (*Hours)(nil); !h.Open(time.Now()) {
		t.Error("without hours it is closed")
	}
}

// People read the hours in the console. Each part has to name its days, because not everybody reads a
// time behind a comma as these hours do.
func TestHoursAreShownAsTheyAreSold(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Mo-Fr 06:00-22:00, Sa 08:00-20:00; Europe/Berlin": "Mo-Fr 06:00-22:00, Sa 08:00-20:00; Europe/Berlin",
		"Mo-Fr 08:00-12:00,13:00-18:00":                    "Mo-Fr 08:00-12:00, Mo-Fr 13:00-18:00; UTC",
		"monday–Friday: 8-12,13-18":                        "monday–Friday: 8-12, monday–Friday 13-18; UTC",
		"Mo 8-12;Sa 10-14,15 - 16":                         "Mo 8-12; Sa 10-14, Sa 15 - 16; UTC",
		"06:00-12:00,,13:00-22:00":                         "06:00-12:00, 13:00-22:00; UTC",
		"Mo-Fr 08:00-12:00; 13:00-18:00":                   "Mo-Fr 08:00-12:00; 13:00-18:00; UTC",
		"Mo, We 8-12,13-18, Su off":                        "Mo,We 8-12, Mo,We 13-18, Su off; UTC",
		"24/7 ; Su closed":                                 "24/7; Su closed; UTC",
	} {
		h, why := ParseHours(text, time.UTC)
		if why != "" {
			t.Errorf("%q: %s", text, why)
			continue
		}
		if h.String() != want {
			t.Errorf("%q is shown as %q; want %q", text, h, want)
		}
		again, why := ParseHours(h.String(), time.UTC)
		if why != "" || again.String() != want || !slices.Equal(again.spans, h.spans) {
			t.Errorf("%q is read as %v, %s; want the hours of %q", h, again, why, text)
		}
	}
}
