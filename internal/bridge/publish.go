package bridge

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// What others remember of payments, and who brings it up to date. Changes are published after their
// commit, in any order (see committed), so nothing may be taken from their order:
//   - The fleet's use and pause of a device are read again from the ledger (Fleet.Show); a read that failed is repeated by showAgain.
//   - Live pages read their payment again (Live.tell), and each page asks again every 15 s.
//   - Metrics add up transitions, whose sum does not depend on the order; they begin at zero with the process.
//   - The checkout's open sessions are those of the ledger; it asks the fleet whether a device sells, and its sweep ends the others.

// showTimeout bounds a read that follows a commit. The answer to a webhook may wait for it.
const showTimeout = time.Second

// unshown are devices of which the fleet could not be shown what the ledger says.
type unshown struct {
	mu  sync.Mutex
	ids map[string]bool
}

// show has the fleet know what the ledger says of a device now. The ledger may fail to be read;
// measure then tries again.
func (b *Bridge) show(device string) {
	ctx, cancel := context.WithTimeout(context.Background(), showTimeout) // the caller may be gone
	defer cancel()
	err := b.c.Fleet.Show(ctx, device, freeAt)
	b.unshown.mu.Lock()
	defer b.unshown.mu.Unlock()
	if err == nil {
		delete(b.unshown.ids, device)
		return
	}
	if b.unshown.ids == nil {
		b.unshown.ids = map[string]bool{}
	}
	b.unshown.ids[device] = true
	b.c.Log.Error("device state not published", "device", device, "err", err)
}

// showAgain repeats what could not be shown.
func (b *Bridge) showAgain() {
	b.unshown.mu.Lock()
	devices := slices.Collect(maps.Keys(b.unshown.ids))
	b.unshown.mu.Unlock()
	for _, device := range devices {
		b.show(device)
	}
}

// useChanged reports whether a change of a payment changes what the fleet has to know of its device's use.
func useChanged(c change) bool {
	return c.before.Occupies != c.after.Occupies || c.after.Occupies && !freeAt(c.before).Equal(freeAt(c.after))
}

// pauseMayHaveChanged reports whether a change of a payment may have paused or resumed its device, see streak.
func pauseMayHaveChanged(c change) bool {
	return c.before.Machine != c.after.Machine && (answered(c.after) || leftAlone(c.after) || freeStart(c.after))
}
