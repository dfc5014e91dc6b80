package stories

import (
	"fmt"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

// All callers of Notehub are busy at once: payments, confirmations, refreshes, variables, open
// pages, the console's checks and an expired token.
func TestNotehubLimitHoldsInEveryMinute(t *testing.T) {
	for name, change := range map[string]func(*config.Settings){
		"machines that do not confirm": func(*config.Settings) {},
		"machines that confirm":        func(s *config.Settings) { s.ConfirmWithin = 30 * time.Minute },
		"a personal token": func(s *config.Settings) {
			s.NotehubToken, s.NotehubClientID, s.NotehubClientSecret = fixture.HubToken, "", ""
		},
		"sixty a minute": func(s *config.Settings) { s.NotehubPerMinute = 60 },
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(s *config.Settings) {
				s.NotehubPerMinute, s.CreditLifetime, s.RefreshInterval = 7, time.Hour, 2*time.Minute
				change(s)
			}, sandbox.MachineConfig{Confirms: true}, func(f *apptest.Front, _ *sandbox.Machine) {
				for i := range 20 {
					f.Notehub.AddDevice(sandbox.Device{UID: fmt.Sprintf("dev:%d", i)})
				}
				f.Run()
				f.Pass(3 * time.Minute)
				for round := range 4 {
					for range 5 {
						session := f.Buy(sandbox.PayOptions{})
						f.Server.Bridge.PageOpen(f.Paid(session.ID))
					}
					f.Get("/pay?device=dev:" + fmt.Sprint(round))
					if round == 2 {
						f.Notehub.RevokeTokens()
					}
					done := make(chan struct{})
					go func() {
						defer close(done)
						f.Do("POST", "/refresh-devices", "", "Authorization", "Bearer "+apptest.OperatorToken)
					}()
					f.Pass(4 * time.Minute)
					<-done
				}
				f.Pass(10 * time.Minute)
				if n := len(f.Notehub.Notes("")); n != 20 {
					f.Errorf("%d notes; want all 20", n)
				}
				f.WantLimit(int(f.Settings.NotehubPerMinute))
			})
		})
	}
}

// A process that starts within a minute of another waits until the other's calls no longer count at
// Notehub.
func TestNotehubLimitHoldsOverRestarts(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, func(s *config.Settings) { s.NotehubPerMinute = 7 }, func(f *apptest.Front) {
		f.Run()
		for range 4 {
			f.Pass(20 * time.Second)
			f.Restarted(nil)
		}
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(3 * time.Minute)
		if p := f.Paid(session.ID); p.Delivery != "sent" {
			f.Errorf("the credit is %s; want it sent", p.Delivery)
		}
		f.WantLimit(7)
	})
}
