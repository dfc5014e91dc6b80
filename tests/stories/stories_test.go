package stories

import (
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/sandbox"
)

// The stories of the field: a customer, a machine and what goes wrong between them, told against
// the whole service in a bubble of time. Each ends with the check of what must never be.

// confirming has machines answer within a minute.
func confirming(s *config.Settings) { s.ConfirmWithin = time.Minute }

// routed has them answer through Notehub's route, too; see route.
func routed(s *config.Settings) { confirming(s); s.NotehubRouteToken = apptest.RouteToken }

// holding has money held until the machine has started.
func holding(s *config.Settings) { s.ConfirmWithin, s.Capture = time.Minute, "on_start" }

// without has no machine confirm, and credits live for two minutes.
func without(s *config.Settings) { s.CreditLifetime = 2 * time.Minute }

// story runs one in the front of a service with machines of one kind.
func story(
	t *testing.T,
	change func(*config.Settings),
	machine sandbox.MachineConfig,
	tell func(*apptest.Front, *sandbox.Machine),
) {
	t.Helper()
	t.Parallel()
	apptest.InFront(t, change, func(f *apptest.Front) {
		m := f.Machine(machine)
		tell(f, m)
	})
}

var (
	threeKeys = sandbox.MachineConfig{Original: true}
	confirms  = sandbox.MachineConfig{Confirms: true}
)
