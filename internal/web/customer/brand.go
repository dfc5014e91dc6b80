package customer

import (
	"fmt"
	"html/template"
	"math"
	"net/http"
	"strconv"
	"strings"
)

// Brand is what customers see of the operator. All fields may be empty.
type Brand struct {
	Name    string
	Color   string // six hexadecimal digits, with or without a # before them
	Contact string // an e-mail address, a telephone number, a web address, or any other words
}

// ContactLink is where a click on the contact leads, "" for nowhere.
func (b Brand) ContactLink() template.URL {
	switch c := b.Contact; {
	case strings.HasPrefix(c, "https://"), strings.HasPrefix(c, "http://"):
		return template.URL(c)
	case strings.Contains(c, "@") && !strings.ContainsAny(c, " /"):
		return template.URL("mailto:" + c)
	case strings.Trim(c, "+0123456789 ()-/") == "" && strings.ContainsAny(c, "0123456789"):
		return template.URL("tel:" + strings.Map(func(r rune) rune {
			if r == '+' || (r >= '0' && r <= '9') {
				return r
			}
			return -1
		}, c))
	default:
		return ""
	}
}

// Grounds that links and buttons stand on, as in style.css.
var (
	lightGround = shade{1, 1, 1}
	darkGround  = shade{0x17 / 255., 0x21 / 255., 0x1e / 255.}
)

// Style is a style sheet with the operator's colour, where it can be read: links and buttons keep a
// contrast of 4.5 to 1 on light and dark ground (WCAG 2.2, 1.4.3).
func (b Brand) Style() string {
	color, ok := parseShade(b.Color)
	if !ok {
		return ""
	}
	rule := func(ground shade) string {
		accent := color.readableOn(ground)
		ink := shade{1, 1, 1}
		if black := (shade{}); contrast(black, accent) > contrast(ink, accent) {
			ink = black
		}
		return fmt.Sprintf(":root { --accent: %s; --accent-ink: %s; }", accent, ink)
	}
	return fmt.Sprintf("%s\n@media (prefers-color-scheme: dark) { %s }\n", rule(lightGround), rule(darkGround))
}

// BrandStyle serves the style sheet.
func (c *Handler) BrandStyle(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", cacheStatic)
	_, err := w.Write([]byte(c.Brand.Style()))
	return err
}

// shade is a colour: red, green and blue, each from 0 to 1.
type shade [3]float64

func parseShade(hex string) (s shade, ok bool) {
	hex = strings.TrimPrefix(hex, "#")
	n, err := strconv.ParseUint(hex, 16, 32)
	if err != nil || len(hex) != 6 {
		return s, false
	}
	return shade{float64(n>>16) / 255, float64(n>>8&0xff) / 255, float64(n&0xff) / 255}, true
}

func (s shade) String() string {
	return fmt.Sprintf("#%02x%02x%02x", int(math.Round(s[0]*255)), int(math.Round(s[1]*255)), int(math.Round(s[2]*255)))
}

const readable = 4.5

// readableOn is the colour, as much lighter or darker as it takes to be read on a ground.
func (s shade) readableOn(ground shade) shade {
	towards := shade{1, 1, 1}
	if ground.luminance() > 0.5 {
		towards = shade{}
	}
	for part := 0.; part < 1; part += 0.02 {
		var mixed shade
		for i := range mixed {
			mixed[i] = s[i] + (towards[i]-s[i])*part
		}
		if contrast(mixed, ground) >= readable {
			return mixed
		}
	}
	return towards
}

// luminance and contrast are as WCAG 2.2 defines them.
func (s shade) luminance() float64 {
	linear := func(v float64) float64 {
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(s[0]) + 0.7152*linear(s[1]) + 0.0722*linear(s[2])
}

func contrast(a, b shade) float64 {
	high, low := max(a.luminance(), b.luminance()), min(a.luminance(), b.luminance())
	return (high + 0.05) / (low + 0.05)
}
