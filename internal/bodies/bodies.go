// Package bodies reads request bodies of unknown senders within one memory budget.
//
// Memory is taken only as bytes arrive, and all unfinished bodies together stay within the budget.
// No sender keeps its share longer than a timeout. A small body that arrives at once is always
// read: when the budget is used up, the most expensive unfinished body is evicted. The package
// cannot stop a sender from opening connections.
package bodies

import (
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

var (
	// ErrTooLarge is returned for a body above the maximum size of one body.
	ErrTooLarge = errors.New("the body is too large")
	// ErrBusy is returned for a body that was evicted in favor of others.
	ErrBusy = errors.New("too many unfinished bodies")
	// ErrSlow is returned for a body that did not arrive within the timeout.
	ErrSlow = errors.New("the body took too long to arrive")
)

const (
	// chunkSize is the unit of memory, in bytes. Most events fit into one chunk.
	chunkSize = 16 << 10
	// maxChunks is the budget: 8 MiB.
	maxChunks = 512
	// maxSpareChunks is how many free chunks are kept while no body is open. While bodies are open, all
	// are kept, because strangers would otherwise cause garbage faster than it is collected.
	maxSpareChunks = 32
	// timeout is how long a body may take to arrive. Stripe sends a body at once.
	timeout = 10 * time.Second
)

// Budget is the memory for all bodies that are being read. It is safe for concurrent use.
type Budget struct {
	max int // maximum size of one body, in bytes

	mu      sync.Mutex
	open    map[*body]bool // unfinished bodies that are not evicted
	taken   int            // chunks
	spare   [][]byte       // free chunks for reuse
	waiting int            // readers that wait for a chunk
	coming  int            // chunks of evicted bodies, which their readers are about to return
	change  chan struct{}  // closed when chunks are returned or a body is evicted
}

// New returns a budget for bodies of up to max bytes each.
func New(max int) *Budget {
	return &Budget{max: max, open: map[*body]bool{}, change: make(chan struct{})}
}

// body is an unfinished body.
type body struct {
	began  time.Time
	end    func()   // makes the reads of the body fail
	chunks [][]byte // the slice is guarded by the budget's mutex, the content is the reader's
	size   int      // bytes read; used only by the reader
}

// Read reads the body of a request. It returns ErrTooLarge, ErrBusy or ErrSlow for a body that it
// rejects.
func (b *Budget) Read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > int64(b.max) {
		return nil, ErrTooLarge
	}
	control := http.NewResponseController(w)
	one := &body{began: time.Now(), end: func() { _ = control.SetReadDeadline(time.Unix(1, 0)) }}
	_ = control.SetReadDeadline(one.began.Add(timeout)) // not every ResponseWriter supports deadlines
	b.mu.Lock()
	b.open[one] = true
	b.mu.Unlock()
	whole, err := b.read(one, r.Body)

	evicted := b.close(one)
	switch {
	case err == nil:
		// Otherwise the deadline would end the request while its event is being stored.
		_ = control.SetReadDeadline(time.Time{})
		return whole, nil
	case evicted:
		err = ErrBusy
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = ErrSlow
	}
	one.end() // otherwise the server would wait for the rest
	return nil, err
}

// read reads a body to its end and returns it in one piece.
func (b *Budget) read(one *body, from io.Reader) ([]byte, error) {
	for piece := make([]byte, 4<<10); ; {
		n, err := from.Read(piece)
		if err := b.add(one, piece[:n]); err != nil {
			return nil, err
		}
		if errors.Is(err, io.EOF) {
			whole := make([]byte, 0, one.size)
			for _, c := range one.chunks {
				whole = append(whole, c[:min(chunkSize, one.size-len(whole))]...)
			}
			return whole, nil
		}
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			return nil, ErrTooLarge
		}
		if err != nil {
			return nil, err
		}
	}
}

// add appends a piece to a body.
func (b *Budget) add(one *body, piece []byte) error {
	if one.size+len(piece) > b.max {
		return ErrTooLarge
	}
	for len(piece) > 0 {
		if one.size == len(one.chunks)*chunkSize && !b.take(one) {
			return ErrBusy
		}
		n := copy(one.chunks[len(one.chunks)-1][one.size%chunkSize:], piece)
		one.size += n
		piece = piece[n:]
	}
	return nil
}

// take adds a chunk to a body and evicts another body if necessary. It returns false if the body
// itself was evicted.
func (b *Budget) take(one *body) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting++
	defer func() { b.waiting-- }()
	for b.open[one] {
		if b.taken < maxChunks {
			b.taken++
			if last := len(b.spare) - 1; last >= 0 {
				one.chunks = append(one.chunks, b.spare[last])
				b.spare = b.spare[:last]
			} else {
				one.chunks = append(one.chunks, make([]byte, chunkSize))
			}
			return true
		}
		for b.coming < b.waiting {
			costly := b.costliest()
			if costly == one {
				b.evict(one)
				return false
			}
			b.evict(costly)
		}
		change := b.change
		b.mu.Unlock()
		<-change // this takes a moment only, because the reads of an evicted body fail at once
		b.mu.Lock()
	}
	return false // evicted in favor of another
}

// evict makes the reads of a body fail. The body's reader returns its chunks. The caller holds the
// mutex.
func (b *Budget) evict(one *body) {
	delete(b.open, one)
	b.coming += len(one.chunks)
	one.end()
	b.wake() // the evicted body may be waiting itself
}

// wake wakes all readers that wait for a chunk. The caller holds the mutex.
func (b *Budget) wake() {
	close(b.change)
	b.change = make(chan struct{})
}

// costliest returns the unfinished body with the highest product of bytes and seconds. An honest
// body is small and soon complete. There is always one, because all chunks belong to unfinished or
// evicted bodies. The caller holds the mutex.
func (b *Budget) costliest() (costly *body) {
	now, highest := time.Now(), -1.0
	for one := range b.open {
		if cost := float64(len(one.chunks)) * (now.Sub(one.began) + time.Millisecond).Seconds(); cost > highest {
			costly, highest = one, cost
		}
	}
	return costly
}

// close removes a body from the budget, and reports whether the body was evicted.
func (b *Budget) close(one *body) (evicted bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if evicted = !b.open[one]; evicted {
		b.coming -= len(one.chunks)
	}
	delete(b.open, one)
	b.taken -= len(one.chunks)
	b.spare = append(b.spare, one.chunks...) // within the budget, because take prefers spare chunks
	if len(b.open) == 0 && len(b.spare) > maxSpareChunks {
		b.spare = slices.Clone(b.spare[:maxSpareChunks])
	}
	one.chunks = nil
	b.wake()
	return evicted
}
