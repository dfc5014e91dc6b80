package ratelimit

import (
	"strconv"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

func TestTakeReturnsTheWait(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	k := NewKeyed(rate.Every(10*time.Second), 2)
	for i, want := range []time.Duration{0, 0, 10 * time.Second, 10 * time.Second} { // a rejection costs nothing
		if got := k.Take("a", now); got != want {
			t.Errorf("request %d waits %v; want %v", i+1, got, want)
		}
	}
	if got := k.Take("b", now); got != 0 {
		t.Errorf("another key waits %v; want 0", got)
	}
	if got := k.Take("a", now.Add(10*time.Second)); got != 0 {
		t.Errorf("after ten seconds it waits %v; want 0", got)
	}
}

func TestKeyedBoundsItsMemory(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	k := NewKeyed(rate.Every(10*time.Second), 2)
	for i := range maxKeys - 1 {
		k.Take(strconv.Itoa(i), now)
	}
	now = now.Add(time.Hour)
	k.Take("busy", now)
	k.Take("busy", now)
	k.Take("one more", now)
	if len(k.buckets) != 2 || k.Take("busy", now) == 0 {
		t.Errorf("%d keys are kept; want the two of this hour, with the used one still limited", len(k.buckets))
	}
	for i := range 3 * maxKeys {
		k.Take(strconv.Itoa(i), now)
		if len(k.buckets) > maxKeys {
			t.Fatalf("%d keys are kept; want at most %d", len(k.buckets), maxKeys)
		}
	}
}
