// Package heap makes Go's garbage collector run less often while the heap is small.
//
// By default the heap may grow by its live size before the next collection. notepay has some 10 MB of
// live memory and allocates kilobytes for each request, so under load it would collect several times a
// second: a tenth of its processor time. With a large heap a collection is as rare as by default.
//
// heap promises that the heap grows by Headroom between two collections, within a tenth, or by more. It
// does not know how much memory the host has. GOMEMLIMIT sets a limit, which Go keeps in any case.
package heap

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// Headroom is how many bytes the heap may grow before a collection, if the live heap is smaller. More
// would save little, and strangers could make the process that much larger.
const Headroom = 40 << 20

const (
	// usual is the percentage by which the heap may grow by default.
	usual = 100
	// smallest is the least live size from which Go calculates.
	smallest = 4 << 20
)

// Keep keeps the headroom until ctx ends. It does nothing if the operator has set GOGC.
func Keep(ctx context.Context) {
	if os.Getenv("GOGC") == "" {
		k := &keeper{ctx: ctx, percent: usual}
		k.adjust()
	}
}

// keeper sets the percentage again after each collection, because the live heap has changed.
type keeper struct {
	ctx     context.Context
	percent int
}

// adjust sets the percentage, and waits in the background for the next collection.
func (k *keeper) adjust() {
	percent := usual
	if k.ctx.Err() == nil {
		percent = max(usual, int(Headroom*100/max(live(), smallest)))
		// The next collection finds that nothing refers to it.
		runtime.AddCleanup(&struct{ self *keeper }{k}, (*keeper).adjust, k)
	}
	if (percent-k.percent)*10 < k.percent && (k.percent-percent)*10 < k.percent && percent != usual {
		return // the world stops for each change, so a small one is not worth it
	}
	k.percent = percent
	debug.SetGCPercent(percent)
}

// live returns the bytes from which Go calculates by the percentage when it collects next.
func live() uint64 {
	parts := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, // 0 before the first collection
		{Name: "/gc/scan/globals:bytes"},
		{Name: "/gc/scan/stack:bytes"},
	}
	metrics.Read(parts)
	var sum uint64
	for _, p := range parts {
		sum += p.Value.Uint64()
	}
	return sum
}
