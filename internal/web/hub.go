package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// Hub publishes changed payments to the open live pages. It never waits for a page: a page that is
// busy while its payment changes twice receives the last state. It is safe for concurrent use.
type Hub struct {
	ledger *ledger.Ledger
	log    *slog.Logger

	mu        sync.Mutex
	open      map[string][]Updates // streams by token
	total     int
	changed   map[string]bool // tokens whose payments changed and were not read since
	notifying bool            // notify runs

	watchers map[chan struct{}]bool // receive a signal for every payment
	Ended    chan struct{}          // closed by End
	end      sync.Once
	slots    chan struct{} // one for each call of WithStack that is running
}

// Updates receives the current payment of a page after each change, or nil if it could not be read.
type Updates chan *payment.Payment

const (
	maxPerPayment = 8      // streams: a customer has few screens, and a link may be passed on
	maxStreams    = 20_000 // each takes a socket and some 15 kB
	maxSlots      = 16     // more calls at once do not finish sooner
	maxBatch      = 64     // payments in one read

	// ReadTimeout bounds a read of the ledger for a page, and the wait for a slot.
	ReadTimeout = 5 * time.Second
)

// ErrTooBusy ends a stream that got no slot within ReadTimeout. Browsers reconnect by themselves.
var ErrTooBusy = errors.New("too many live pages read at once, or the ledger does not answer")

// NewHub returns a hub without streams.
func NewHub(l *ledger.Ledger, log *slog.Logger) *Hub {
	return &Hub{
		ledger:   l,
		log:      log,
		open:     map[string][]Updates{},
		changed:  map[string]bool{},
		watchers: map[chan struct{}]bool{},
		Ended:    make(chan struct{}),
		slots:    make(chan struct{}, maxSlots),
	}
}

// Changed publishes a change of a payment. It returns at once.
func (h *Hub) Changed(p payment.Payment) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for watcher := range h.watchers {
		select {
		case watcher <- struct{}{}:
		default: // the last signal is still unread
		}
	}
	if len(h.open[p.Token]) == 0 {
		return
	}
	h.changed[p.Token] = true
	if !h.notifying {
		h.notifying = true
		go h.notify()
	}
}

// notify sends changed payments to their streams until none is left. It reads each payment from the
// ledger, because changes may be published out of order. Payments that change while it reads are
// read together.
func (h *Hub) notify() {
	for tokens := h.takeChanged(); len(tokens) > 0; tokens = h.takeChanged() {
		ctx, cancel := context.WithTimeout(context.Background(), ReadTimeout)
		payments, err := h.ledger.PaymentsOfTokens(ctx, tokens)
		cancel()
		if err != nil {
			h.log.Error("live pages not read", "err", err)
		}
		h.mu.Lock()
		for _, p := range payments {
			for _, updates := range h.open[p.Token] {
				updates.put(&p)
			}
		}
		if err != nil {
			for _, token := range tokens {
				for _, updates := range h.open[token] {
					updates.put(nil)
				}
			}
		}
		h.mu.Unlock()
	}
}

// takeChanged removes up to maxBatch tokens from those that changed. If there are none, the caller
// must return, because the next change starts notify again.
func (h *Hub) takeChanged() (tokens []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for token := range h.changed {
		if len(tokens) == maxBatch {
			break
		}
		delete(h.changed, token)
		tokens = append(tokens, token)
	}
	h.notifying = len(tokens) > 0
	return tokens
}

// put replaces an update that was not received yet. Only one goroutine may call it at a time.
func (u Updates) put(p *payment.Payment) {
	select {
	case <-u:
	default:
	}
	u <- p
}

// Watch returns a channel that receives a signal after a payment changed, until leave is called.
func (h *Hub) Watch() (changed <-chan struct{}, leave func()) {
	watcher := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers[watcher] = true
	return watcher, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers, watcher)
	}
}

// End ends all streams, also those that begin later. The server calls it when it stops, and
// browsers reconnect to the next server.
func (h *Hub) End() { h.end.Do(func() { close(h.Ended) }) }

// UntilEnd returns a context that is also canceled by End.
func (h *Hub) UntilEnd(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-h.Ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// Pages returns the number of open streams.
func (h *Hub) Pages() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.total
}

// Join opens a stream for the payment with a token, unless there are too many. Later changes of the
// payment arrive in updates. The caller must call Leave.
func (h *Hub) Join(token string) (updates Updates, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.total >= maxStreams || len(h.open[token]) >= maxPerPayment {
		return nil, false
	}
	updates = make(Updates, 1)
	h.open[token] = append(h.open[token], updates)
	h.total++
	return updates, true
}

// Leave closes a stream that Join opened.
func (h *Hub) Leave(token string, updates Updates) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open[token] = slices.DeleteFunc(h.open[token], func(u Updates) bool { return u == updates })
	if len(h.open[token]) == 0 {
		delete(h.open, token)
	}
	h.total--
}

// WithStack runs f in a short-lived goroutine, so that idle stream goroutines keep small stacks. A
// panic in f is returned as an error. If no slot is free within ReadTimeout, it returns ErrTooBusy.
func (h *Hub) WithStack(f func() error) (err error) {
	wait := time.NewTimer(ReadTimeout)
	select {
	case h.slots <- struct{}{}:
		wait.Stop()
	case <-wait.C:
		return ErrTooBusy
	}
	done := make(chan struct{})
	go func() {
		defer func() {
			if problem := recover(); problem != nil {
				err = fmt.Errorf("panic: %v\n%s", problem, debug.Stack())
			}
			<-h.slots
			close(done)
		}()
		err = f()
	}()
	<-done
	return err
}
