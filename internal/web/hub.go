package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// Hub knows which live pages are open, and hands them their payment when it changed. It never
// waits for a reader: who writes while it changes twice is handed the last. It is safe for
// concurrent use.
type Hub struct {
	ledger *ledger.Ledger
	log    *slog.Logger

	mu      sync.Mutex
	open    map[string]map[Updates]bool // by token
	total   int
	changed map[string]bool // tokens of payments with open pages that were not read since
	telling bool

	all   map[chan struct{}]bool // those who are told of every payment
	Ended chan struct{}
	end   sync.Once
	looks chan struct{} // those who read the ledger or make a page just now
}

// Updates is where a stream gets its payment as it is now; nil if that could not be read.
type Updates chan *payment.Payment

const (
	mostOfOne = 8      // streams of one payment: a customer has few screens, and a link may get about
	mostOfAll = 20_000 // streams altogether, each of which takes a socket and some 15 kB
	mostLooks = 16     // at once: more make no page sooner
	mostRead  = 64     // payments together

	LookTimeout = 5 * time.Second // for a read, and for the turn to read
)

// ErrTooBusy ends a stream whose turn did not come. Browsers come back by themselves.
var ErrTooBusy = errors.New("too many live pages read at once, or the ledger does not answer")

// NewHub makes a hub without pages.
func NewHub(l *ledger.Ledger, log *slog.Logger) *Hub {
	return &Hub{
		ledger:  l,
		log:     log,
		open:    map[string]map[Updates]bool{},
		changed: map[string]bool{},
		all:     map[chan struct{}]bool{},
		Ended:   make(chan struct{}),
		looks:   make(chan struct{}, mostLooks),
	}
}

// Changed has the pages of a payment told that it changed. It returns at once.
func (l *Hub) Changed(p payment.Payment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for news := range l.all {
		select {
		case news <- struct{}{}:
		default: // it has not looked since it was told last
		}
	}
	if len(l.open[p.Token]) == 0 {
		return
	}
	l.changed[p.Token] = true
	if !l.telling {
		l.telling = true
		go l.notify()
	}
}

// notify hands out what changed, until there is no more. The ledger says how a payment stands, and
// not the news: two changes may be told in the wrong order. Those that change while it reads are
// read together.
func (l *Hub) notify() {
	for tokens := l.someChanged(); len(tokens) > 0; tokens = l.someChanged() {
		ctx, cancel := context.WithTimeout(context.Background(), LookTimeout)
		payments, err := l.ledger.PaymentsOfTokens(ctx, tokens)
		cancel()
		if err != nil {
			l.log.Error("live pages not read", "err", err)
		}
		l.mu.Lock()
		for _, p := range payments {
			for n := range l.open[p.Token] {
				n.put(&p)
			}
		}
		if err != nil {
			for _, token := range tokens {
				for n := range l.open[token] {
					n.put(nil)
				}
			}
		}
		l.mu.Unlock()
	}
}

// someChanged takes payments that changed; none says that nobody tells any more.
func (l *Hub) someChanged() (tokens []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for token := range l.changed {
		if len(tokens) == mostRead {
			break
		}
		delete(l.changed, token)
		tokens = append(tokens, token)
	}
	l.telling = len(tokens) > 0
	return tokens
}

// put replaces what was not taken yet. There is one who puts.
func (n Updates) put(p *payment.Payment) {
	select {
	case <-n:
	default:
	}
	n <- p
}

// Watch tells through a channel that some payment changed, until leave is called.
func (l *Hub) Watch() (news <-chan struct{}, leave func()) {
	one := make(chan struct{}, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all[one] = true
	return one, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.all, one)
	}
}

// End ends all streams, and those that begin later: the server stops, and browsers come back to the
// next one.
func (l *Hub) End() { l.end.Do(func() { close(l.Ended) }) }

// UntilEnd is a context that ends with the streams, too.
func (l *Hub) UntilEnd(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-l.Ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// Pages is how many streams are open.
func (l *Hub) Pages() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// Join opens a stream of a page, unless there are too many. What changes from then on comes through
// the channel.
func (l *Hub) Join(token string) (n Updates, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= mostOfAll || len(l.open[token]) >= mostOfOne {
		return nil, false
	}
	if l.open[token] == nil {
		l.open[token] = map[Updates]bool{}
	}
	n = make(Updates, 1)
	l.open[token][n] = true
	l.total++
	return n, true
}

func (l *Hub) Leave(token string, n Updates) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open[token], n)
	if len(l.open[token]) == 0 {
		delete(l.open, token)
	}
	l.total--
}

// WithStack does something that needs much stack in a goroutine of its own: thousands of streams
// that wait would keep theirs. A panic in it is an error.
func (l *Hub) WithStack(f func() error) (err error) {
	wait := time.NewTimer(LookTimeout)
	select {
	case l.looks <- struct{}{}:
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
			<-l.looks
			close(done)
		}()
		err = f()
	}()
	<-done
	return err
}
