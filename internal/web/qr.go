package web

import (
	"fmt"
	"html/template"
	"strings"

	"rsc.io/qr"
)

// QuietFrame is the width of the empty frame that a QR code needs, in modules (ISO/IEC 18004).
const QuietFrame = 4

// QRCode draws a QR code as an SVG element. Scanners can read it with up to a quarter of its
// modules damaged.
func QRCode(text string) (template.HTML, error) {
	modules, size, err := QRPath(text)
	if err != nil {
		return "", err
	}
	whole := size + 2*QuietFrame
	svg := fmt.Sprintf(
		`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" shape-rendering="crispEdges"`+
			` role="img" aria-label="QR code"><rect width="%d" height="%d" fill="#fff"/>`+
			`<path fill="#000" d="%s"/></svg>`,
		whole, whole, whole, whole, modules)
	return template.HTML(svg), nil // safe: it holds numbers only
}

// QRPath returns the dark modules as an SVG path, with one rectangle for each run in a row, and the
// size in modules without the quiet frame.
func QRPath(text string) (path string, size int, err error) {
	code, err := qr.Encode(text, qr.Q)
	if err != nil {
		return "", 0, fmt.Errorf("encode QR code: %w", err) // without the text, which may be a secret
	}
	var b strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; {
			from := x
			for x < code.Size && code.Black(x, y) {
				x++
			}
			if x > from {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", from+QuietFrame, y+QuietFrame, x-from, x-from)
			} else {
				x++
			}
		}
	}
	return b.String(), code.Size, nil
}
