// Package bodies reads the bodies of requests whose sender is not known yet, within one budget of
// memory for all of them.
//
// It promises that memory is taken only as bytes arrive, that all unfinished bodies together take
// no more than the budget, that no sender keeps its share for longer than a time limit, and that a
// small body that arrives at once gets through however many others are left unfinished: where the
// budget is used up, the unfinished body that has cost most is given up for it. It cannot keep a
// sender from opening connections.
package bodies

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

var (
	// ErrTooLarge is returned for a body above the limit of one.
	ErrTooLarge = errors.New("the body is too large")
	// ErrBusy is returned for a body that was given up for others.
	ErrBusy = errors.New("too many unfinished bodies")
	// ErrSlow is returned for a body that did not arrive in time.
	ErrSlow = errors.New("the body took too long to arrive")
)

const (
	// chunk is how many bytes are taken at a time; most events fit into one.
	chunk = 16 << 10
	// maxChunks is the budget: 8 MiB.
	maxChunks = 512
	// keptChunks is how much of it is kept for the next body.
	keptChunks = 32
	// timeout is how long a body may take to arrive. Stripe sends its own at once.
	timeout = 10 * time.Second
)

// Budget is the memory for all bodies that are being read. It is safe for concurrent use.
type Budget struct {
	max int // bytes of one body

	mu      sync.Mutex
	open    map[*body]bool // unfinished, and not given up
	taken   int            // chunks
	spare   [][]byte       // chunks that were given back
	waiting int            // readers that need a chunk
	coming  int            // chunks of bodies that were given up, which their readers are about to give back
	change  chan struct{}  // closed when chunks were given back or bodies given up
}

// New returns a budget for bodies of up to max bytes each.
func New(max int) *Budget {
	return &Budget{max: max, open: map[*body]bool{}, change: make(chan struct{})}
}

// body is one body that is being read.
type body struct {
	began  time.Time
	end    func()   // makes its reads fail
	chunks [][]byte // guarded by the budget's mutex, but for their content
	size   int      // bytes read; its reader's own
}

// Read reads the body of a request.
func (b *Budget) Read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > int64(b.max) {
		return nil, ErrTooLarge
	}
	control := http.NewResponseController(w)
	one := &body{began: time.Now(), end: func() { _ = control.SetReadDeadline(time.Unix(1, 0)) }}
	_ = control.SetReadDeadline(one.began.Add(timeout)) // not every writer can
	b.mu.Lock()
	b.open[one] = true
	b.mu.Unlock()
	whole, err := b.read(one, r.Body)

	given := b.close(one)
	switch {
	case err == nil:
		_ = control.SetReadDeadline(time.Time{}) // or it would end the request while its event is being stored
		return whole, nil
	case given:
		err = ErrBusy
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = ErrSlow
	}
	one.end() // the server would wait for the rest
	return nil, err
}

// read reads until the end of a body and returns it in one piece.
func (b *Budget) read(one *body, from io.Reader) ([]byte, error) {
	for piece := make([]byte, 4<<10); ; {
		n, err := from.Read(piece)
		if err := b.add(one, piece[:n]); err != nil {
			return nil, err
		}
		if errors.Is(err, io.EOF) {
			whole := make([]byte, 0, one.size)
			for _, c := range one.chunks {
				whole = append(whole, c[:min(chunk, one.size-len(whole))]...)
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

// add keeps a piece of a body.
func (b *Budget) add(one *body, piece []byte) error {
	if one.size+len(piece) > b.max {
		return ErrTooLarge
	}
	for len(piece) > 0 {
		if one.size == len(one.chunks)*chunk && !b.take(one) {
			return ErrBusy
		}
		n := copy(one.chunks[len(one.chunks)-1][one.size%chunk:], piece)
		one.size += n
		piece = piece[n:]
	}
	return nil
}

// take gives a body another chunk, from one that is given up if need be. It returns false if the
// body itself is the one to be given up.
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
				one.chunks = append(one.chunks, make([]byte, chunk))
			}
			return true
		}
		for b.coming < b.waiting {
			costly := b.costliest()
			if costly == one {
				b.giveUp(one)
				return false
			}
			b.giveUp(costly)
		}
		change := b.change
		b.mu.Unlock()
		<-change // soon: the reads of who was given up fail at once
		b.mu.Lock()
	}
	return false // given up for another
}

// giveUp ends the reads of a body. Its reader gives its chunks back. The caller holds the mutex.
func (b *Budget) giveUp(one *body) {
	delete(b.open, one)
	b.coming += len(one.chunks)
	one.end()
	b.wake() // it may be waiting itself
}

// tell wakes who waits for a chunk. The caller holds the mutex.
func (b *Budget) wake() {
	close(b.change)
	b.change = make(chan struct{})
}

// costliest returns the unfinished body with the most bytes times seconds. An honest one is small
// and soon over. The caller holds the mutex, and there is one: all chunks belong to bodies that are
// open or were given up.
func (b *Budget) costliest() (most *body) {
	now, highest := time.Now(), -1.0
	for one := range b.open {
		if cost := float64(len(one.chunks)) * (now.Sub(one.began) + time.Millisecond).Seconds(); cost > highest {
			most, highest = one, cost
		}
	}
	return most
}

// close ends a body's use of the budget, and reports whether it had been given up.
func (b *Budget) close(one *body) (given bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if given = !b.open[one]; given {
		b.coming -= len(one.chunks)
	}
	delete(b.open, one)
	b.taken -= len(one.chunks)
	b.spare = append(b.spare, one.chunks[:min(len(one.chunks), max(0, keptChunks-len(b.spare)))]...)
	one.chunks = nil
	b.wake()
	return given
}
