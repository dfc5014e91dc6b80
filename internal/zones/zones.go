// Package zones knows the time zones, for systems without a list of them.
//
// It promises the same zones as time/tzdata, in a seventh of the space: that package is a seventieth of
// the whole program, because it holds each alias again and compresses nothing.
package zones

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// packed holds Go's zoneinfo.zip: a line with the size and the names of each zone, an empty line, and
// the zones in the same order.
//
//go:generate go test -run ^TestZones$ . -update
//go:embed zones.gz
var packed []byte

// Load returns a zone by its name in the database of the IANA.
func Load(name string) (*time.Location, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpack the time zones: %w", err)
	}
	all, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("unpack the time zones: %w", err)
	}
	index, data, _ := bytes.Cut(all, []byte("\n\n"))
	for line := range strings.Lines(string(index)) {
		words := strings.Fields(line)
		size, err := strconv.Atoi(words[0])
		if err != nil || size > len(data) {
			return nil, fmt.Errorf("unpack the time zones: %q", line)
		}
		if slices.Contains(words[1:], name) {
			return time.LoadLocationFromTZData(name, data[:size])
		}
		data = data[size:]
	}
	return nil, fmt.Errorf("unknown time zone %s", name)
}
