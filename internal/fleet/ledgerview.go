package fleet

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// What the map says of a device's pause and use is a copy of the ledger. Transactions share
// commits, and who made them goes on in any order, so the order of the news is not the order of the
// commits. Whoever has changed one of them therefore has it read again here, one reader at a time
// for each device: the last one begins after every commit that it is told of.

// showing has the readers of one device take turns.
type showing struct {
	seed  maphash.Seed
	turns [64]sync.Mutex
}

func (s *showing) turn(uid string) *sync.Mutex {
	return &s.turns[maphash.String(s.seed, uid)%uint64(len(s.turns))]
}

// Show reads from the ledger whether a timed credit holds a device, and until when, and whether the
// device is paused. It follows every commit that may have changed that. After an error the map is
// as it was, and Show is to be called again.
func (f *Fleet) Show(ctx context.Context, uid string, until func(payment.Payment) time.Time) error {
	turn := f.shown.turn(uid)
	turn.Lock()
	defer turn.Unlock()
	occupant, err := f.Ledger.Occupant(ctx, uid)
	used, err := ledger.Found(err)
	if err != nil {
		return fmt.Errorf("read the use of %s: %w", uid, err)
	}
	free := until(occupant)
	f.mu.RLock()
	was, wasUsed := f.busy[uid]
	f.mu.RUnlock()
	switch {
	case used && !(wasUsed && was.Equal(free)):
		f.InUse(uid, free)
	case !used && wasUsed:
		f.Free(uid)
	}
	return f.showPause(ctx, uid)
}

// showPause is the same for the pause alone. The caller has the turn.
func (f *Fleet) showPause(ctx context.Context, uid string) error {
	pause, err := f.Ledger.PauseOf(ctx, uid)
	paused, err := ledger.Found(err)
	if err != nil {
		return fmt.Errorf("read the pause of %s: %w", uid, err)
	}
	f.mu.RLock()
	was, wasPaused := f.pauses[uid]
	f.mu.RUnlock()
	switch {
	case paused && !(wasPaused && was == pause):
		f.Paused(pause)
	case !paused && wasPaused:
		f.Resumed(uid)
	}
	return nil
}
