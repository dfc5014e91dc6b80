package ledger

import (
	"errors"
	"fmt"
	"time"
)

// MaxPatience is how long UpdatePatiently waits for another update to share its commit.
const MaxPatience = 5 * time.Millisecond

// maxBatch bounds how many updates share a transaction, and so how long the first one waits for the
// others.
const maxBatch = 256

// update is a call of Ledger.Update that waits for the writer.
type update struct {
	fn       func(*Tx) error
	patient  bool
	deadline time.Time // only on PostgreSQL
	err      error
	done     chan struct{}
}

func newUpdate(fn func(*Tx) error, patient bool) *update {
	return &update{fn: fn, patient: patient, done: make(chan struct{})}
}

// finish tells the caller the result.
func (u *update) finish(err error) {
	u.err = err
	close(u.done)
}

// gather appends the updates that wait to those in batch. If all of them are patient, it waits up to
// MaxPatience for one that is not, or until closing is closed.
func gather(batch []*update, updates <-chan *update, closing <-chan struct{}) []*update {
	patient := true
	for _, u := range batch {
		patient = patient && u.patient
	}
	var patience *time.Timer
	for len(batch) < maxBatch {
		select {
		case u := <-updates:
			batch, patient = append(batch, u), patient && u.patient
			continue
		default:
		}
		if !patient {
			break
		}
		if patience == nil {
			patience = time.NewTimer(MaxPatience)
			defer patience.Stop()
		}
		select {
		case u := <-updates:
			batch, patient = append(batch, u), u.patient
			continue
		case <-patience.C:
		case <-closing:
		}
		break
	}
	return batch
}

type closureError struct{ error }

// call runs fn and returns a panic as an error, so that the writer survives.
func call(fn func(*Tx) error, tx *Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in a transaction: %v", p)
		}
	}()
	return fn(tx)
}

// joinIf returns err unchanged, so that callers can compare it, unless there is a second error.
func joinIf(err, second error) error {
	if second == nil {
		return err
	}
	return errors.Join(err, second)
}
