package apptest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
)

// EventsListed are the types of the events that the API lists.
func (f *Front) EventsListed(query string) (types []string, next string) {
	f.Helper()
	w := f.AsOperator("/api/stripe-events?" + query)
	var list struct {
		Events []struct {
			Type string          `json:"type"`
			Body json.RawMessage `json:"body"`
		} `json:"events"`
		Next *string `json:"next_cursor"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || w.Code != http.StatusOK || list.Next == nil ||
		list.Events == nil {
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

// EventStream is what was read of a stream so far.
type EventStream struct {
	Mu    sync.Mutex
	Sent  http.Header
	Text  strings.Builder
	Leave context.CancelFunc
	Done  chan struct{}
}

func (s *EventStream) Header() http.Header { return s.Sent }
func (s *EventStream) WriteHeader(int)     {}
func (s *EventStream) Flush()              {}
func (s *EventStream) Write(b []byte) (int, error) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.Text.Write(b)
}

// Ids are the ids of the events that were read.
func (s *EventStream) Ids() (ids []string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	for line := range strings.Lines(s.Text.String()) {
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			ids = append(ids, strings.TrimSpace(id))
		}
	}
	return ids
}

// ListenToEvents opens a stream, which ends with the test.
func (f *Front) ListenToEvents(query string, header ...string) *EventStream {
	ctx, cancel := context.WithCancel(f.Context())
	s := &EventStream{Sent: http.Header{}, Leave: cancel, Done: make(chan struct{})}
	r := httptest.NewRequest("GET", "/api/events?"+query, nil).WithContext(ctx)
	r.Header.Set("Authorization", "Bearer "+OperatorToken)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	go func() {
		defer close(s.Done)
		f.Handler.ServeHTTP(s, r)
	}()
	synctest.Wait()
	return s
}
