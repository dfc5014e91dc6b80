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
	// maxErrorReply limits an error reply, in bytes. Most are a line, but Stripe's may hold a whole
	// PaymentIntent, whose status decides about the money.
	maxErrorReply = 128 << 10
	// freeReply is the part of each reply that needs no shared memory, in bytes. So a small reply
	// never waits for large ones.
	freeReply = 64 << 10
	// sharedReplies is the shared memory for larger replies, in bytes. The readers' growing buffers
	// use about three times as much.
	sharedReplies = 2 << 20
)

// ErrReplyTooLarge is returned by the body of a success that is larger than any that a vendor
// sends.
var ErrReplyTooLarge = errors.New("the reply is too large")

// Replies limits the memory that the replies of a vendor use while they are read. The zero value is
// ready. It is safe for concurrent use.
type Replies struct {
	mu     sync.Mutex
	used   int      // bytes, of sharedReplies
	large  []*reply // those that hold some of it, oldest first
	change chan struct{}
}

// Over returns next with limited replies. The body of an error ends after maxErrorReply. The body
// of a success may wait for its share of the memory, and fails with ErrReplyTooLarge after maxSize
// bytes.
func (b *Replies) Over(next http.RoundTripper, maxSize int) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(r)
		if err != nil || resp.Body == nil {
			return resp, err
		}
		if resp.StatusCode/100 != 2 {
			resp.Body = &cut{io.LimitReader(resp.Body, maxErrorReply), resp.Body}
			return resp, nil
		}
		resp.Body = &reply{ReadCloser: resp.Body, shared: b, ctx: r.Context(), maxSize: maxSize}
		return resp, nil
	})
}

// roundTripper is a function as an http.RoundTripper.
type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// cut is a body that ends early.
type cut struct {
	io.Reader
	io.Closer
}

// reply is the body of a success. Its memory counts until Close, because the reader keeps what it
// has read.
type reply struct {
	io.ReadCloser
	shared  *Replies
	ctx     context.Context
	maxSize int // bytes
	size    int // bytes read
	held    int // bytes of the shared memory; guarded by shared.mu
	closed  bool
}

// Read implements io.Reader.
func (r *reply) Read(p []byte) (int, error) {
	const step = 32 << 10
	p = p[:min(len(p), step)]
	if r.size+len(p) > freeReply {
		if err := r.shared.take(r, len(p)); err != nil {
			return 0, err
		}
	}
	n, err := r.ReadCloser.Read(p)
	if r.size += n; r.size > r.maxSize {
		return n, fmt.Errorf("%w: more than %d MiB", ErrReplyTooLarge, r.maxSize>>20)
	}
	if r.size-n+len(p) > freeReply {
		r.shared.giveBack(r, len(p)-n)
	}
	return n, err
}

// Close implements io.Closer.
func (r *reply) Close() error {
	r.shared.drop(r)
	return r.ReadCloser.Close()
}

// take waits until there is memory for a reply. The oldest large reply does not wait, so that they
// cannot all wait for each other. At most one reply exceeds the memory.
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

// giveBack frees memory that a reply took and did not use.
func (b *Replies) giveBack(r *reply, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free(r, min(n, r.held))
}

// free frees memory of a reply and wakes the waiting ones. The caller holds the mutex.
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

// drop frees all memory of a reply.
func (b *Replies) drop(r *reply) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.closed = true
	b.free(r, r.held)
}
