package heap_test

import (
	"context"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"notepay/internal/heap"
)

// TestKeep requires a small heap to grow by the headroom, a large one by its size, and the default
// once the context has ended.
func TestKeep(t *testing.T) {
	t.Setenv("GOGC", "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	heap.Keep(ctx)
	until(t, "a small heap has headroom", func(percent, goal uint64) bool {
		return percent > 200 && goal >= heap.Headroom && goal < 2*heap.Headroom
	})

	large := make([]byte, 2*heap.Headroom)
	until(t, "a large heap grows as usual", func(percent, goal uint64) bool {
		return percent == 100 && goal > 4*heap.Headroom
	})
	runtime.KeepAlive(large)
	until(t, "the heap is small again", func(percent, _ uint64) bool { return percent > 200 })

	cancel()
	until(t, "the context has ended", func(percent, _ uint64) bool { return percent == 100 })
}

// TestOperatorsChoice requires the value of GOGC to stay.
func TestOperatorsChoice(t *testing.T) {
	t.Setenv("GOGC", "100")
	heap.Keep(t.Context())
	for range 3 {
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
	}
	if percent, _ := collector(); percent != 100 {
		t.Errorf("the heap grows by %d %%; want 100, as GOGC says", percent)
	}
}

// until collects until the condition holds.
func until(t *testing.T, what string, holds func(percent, goal uint64) bool) {
	t.Helper()
	for range 500 {
		runtime.GC()
		time.Sleep(10 * time.Millisecond) // cleanups run in the background
		if holds(collector()) {
			return
		}
	}
	percent, goal := collector()
	t.Fatalf("%s: the heap grows by %d %% to %d MB", what, percent, goal>>20)
}

// collector returns the percentage by which the heap grows, and the size at which it is collected.
func collector() (percent, goal uint64) {
	samples := []metrics.Sample{{Name: "/gc/gogc:percent"}, {Name: "/gc/heap/goal:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64(), samples[1].Value.Uint64()
}
