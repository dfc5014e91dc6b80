package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// eventsListed are the types of the events that the API lists.
func (f *front) eventsListed(query string) (types []string, next string) {
	f.Helper()
	w := f.asOperator("/api/stripe-events?" + query)
	var list struct {
		Events []struct {
			Type string          `json:"type"`
			Body json.RawMessage `json:"body"`
		} `json:"events"`
		Next *string `json:"next_cursor"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || w.Code != http.StatusOK || list.Next == nil || list.Events == nil {
		f.Fatalf("%s: %d %s (%v); want a list", query, w.Code, w.Body, err)
	}
	for _, e := range list.Events {
		if !strings.Contains(string(e.Body), `"type":"`+e.Type+`"`) {
			f.Errorf("%s: body %s; want that of the event", query, e.Body)
		}
		types = append(types, e.Type)
	}
	slices.Sort(types)
	return types, *list.Next
}

func TestStripeEventsAreListed(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		f.run()
		first, second := f.buy(sandbox.PayOptions{}), f.buy(sandbox.PayOptions{})
		f.notehub.Fetch(washer, "payment.qi")
		f.pass(11 * time.Minute)
		f.answers("refund", f.do("POST", "/api/payments/"+first.ID+"/refund", "", "Authorization", "Bearer "+operatorToken), 200, "")
		f.pass(time.Second)
		want := func(query string, want ...string) {
			f.Helper()
			if got, _ := f.eventsListed(query); !slices.Equal(got, want) {
				f.Errorf("%s: %q; want %q", query, got, want)
			}
		}
		one := []string{"charge.refunded", "checkout.session.completed", "payment_intent.succeeded", "refund.created"}
		for _, id := range []string{first.ID, first.PaymentIntent, payment.CreditID(first.ID)} {
			want("id="+id, one...)
		}
		want("id="+second.ID, "checkout.session.completed", "payment_intent.succeeded")
		want("id="+first.ID+"&type=charge.refunded", "charge.refunded")
		want("type=checkout.session.completed", "checkout.session.completed", "checkout.session.completed")
		want("id=evt_none")
		want("type=none")
		f.answers("a cursor that was not given", f.asOperator("/api/stripe-events?cursor=x"), http.StatusBadRequest, "bad_cursor")
		f.answers("without the token", f.get("/api/stripe-events"), http.StatusUnauthorized, "unauthorized")
		f.answers("the stream without the token", f.get("/api/events"), http.StatusUnauthorized, "unauthorized")
	})
}

// eventStream is what was read of a stream so far.
type eventStream struct {
	mu     sync.Mutex
	header http.Header
	text   strings.Builder
	leave  context.CancelFunc
	done   chan struct{}
}

func (s *eventStream) Header() http.Header { return s.header }
func (s *eventStream) WriteHeader(int)     {}
func (s *eventStream) Flush()              {}
func (s *eventStream) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

// ids are the ids of the events that were read.
func (s *eventStream) ids() (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.Lines(s.text.String()) {
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			ids = append(ids, strings.TrimSpace(id))
		}
	}
	return ids
}

// listenToEvents opens a stream, which ends with the test.
func (f *front) listenToEvents(query string, header ...string) *eventStream {
	ctx, cancel := context.WithCancel(f.Context())
	s := &eventStream{header: http.Header{}, leave: cancel, done: make(chan struct{})}
	r := httptest.NewRequest("GET", "/api/events?"+query, nil).WithContext(ctx)
	r.Header.Set("Authorization", "Bearer "+operatorToken)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	go func() {
		defer close(s.done)
		f.handler.ServeHTTP(s, r)
	}()
	synctest.Wait()
	return s
}

func TestTheStreamOfEventsGoesOnWhereItWasCut(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		f.run()
		f.buy(sandbox.PayOptions{}) // before anybody listens
		f.pass(5 * time.Second)
		all, sessions := f.listenToEvents(""), f.listenToEvents("type=checkout.session.completed")
		bought := f.buy(sandbox.PayOptions{})
		f.pass(5 * time.Second)
		of := f.listenToEvents("id="+bought.ID, "Last-Event-ID", "evt_none")
		if len(all.ids()) != 2 || len(sessions.ids()) != 1 || len(of.ids()) != 0 {
			f.Fatalf("all %q, sessions %q, of the payment %q; want what came since each began to listen", all.ids(), sessions.ids(), of.ids())
		}
		all.leave()
		<-all.done
		last := all.ids()[0]
		f.buy(sandbox.PayOptions{})
		f.pass(5 * time.Second)
		again := f.listenToEvents("", "Last-Event-ID", last)
		f.pass(5 * time.Second)
		if got := again.ids(); len(got) != 3 || got[0] != all.ids()[1] || slices.Contains(got, last) {
			f.Errorf("after %s: %q; want the three that came behind it", last, got)
		}
		if got := sessions.ids(); len(got) != 2 {
			f.Errorf("sessions %q; want both", got)
		}
		if again.header.Get("Content-Type") != "text/event-stream" {
			f.Errorf("headers %v; want a stream", again.header)
		}
		f.pass(time.Minute)
		again.mu.Lock()
		if !strings.Contains(again.text.String(), "\n:\n") {
			f.Errorf("%q; want a sign of life while nothing comes", again.text.String())
		}
		again.mu.Unlock()
		f.server.EndStreams()
		synctest.Wait()
		for _, s := range []*eventStream{sessions, of, again} {
			select {
			case <-s.done:
			default:
				f.Errorf("a stream outlives the service")
			}
		}
	})
}

func TestTooManyStreamsAreRefused(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		var open []*eventStream
		for range 16 {
			open = append(open, f.listenToEvents(""))
		}
		f.answers("one too many", f.asOperator("/api/events"), http.StatusTooManyRequests, "too_many_streams")
		open[0].leave()
		<-open[0].done
		open[0] = f.listenToEvents("")
		f.pass(time.Second)
		for _, s := range open {
			s.leave()
			<-s.done
		}
	})
}
