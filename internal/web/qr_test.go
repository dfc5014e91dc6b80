package web

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"rsc.io/qr"
)

var rectangle = regexp.MustCompile(`M(\d+) (\d+)h(\d+)v1h-(\d+)z`)

// TestQRCode compares the drawing with the encoded code. Each dark module must be drawn once, and
// the quiet frame must be empty.
func TestQRCode(t *testing.T) {
	t.Parallel()
	const address = "https://pay.example.com/pay/dev:864475044215258"
	code, err := qr.Encode(address, qr.Q)
	if err != nil {
		t.Fatal(err)
	}
	svg, err := QRCode(address)
	if err != nil {
		t.Fatal(err)
	}
	if err := wellFormed(string(svg)); err != nil {
		t.Errorf("%v in %s", err, svg)
	}
	dark := map[[2]int]bool{}
	for _, m := range rectangle.FindAllStringSubmatch(string(svg), -1) {
		var x, y, width, back int
		if _, err := fmt.Sscan(strings.Join(m[1:], " "), &x, &y, &width, &back); err != nil || width != back {
			t.Fatalf("rectangle %q: %v", m[0], err)
		}
		for i := range width {
			if dark[[2]int{x + i, y}] {
				t.Errorf("module %d %d is drawn twice", x+i, y)
			}
			dark[[2]int{x + i, y}] = true
		}
	}
	for y := range code.Size + 2*QuietFrame {
		for x := range code.Size + 2*QuietFrame {
			if dark[[2]int{x, y}] != code.Black(x-QuietFrame, y-QuietFrame) {
				t.Fatalf("module %d %d is drawn %v; want %v", x, y, dark[[2]int{x, y}], !dark[[2]int{x, y}])
			}
		}
	}
}

// wellFormed returns an error if a text is not XML.
func wellFormed(text string) error {
	decoder := xml.NewDecoder(bytes.NewReader([]byte(text)))
	for {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
