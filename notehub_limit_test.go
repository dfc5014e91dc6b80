package main

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/config"
	"notepay/internal/notehub"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

// wantLimit checks that Notehub was never asked more often in a minute than it allows.
func (f *front) wantLimit(limit int) {
	f.Helper()
	asked := f.notehub.Requests("{any} /{rest...}")
	most := 0
	for i, r := range asked {
		if r.Status == 429 {
			f.Errorf("%s %s at %v was refused with 429", r.Method, r.Path, r.At.Sub(asked[0].At))
		}
		n := 1
		for _, later := range asked[i+1:] {
			if later.At.Sub(r.At) < time.Minute {
				n++
			}
		}
		most = max(most, n)
	}
	f.Logf("%d requests, at most %d in a minute", len(asked), most)
	if most > limit {
		f.Errorf("up to %d requests in a minute; want at most %d", most, limit)
	}
}

// Everything asks at once: payments, machines that confirm, refreshes, variables, open pages, the console's checks and a token that dies.
func TestNotehubLimitHoldsInEveryMinute(t *testing.T) {
	for name, change := range map[string]func(*config.Settings){
		"machines that do not confirm": func(*config.Settings) {},
		"machines that confirm":        func(s *config.Settings) { s.ConfirmWithin = 30 * time.Minute },
		"a personal token":             func(s *config.Settings) { s.NotehubToken, s.NotehubClientID, s.NotehubClientSecret = hubToken, "", "" },
		"sixty a minute":               func(s *config.Settings) { s.NotehubPerMinute = 60 },
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(s *config.Settings) {
				s.NotehubPerMinute, s.CreditLifetime, s.RefreshInterval = 7, time.Hour, 2*time.Minute
				change(s)
			}, sandbox.MachineConfig{Confirms: true}, func(f *front, _ *sandbox.Machine) {
				for i := range 20 {
					f.notehub.AddDevice(sandbox.Device{UID: fmt.Sprintf("dev:%d", i)})
				}
				f.run()
				f.pass(3 * time.Minute)
				for round := range 4 {
					for range 5 {
						session := f.buy(sandbox.PayOptions{})
						f.server.Bridge.Watched(f.paid(session.ID))
					}
					f.get("/pay?device=dev:" + fmt.Sprint(round))
					if round == 2 {
						f.notehub.RevokeTokens()
					}
					done := make(chan struct{})
					go func() {
						defer close(done)
						f.do("POST", "/refresh-devices", "", "Authorization", "Bearer "+operatorToken)
					}()
					f.pass(4 * time.Minute)
					<-done
				}
				f.pass(10 * time.Minute)
				if n := len(f.notehub.Notes("")); n != 20 {
					f.Errorf("%d notes; want all 20", n)
				}
				f.wantLimit(int(f.settings.NotehubPerMinute))
			})
		})
	}
}

// A call that takes long arrives at Notehub at an unknown moment: its slot is free again a minute after its end.
func TestNotehubLimitCountsSlowCallsFromTheirEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, func(_ *notehub.Config, c *sandbox.NotehubConfig) { c.PerMinute = 1 })
		h.client.Limiter = upstream.NewWindow(1)
		h.Next(hubDevice, sandbox.Outcome{Applied: true, Status: 200, Delay: 10 * time.Second, DelayEffect: true})
		for range 3 {
			meant(t, "device", h.ask(), upstream.OK)
		}
	})
}

// A token that has to be fetched for a claimed call uses the slot of that call, and the call waits for another.
func TestNotehubLimitCountsTheTokenCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, func(s *notehub.Config, c *sandbox.NotehubConfig) { withClient(s, c); c.PerMinute = 1 })
		h.client.Limiter = upstream.NewWindow(1)
		claimed := func() error {
			for !h.client.Limiter.Take() {
				time.Sleep(time.Second)
			}
			return h.client.PostNote(t.Context(), washer, payment.Note{PaymentStatus: "completed", CreditID: "cr_1"})
		}
		meant(t, "the claim that fetches the token", claimed(), upstream.Retryable)
		meant(t, "the next claim", claimed(), upstream.OK)
		if n := len(h.Notes(washer)); n != 1 {
			t.Errorf("%d notes; want 1", n)
		}
		for _, r := range h.Requests("{any} /{rest...}") {
			if r.Status == 429 {
				t.Errorf("%s %s: 429", r.Method, r.Path)
			}
		}
	})
}

// A process that starts within a minute of another waits until Notehub has forgotten the calls of that one.
func TestNotehubLimitHoldsOverRestarts(t *testing.T) {
	t.Parallel()
	inFront(t, func(s *config.Settings) { s.NotehubPerMinute = 7 }, func(f *front) {
		f.run()
		for range 4 {
			f.pass(20 * time.Second)
			f.restarted(nil)
		}
		session := f.buy(sandbox.PayOptions{})
		f.pass(3 * time.Minute)
		if p := f.paid(session.ID); p.Delivery != "sent" {
			f.Errorf("the credit is %s; want it sent", p.Delivery)
		}
		f.wantLimit(7)
	})
}
