package customer

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

func TestBrandStyleIsReadable(t *testing.T) {
	t.Parallel()
	rule := regexp.MustCompile(`--accent: (#[0-9a-f]{6}); --accent-ink: (#[0-9a-f]{6});`)
	for _, color := range []string{
		"#000000", "#ffffff", "#ffff00", "#0b6b4f", "ff0000", "#777777", "#0000FF", "#17211e", "#00ff00",
	} {
		found := rule.FindAllStringSubmatch(Brand{Color: color}.Style(), -1)
		if len(found) != 2 {
			t.Fatalf("%s: style %q; want one rule for light and one for dark", color, Brand{Color: color}.Style())
		}
		for i, ground := range []shade{lightBackground, darkBackground} {
			accent, _ := parseShade(found[i][1])
			ink, _ := parseShade(found[i][2])
			if c := contrast(accent, ground); c < minContrast-0.05 {
				t.Errorf("%s on %s: contrast %.2f; want %.1f", accent, ground, c, minContrast)
			}
			if c := contrast(ink, accent); c < minContrast {
				t.Errorf("a button of %s with words of %s: contrast %.2f; want %.1f", accent, ink, c, minContrast)
			}
		}
	}
	if style := (Brand{Color: "#0b6b4f"}).Style(); !strings.Contains(style, ":root { --accent: #0b6b4f;") {
		t.Errorf("a color that can be read is changed: %s", style)
	}
	for _, color := range []string{"", "green", "#fff", "#00000g"} {
		if style := (Brand{Color: color}).Style(); style != "" {
			t.Errorf("%q makes the style %q; want none", color, style)
		}
	}
}

func TestContactLink(t *testing.T) {
	t.Parallel()
	for contact, want := range map[string]string{
		"help@example.com": "mailto:help@example.com", "+49 30 123-456": "tel:+4930123456", "(030) 123": "tel:030123",
		"https://example.com/help": "https://example.com/help",
		"at the counter":           "", "": "", "javascript:alert(1)": "", "mail us @ home": "", "+": "",
	} {
		if got := fmt.Sprint((Brand{Contact: contact}).ContactLink()); got != want {
			t.Errorf("%q leads to %q; want %q", contact, got, want)
		}
	}
}
