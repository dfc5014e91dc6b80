package zones

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write zones.gz from Go's list")

// goZones reads the list of the Go installation.
func goZones(t *testing.T) map[string]string {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	list, err := zip.OpenReader(filepath.Join(strings.TrimSpace(string(root)), "lib/time/zoneinfo.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	zones := map[string]string{}
	for _, file := range list.File {
		if strings.HasSuffix(file.Name, "/") {
			continue
		}
		r, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		zones[file.Name] = string(data)
	}
	return zones
}

// pack returns the content of zones.gz.
func pack(t *testing.T, zones map[string]string) []byte {
	t.Helper()
	names := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(zones)) {
		names[zones[name]] = append(names[zones[name]], name)
	}
	order := slices.SortedFunc(maps.Keys(names), func(a, b string) int {
		return strings.Compare(names[a][0], names[b][0])
	})
	var index, data strings.Builder
	for _, zone := range order {
		fmt.Fprintf(&index, "%d %s\n", len(zone), strings.Join(names[zone], " "))
		data.WriteString(zone)
	}
	var file bytes.Buffer
	w, err := gzip.NewWriterLevel(&file, gzip.BestCompression)
	if err == nil {
		_, err = io.WriteString(w, index.String()+"\n"+data.String())
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// TestZones requires the packed zones to be those of the Go installation. After an update of Go, run
// go generate.
func TestZones(t *testing.T) {
	want := pack(t, goZones(t))
	if *update {
		if err := os.WriteFile("zones.gz", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	unpack := func(packed []byte) string {
		r, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if unpack(packed) != unpack(want) { // the compression may differ between versions of Go
		t.Error("the zones of this Go are others; run go generate ./internal/zones")
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"Europe/Berlin": "CEST", "America/New_York": "EDT", "Asia/Kolkata": "IST", "Asia/Calcutta": "IST", "UTC": "UTC",
	} {
		zone, err := Load(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		at, _ := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC).In(zone).Zone()
		if at != want || zone.String() != name {
			t.Errorf("%s: %s in %s; want %s", name, at, zone, want)
		}
	}
	for _, name := range []string{"", "Europe", "Europe/Bonn", "../passwd", "2962"} {
		if zone, err := Load(name); err == nil {
			t.Errorf("%q is the zone %s; want an error", name, zone)
		}
	}
}

func TestSpelled(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"europe/berlin": "Europe/Berlin", "AMERICA/NEW_YORK": "America/New_York", "utc": "UTC", "cet": "CET",
		"Europe/Berlin": "Europe/Berlin", "Europe/Bonn": "Europe/Bonn", "": "", "2962": "2962",
	} {
		if got := Spelled(name); got != want {
			t.Errorf("%q is %q; want %q", name, got, want)
		}
	}
}
