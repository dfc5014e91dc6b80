package contract

import (
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/chromedp/chromedp"
)

// picture saves a picture of the tab if the name is not empty and NOTEPAY_SCREENSHOTS names a
// directory.
func (b *tab) picture(name string) {
	b.t.Helper()
	dir := os.Getenv("NOTEPAY_SCREENSHOTS")
	if dir == "" || name == "" {
		return
	}
	b.do("scroll to the top", evaluate("window.scrollTo(0, 0)"))
	shot, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err == nil {
		shot, err = reduceColors(shot)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), shot, 0o644)
	}
	if err != nil {
		b.t.Fatalf("picture %s: %v", name, err)
	}
	if maxSize := 60 << 10; len(shot) > maxSize {
		b.t.Errorf("picture %s has %d bytes; want at most %d", name, len(shot), maxSize)
	}
}

// reduceColors returns the picture in 64 colors. They suffice for pages of text and take a third of the
// space.
func reduceColors(shot []byte) ([]byte, error) {
	full, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		return nil, err
	}
	count := map[color.RGBA]int{}
	area := full.Bounds()
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			count[color.RGBAModel.Convert(full.At(x, y)).(color.RGBA)]++
		}
	}
	often := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int { return cmp.Compare(count[b], count[a]) })
	few := image.NewPaletted(area, nil)
	for _, c := range often[:min(len(often), 64)] {
		few.Palette = append(few.Palette, c)
	}
	nearest := map[color.RGBA]uint8{}
	for c := range count {
		nearest[c] = uint8(few.Palette.Index(c))
	}
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			few.SetColorIndex(x, y, nearest[color.RGBAModel.Convert(full.At(x, y)).(color.RGBA)])
		}
	}
	var file bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&file, few)
	return file.Bytes(), err
}
