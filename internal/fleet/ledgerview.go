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

// The map copies the pause and the use of each device from the ledger. Transactions share commits,
// so notices of changes do not arrive in the order of the commits. After each change, Show
// therefore reads the ledger again, one read at a time for each device. The last read begins after
// every commit that it is about.

// viewLocks serializes the reads for each device. Devices share 64 locks.
type viewLocks struct {
	seed  maphash.Seed
	locks [64]sync.Mutex
}

// lock returns the lock of a device.
func (v *viewLocks) lock(uid string) *sync.Mutex {
	return &v.locks[maphash.String(v.seed, uid)%uint64(len(v.locks))]
}

// Show copies from the ledger whether a timed credit holds a device, until when, whether the device
// is paused, and whether its machine is out of order. Call it after every commit that may have
// changed them. After an error the map is unchanged, and the caller must call Show again.
func (f *Fleet) Show(ctx context.Context, uid string, until func(payment.Payment) time.Time) error {
	lock := f.views.lock(uid)
	lock.Lock()
	defer lock.Unlock()
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
	state, err := f.Ledger.MachineState(ctx, uid)
	if _, err = ledger.Found(err); err != nil {
		return fmt.Errorf("read the state of %s: %w", uid, err)
	}
	f.mu.RLock()
	shown := f.outs[uid]
	f.mu.RUnlock()
	if shown.Out != state.Out || state.Out && shown != state {
		f.setOut(uid, state)
	}
	planned, err := f.Ledger.MaintenanceOf(ctx, uid)
	if _, err = ledger.Found(err); err != nil {
		return fmt.Errorf("read the maintenance of %s: %w", uid, err)
	}
	f.mu.RLock()
	known := f.maintenance[uid]
	f.mu.RUnlock()
	if known != planned {
		f.setMaintenance(uid, planned)
	}
	return f.showPause(ctx, uid)
}

// showPause copies only the pause. The caller holds the device's lock.
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
