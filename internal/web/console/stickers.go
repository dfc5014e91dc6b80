package console

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"notepay/internal/fleet"
	"notepay/internal/uid"
	"notepay/internal/web"
)

// layout is a sheet of labels. The style sheet holds its measures.
type layout struct {
	Key, Text string // for addresses, for people
	Paper     string // "a4" or "letter", a named page of the style sheet
	PerSheet  int
}

// layouts returns the layouts, the default first.
func layouts() []layout {
	return []layout{
		{"a4-large", "A4, 8 on a sheet, 99 × 68 mm (such as L7165)", "a4", 8},
		{"a4-medium", "A4, 12 on a sheet, 64 × 72 mm (such as L7164)", "a4", 12},
		{"a4-small", "A4, 21 on a sheet, 64 × 38 mm (such as L7160)", "a4", 21},
		{"letter-large", "Letter, 6 on a sheet, 4 × 3⅓ in (such as 5164)", "letter", 6},
		{"letter-medium", "Letter, 10 on a sheet, 4 × 2 in (such as 5163)", "letter", 10},
		{"letter-small", "Letter, 12 on a sheet, 2 × 2 in (such as 22806)", "letter", 12},
	}
}

// maxStickers bounds the stickers of one page. A search finds the others.
const maxStickers = 240

// sticker is the sticker of one device.
type sticker struct {
	Name    string
	Address string // in the code
	Host    string // "pay only at"
	Support string
	Typed   string        // the short code, for customers whose camera does not work
	Code    template.HTML // the QR code, SVG
}

type stickersPage struct {
	Layouts []layout
	Layout  layout
	Query   string
	Unknown []string // parts of the query that name no machine
	Sheets  [][]sticker
	Devices int // found by the search
	Shown   int
	Single  []*fleet.Device

	Languages []web.StickerWords
	Words     []web.StickerWords // of the one or two languages of these stickers
}

// Lang and Second return the tags of the chosen languages, or "".
func (p stickersPage) Lang() string { return tagAt(p.Words, 0) }

func (p stickersPage) Second() string { return tagAt(p.Words, 1) }

func tagAt(words []web.StickerWords, at int) string {
	if at >= len(words) {
		return ""
	}
	return words[at].Tag
}

// stickerWords returns the words in the one or two languages that a request asks for.
func (c *Console) stickerWords(q url.Values) (words []web.StickerWords) {
	for _, name := range []string{"lang", "second"} {
		tag := q.Get(name)
		at := slices.IndexFunc(c.Stickers, func(w web.StickerWords) bool { return w.Tag == tag })
		if at >= 0 && tagAt(words, 0) != tag {
			words = append(words, c.Stickers[at])
		}
	}
	if len(words) == 0 {
		words = c.Stickers[:min(1, len(c.Stickers))]
	}
	return words
}

// namedEach returns the devices that a list of names or UIDs means, with commas between them, and the
// parts of the list that mean none. A whole name does not mean those that begin alike: "Washer 1" is not
// "Washer 10".
func (c *Console) namedEach(text string) (found []entry, unknown []string) {
	all := func(text string) []entry {
		list := c.named(text)
		if i := slices.IndexFunc(list, func(d entry) bool { return d.isCalled(text) }); i >= 0 {
			return list[i : i+1]
		}
		return list
	}
	if found = all(text); len(found) > 0 {
		return found, nil // also a name with a comma in it
	}
	for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == ';' }) {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		list := all(part)
		if len(list) == 0 {
			unknown = append(unknown, part)
		}
		for _, d := range list {
			if !slices.Contains(found, d) {
				found = append(found, d)
			}
		}
	}
	return found, unknown
}

