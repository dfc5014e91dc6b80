package ledger

import (
	"errors"
	"slices"
	"testing"
	"time"
)

func testPauses(t *testing.T, database string) {
	l := open(t, database)
	first := Pause{DeviceUID: "dev:1", Reason: "it leaks", By: "a person", At: noon()}
	automatic := Pause{
		DeviceUID: "dev:1",
		Reason:    "silent",
		By:        "notepay",
		At:        noon().Add(time.Minute),
		Automatic: true,
	}
	other := Pause{DeviceUID: "dev:2", At: noon()}
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(
			tx.SaveDevice(Device{UID: "dev:1"}),
			tx.Pause(first),
			tx.Pause(other),
			tx.Pause(automatic),
			tx.RemoveDevice("dev:1"),
		)
	})
	of := func(device string, want Pause, known bool) {
		t.Helper()
		for what, read := range map[string]reading[Pause]{
			"PauseOf":    second(l.PauseOf(t.Context(), device)),
			"Tx.PauseOf": inTx(l, func(tx *Tx) (Pause, error) { return tx.PauseOf(device) }),
		} {
			if is, err := Found(read.err); err != nil || is != known || known && read.got != want {
				t.Errorf("%s(%s): %+v, %v; want %+v, known %v", what, device, read.got, read.err, want, known)
			}
		}
	}
	of("dev:1", automatic, true) // a removed device keeps its pause
	of("dev:3", Pause{}, false)
	mustUpdate(t, l, func(tx *Tx) error { return errors.Join(tx.Resume("dev:1"), tx.Resume("dev:3")) })
	of("dev:1", Pause{}, false)
	if list, err := l.Pauses(t.Context()); err != nil || !slices.Equal(list, []Pause{other}) {
		t.Errorf("pauses %+v, %v; want %+v", list, err, other)
	}
}
