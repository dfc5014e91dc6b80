package bridge

import (
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/ledger"
)

// blocked runs f while the ledger hangs. It returns how long f took.
func (h *house) blocked(f func()) (took time.Duration) {
	h.Helper()
	began, release, done := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		done <- h.l.Update(h.Context(), func(*ledger.Tx) error {
			close(began)
			<-release
			return nil
		})
	}()
	<-began
	start, ended := time.Now(), make(chan struct{})
	go func() {
		defer close(ended)
		f()
	}()
	select {
	case <-ended:
	case <-time.After(time.Minute):
	}
	took = time.Since(start)
	close(release)
	<-ended
	if err := <-done; err != nil {
		h.Error(err)
	}
	return took
}

func TestRecordOutcomeEndsWhileTheLedgerHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		defer h.close()
		event := h.pays("cs_1", "dev:1")
		if err := h.b.Receive(t.Context(), event); err != nil {
			t.Fatal(err)
		}
		claimed, err := h.b.claim(t.Context(), h.b.notehub(), 1, 1)
		if err != nil || len(claimed) != 1 {
			t.Fatalf("claimed %d, %v; want one", len(claimed), err)
		}
		for name, f := range map[string]func(){
			"settle":    func() { h.b.execute(t.Context(), claimed[0]) },
			"lookUpOne": func() { h.b.readLookup(t.Context(), ledger.Lookup{ID: "cs_1"}) },
			"show":      func() { h.b.showDevice("dev:1") },
			"Receive": func() {
				again := event
				again.ID = "evt_2"
				_ = h.b.Receive(t.Context(), again)
			},
			"GrantCredit": func() { _, _ = h.b.GrantCredit(t.Context(), "dev:1", "", Actor{"operator", "test"}) },
			"claim":       func() { _, _ = h.b.claim(t.Context(), h.b.notehub(), 1, 1) },
		} {
			if took := h.blocked(f); took > 10*time.Second {
				t.Errorf("%s waited %v for a ledger that does not answer; want at most 10 s", name, took)
			}
		}
	})
}