// stickers shows printable sheets, for all devices or those that a search finds.
func (c *Console) stickers(w http.ResponseWriter, r *http.Request) error {
	if c.PublicURL == "" {
		return c.problem(w, r, http.StatusConflict, "Stickers need an address to lead to. "+
			"Set PUBLIC_URL (such as https://pay.example.com) and restart notepay.")
	}
	q := r.URL.Query()
	page := stickersPage{Layouts: layouts(), Layout: layouts()[0], Query: strings.TrimSpace(q.Get("q"))}
	if at := slices.IndexFunc(page.Layouts, func(l layout) bool { return l.Key == q.Get("layout") }); at >= 0 {
		page.Layout = page.Layouts[at]
	}
	page.Languages, page.Words = c.Stickers, c.stickerWords(q)
	found, unknown := c.namedEach(page.Query)
	page.Unknown = unknown
	page.Devices = len(found)
	page.Single = c.devicesOf(found[:min(len(found), maxStickers)])
	page.Shown = len(page.Single)
	var list []sticker
	for _, d := range page.Single {
		s, err := c.stickerOf(d)
		if err != nil {
			return err
		}
		list = append(list, s)
	}
	page.Sheets = slices.Collect(slices.Chunk(list, page.Layout.PerSheet))
	return c.write(w, r, "stickers", view{Title: "Stickers", Nav: "stickers", Data: page})
}

// stickerOf returns the sticker of a device.
func (c *Console) stickerOf(d *fleet.Device) (sticker, error) {
	u, err := url.Parse(c.PublicURL)
	if err != nil {
		return sticker{}, err
	}
	s := sticker{
		Name:    web.MachineName(d.Name, d.UID),
		Address: c.PublicURL + "/pay/" + d.UID,
		Host:    u.Host,
		Support: c.Support,
		Typed:   c.Fleet.Code(d.UID),
	}
	s.Code, err = web.QRCode(s.Address)
	return s, err
}

// sticker serves one sticker as an SVG file, for a print shop.
func (c *Console) sticker(w http.ResponseWriter, r *http.Request) error {
	uid := uid.Of(strings.TrimSuffix(r.PathValue("uid"), ".svg"))
	device := c.Fleet.Device(uid)
	if device == nil || c.PublicURL == "" {
		return c.problem(w, r, http.StatusNotFound,
			"No such sticker. The machine is unknown, or PUBLIC_URL is not set.")
	}
	s, err := c.stickerOf(device)
	if err != nil {
		return err
	}
	modules, size, err := web.QRPath(s.Address)
	if err != nil {
		return err
	}
	type line struct {
		text        string
		height      float64
		rightToLeft bool
	}
	lines := []line{{s.Name, 4, false}}
	words := c.stickerWords(r.URL.Query())
	for _, w := range words {
		lines = append(lines, line{w.PayOnly(s.Host), 2.4, w.RightToLeft})
	}
	lines = append(lines, line{words[0].Code + " " + s.Typed, 2.4, words[0].RightToLeft}, line{s.Support, 2.4, false})
	whole := size + 2*web.QuietFrame
	high := whole + 7 + 9*len(lines[1:])/2
	var drawing bytes.Buffer
	fmt.Fprintf(
		&drawing,
		`<svg xmlns="http://www.w3.org/2000/svg" width="60mm" viewBox="0 0 %d %d"`+
			` font-family="sans-serif" text-anchor="middle">`,
		whole,
		high,
	)
	fmt.Fprintf(&drawing, `<rect width="%d" height="%d" fill="#fff"/><path shape-rendering="crispEdges" d="%s"/>`,
		whole, high, modules)
	y := float64(whole) + 2.5
	for _, l := range lines {
		height := l.height
		if fits := float64(whole-4) / (0.55 * float64(len([]rune(l.text))+1)); fits < height {
			height = fits // in most typefaces, letters are little more than half as wide as high
		}
		direction := ""
		if l.rightToLeft {
			direction = ` direction="rtl"`
		}
		fmt.Fprintf(&drawing, `<text x="%d" y="%s" font-size="%s"%s>%s</text>`, whole/2, tenths(y), tenths(height),
			direction, template.HTMLEscapeString(l.text))
		y += 4.5
	}
	drawing.WriteString(`</svg>`)
	private(w)
	w.Header().Set("Content-Type", "image/svg+xml")
	w.Header().Set("Content-Disposition", `inline; filename="sticker.svg"`)
	_, err = w.Write(drawing.Bytes())
	return err
}

// tenths formats a number with one decimal.
func tenths(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }
