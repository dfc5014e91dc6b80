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
	"sync"
	"time"
)

// packed holds Go's zoneinfo.zip: a line with the size and the names of each zone, an empty line, and
// the zones in the same order.
//
//go:generate go test -run ^TestZones$ . -update
//go:embed zones.gz
var packed []byte

// Named returns a zone by its name: the system's if it has one, else that of this package.
func Named(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil {
		zone, err = Load(name)
	}
	return zone, err
}

// Spelled returns the name of a zone in the spelling of the database, or the name itself if there
// is no such zone.
func Spelled(name string) string {
	all, err := unpacked()
	if err != nil {
		return name
	}
	index, _, _ := bytes.Cut(all, []byte("\n\n"))
	for line := range strings.Lines(string(index)) {
		for _, zone := range strings.Fields(line)[1:] { // behind the size
			if strings.EqualFold(zone, name) {
				return zone
			}
		}
	}
	return name
}

// unpacked returns all zones. They are unpacked once, because many machines may have opening hours.
var unpacked = sync.OnceValues(func() ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
})

// Load returns a zone by its name in the database of the IANA.
func Load(name string) (*time.Location, error) {
	all, err := unpacked()
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
