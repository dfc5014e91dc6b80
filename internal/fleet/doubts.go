package fleet

import (
	"context"
	"maps"
	"slices"
	"time"

	"notepay/internal/upstream"
)

// doubtInterval is how often an instance looks whether it is unsure of links and does not lead.
const doubtInterval = time.Second

// endDoubts ends what this instance was unsure of when it last led, until ctx ends. The leader finds
// out how the links are, and the ledger has what it found.
func (f *Fleet) endDoubts(ctx context.Context) {
	for f.Ledger.Shared() && upstream.Sleep(ctx, doubtInterval) == nil {
		if f.Ledger.Leads() {
			continue
		}
		for part := range slices.Chunk(f.links.doubted(), batchSize) {
			if err := f.followDevices(ctx, part); err != nil {
				break // until the next time
			}
		}
	}
}

// doubted returns the devices with links of which this instance is not sure.
func (w *linkReconciler) doubted() []string {
	w.fleet.mu.Lock()
	defer w.fleet.mu.Unlock()
	devices := map[string]bool{}
	for key := range w.unverified {
		devices[key.device] = true
	}
	if len(w.unsure) > 0 {
		left := map[string]bool{} // without duplicates and links that were replaced
		for key, l := range w.links {
			if w.unsure[l.ID] {
				left[l.ID], devices[key.device] = true, true
			}
		}
		w.unsure = left
	}
	return keysOf(devices)
}

// trust forgets doubts about the links of devices that are read from the ledger. The caller holds the
// lock.
func (w *linkReconciler) trust(devices []string) {
	if len(w.unsure)+len(w.unverified) == 0 {
		return
	}
	maps.DeleteFunc(w.unverified, func(key linkKey, _ bool) bool { return slices.Contains(devices, key.device) })
	for key, l := range w.links {
		if w.unsure[l.ID] && slices.Contains(devices, key.device) {
			delete(w.unsure, l.ID)
		}
	}
}
