package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

const (
	// maxErrorReply is how much is read of a reply that is no success, in bytes. Most are a line,
	// but Stripe's may hold a whole PaymentIntent, whose state decides about the money.
	maxErrorReply = 128 << 10
	// freeReply is what each reply may take without asking, so that a small one never waits for
	// large ones.
	freeReply = 64 << 10
	// sharedReplies is the memory for all that is above, in bytes. Readers grow their buffers,
	// which takes some three times as much.
	sharedReplies = 2 << 20
)

// ErrReplyTooLarge is returned by the body of a success that is larger than any that a vendor
// sends.
var ErrReplyTooLarge = errors.New("the reply is too large")

// Replies bounds the memory that the replies of a vendor take while they are read. The zero value
// is ready; it is safe for concurrent use.
type Replies struct {
	mu     sync.Mutex
	used   int      // bytes, of sharedReplies
	large  []*reply // those that took some of it, the oldest first
	change chan struct{}
}

// Over returns next with bounded replies: an error's ends after maxErrorReply, and a success of up
// to max bytes may wait for its share of the memory. A longer one fails with ErrReplyTooLarge.
func (b *Replies) Over(next http.RoundTripper, max int) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(r)
		if err != nil || resp.Body == nil {
			return resp, err
		}
		if resp.StatusCode/100 != 2 {
			resp.Body = &cut{io.LimitReader(resp.Body, maxErrorReply), resp.Body}
			return resp, nil
		}
		resp.Body = &reply{ReadCloser: resp.Body, shared: b, ctx: r.Context(), max: max}
		return resp, nil
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// cut is a body that ends early.
type cut struct {
	io.Reader
	io.Closer
}

// reply is the body of a success. What it holds counts until it is closed, for its reader keeps
// what it has read.
type reply struct {
	io.ReadCloser
	shared *Replies
	ctx    context.Context
	max    int // bytes
	size   int // bytes read
	held   int // of them, bytes of the shared memory; guarded by shared.mu
	closed bool
}

func (r *reply) Read(p []byte) (int, error) {
	const step = 32 << 10
	p = p[:min(len(p), step)]
	if r.size+len(p) > freeReply {
		if err := r.shared.take(r, len(p)); err != nil {
			return 0, err
		}
	}
	n, err := r.ReadCloser.Read(p)
	if r.size += n; r.size > r.max {
		return n, fmt.Errorf("%w: more than %d MiB", ErrReplyTooLarge, r.max>>20)
	}
	if r.size-n+len(p) > freeReply {
		r.shared.giveBack(r, len(p)-n)
	}
	return n, err
}

func (r *reply) Close() error {
	r.shared.drop(r)
	return r.ReadCloser.Close()
}

// take waits until there is memory for a reply. The oldest of the large ones need not wait, so that
// they cannot all wait for each other: the memory is exceeded by one reply at most.
func (b *Replies) take(r *reply, n int) error {
	for {
		b.mu.Lock()
		if r.closed {
			b.mu.Unlock()
			return http.ErrBodyReadAfterClose
		}
		if b.used+n <= sharedReplies || len(b.large) == 0 || b.large[0] == r {
			if r.held == 0 {
				b.large = append(b.large, r)
			}
			r.held += n
			b.used += n
			b.mu.Unlock()
			return nil
		}
		if b.change == nil {
			b.change = make(chan struct{})
		}
		change := b.change
		b.mu.Unlock()
		select {
		case <-change:
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
	}
}

func (b *Replies) giveBack(r *reply, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free(r, min(n, r.held))
}

// free makes memory of a reply available. Its caller holds the mutex.
func (b *Replies) free(r *reply, n int) {
	if n == 0 {
		return
	}
	r.held -= n
	b.used -= n
	if r.held == 0 {
		for i, other := range b.large {
			if other == r {
				b.large = append(b.large[:i], b.large[i+1:]...)
				break
			}
		}
	}
	if b.change != nil {
		close(b.change)
		b.change = nil
	}
}

func (b *Replies) drop(r *reply) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.closed = true
	b.free(r, r.held)
}
