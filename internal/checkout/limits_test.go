package checkout

import (
	"strconv"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

func TestALimitSaysHowLongToWait(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	k := newKeyed(rate.Every(10*time.Second), 2)
	for i, want := range []time.Duration{0, 0, 10 * time.Second, 10 * time.Second} { // a refusal costs nothing
		if got := k.wait("a", now); got != want {
			t.Errorf("press %d waits %v; want %v", i+1, got, want)
		}
	}
	if got := k.wait("b", now); got != 0 {
		t.Errorf("another waits %v; want not at all", got)
	}
	if got := k.wait("a", now.Add(10*time.Second)); got != 0 {
		t.Errorf("after ten seconds it waits %v; want not at all", got)
	}
}

func TestInventedKeysDoNotFillTheMemory(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	k := newKeyed(rate.Every(10*time.Second), 2)
	for i := range mostKeys - 1 {
		k.wait(strconv.Itoa(i), now)
	}
	now = now.Add(time.Hour)
	k.wait("busy", now)
	k.wait("busy", now)
	k.wait("one more", now)
	if len(k.per) != 2 || k.wait("busy", now) == 0 {
		t.Errorf("%d keys are kept; want the two of this hour, and the limit of one", len(k.per))
	}
	for i := range 3 * mostKeys {
		k.wait(strconv.Itoa(i), now)
		if len(k.per) > mostKeys {
			t.Fatalf("%d keys are kept; want %d at most", len(k.per), mostKeys)
		}
	}
}
