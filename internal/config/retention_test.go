package config

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestEventLimits(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for days, want := range map[uint][2]int{400: {400, 100}, 35: {35, 35}, 100: {100, 35}} {
		events, bodies := (&Settings{KeepEvents: days}).EventLimits(now)
		if !events.Equal(now.AddDate(0, 0, -want[0])) || !bodies.Equal(now.AddDate(0, 0, -want[1])) {
			t.Errorf("%d days: events before %s, bodies before %s; want %v days", days, events, bodies, want)
		}
	}
	if events, bodies := (&Settings{}).EventLimits(now); !events.IsZero() || !bodies.IsZero() {
		t.Errorf("%s, %s; want everything kept", events, bodies)
	}
	if events, _ := (&Settings{KeepEvents: 1 << 40}).EventLimits(now); events.Year() < 1900 {
		t.Errorf("%s; want a date that databases know", events)
	}
}

func TestPathOf(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	local, installed := filepath.Join(dir, ".env"), filepath.Join(dir, "env")
	if got := pathOf(local, installed); got != local {
		t.Errorf("without any file %s; want %s", got, local)
	}
	if err := os.WriteFile(installed, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := pathOf(local, installed); got != installed {
		t.Errorf("with a package %s; want %s", got, installed)
	}
	if err := os.WriteFile(local, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := pathOf(local, installed); got != local {
		t.Errorf("with both %s; want %s", got, local)
	}
}
