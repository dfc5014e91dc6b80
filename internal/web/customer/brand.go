package customer

import (
	"fmt"
	"html/template"
	"math"
	"net/http"
	"strconv"
	"strings"
)

// Brand describes the operator to customers. All fields may be empty.
type Brand struct {
	Name    string
	Color   string // six hexadecimal digits, with or without a # before them
	Contact string // an e-mail address, a telephone number, a web address, or any other words

	Address string // of the seller, for the receipt
	Tax     string // what the receipt says about taxes

	Imprint, Privacy, Terms string // web addresses

	Logo     []byte // an image, nil for none
	LogoType string // its media type
}

// ContactLink returns the address behind the contact, or "" if it cannot be a link.
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

// The backgrounds of links and buttons, as in style.css.
var (
	lightBackground = shade{1, 1, 1}
	darkBackground  = shade{0x17 / 255., 0x21 / 255., 0x1e / 255.}
)

// Style returns a style sheet with the operator's color, or "" if there is none. It lightens or
// darkens the color so that links and buttons keep a contrast of 4.5 to 1 on light and dark
// backgrounds (WCAG 2.2, 1.4.3).
func (b Brand) Style() string {
	color, ok := parseShade(b.Color)
	if !ok {
		return ""
	}
	rule := func(background shade) string {
		accent := color.readableOn(background)
		ink := shade{1, 1, 1}
		if black := (shade{}); contrast(black, accent) > contrast(ink, accent) {
			ink = black
		}
		return fmt.Sprintf(":root { --accent: %s; --accent-ink: %s; }", accent, ink)
	}
	return fmt.Sprintf("%s\n@media (prefers-color-scheme: dark) { %s }\n", rule(lightBackground), rule(darkBackground))
}

// BrandStyle serves the style sheet of the brand.
func (c *Handler) BrandStyle(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", cacheStatic)
	_, err := w.Write([]byte(c.Brand.Style()))
	return err
}

// BrandLogo serves the logo, which is also the icon of the pages.
func (c *Handler) BrandLogo(w http.ResponseWriter, r *http.Request) error {
	if len(c.Brand.Logo) == 0 {
		return c.Nowhere(w, r)
	}
	w.Header().Set("Content-Type", c.Brand.LogoType)
	w.Header().Set("Cache-Control", cacheStatic)
	_, err := w.Write(c.Brand.Logo)
	return err
}

// shade is a color: red, green and blue, each from 0 to 1.
type shade [3]float64

// parseShade reads six hexadecimal digits, with or without a leading #.
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

const minContrast = 4.5

// readableOn returns the color, made lighter or darker until it is readable on a background.
func (s shade) readableOn(background shade) shade {
	target := shade{1, 1, 1}
	if background.luminance() > 0.5 {
		target = shade{}
	}
	for part := 0.; part < 1; part += 0.02 {
		var mixed shade
		for i := range mixed {
			mixed[i] = s[i] + (target[i]-s[i])*part
		}
		if contrast(mixed, background) >= minContrast {
			return mixed
		}
	}
	return target
}

// luminance returns the relative luminance (WCAG 2.2).
func (s shade) luminance() float64 {
	linear := func(v float64) float64 {
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(s[0]) + 0.7152*linear(s[1]) + 0.0722*linear(s[2])
}

// contrast returns the contrast ratio of two colors (WCAG 2.2).
func contrast(a, b shade) float64 {
	high, low := max(a.luminance(), b.luminance()), min(a.luminance(), b.luminance())
	return (high + 0.05) / (low + 0.05)
}
