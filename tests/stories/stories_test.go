// Package stories runs customers, machines and operators against the whole service in fake time. Each
// story ends with the check of the ledger's invariants. It uses no process and no network.
package stories

import (
	"encoding/hex"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/sandbox"
)

// confirming sets that machines confirm within a minute.
func confirming(s *config.Settings) { s.ConfirmWithin = time.Minute }

// routed also sets the token of Notehub's route. See route.
func routed(s *config.Settings) { confirming(s); s.NotehubRouteToken = apptest.RouteToken }

// holding sets that the money is captured once the machine has started.
func holding(s *config.Settings) { s.ConfirmWithin, s.Capture = time.Minute, "on_start" }

// without sets a lifetime of two minutes and no confirmations.
func without(s *config.Settings) { s.CreditLifetime = 2 * time.Minute }

// signing sets that notes are signed.
func signing(key []byte) func(*config.Settings) {
	return func(s *config.Settings) {
		confirming(s)
		s.NoteSignKey = config.Secret(hex.EncodeToString(key))
	}
}

// story runs a test against a service with machines of one kind.
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
