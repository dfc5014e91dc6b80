package ledger

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func testVariables(t *testing.T, database string) {
	l := open(t, database)
	at := time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)
	project := Variables{Owner: "project", Values: map[string]string{"stripe_price_id": "price_1,price_2"}, ReadAt: at}
	washer := Variables{Owner: "dev:1", Values: map[string]string{"payment_enabled": "false"}, ReadAt: at}
	none := Variables{Owner: "dev:2", ReadAt: at}
	gone := Variables{Owner: "dev:3", ReadAt: at}
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(
			tx.SaveVariables(Variables{Owner: "project", Values: map[string]string{"credit_lifetime": "1m"}}),
			tx.SaveVariables(project),
			tx.SaveDevice(Device{UID: "dev:1"}),
			tx.SaveVariables(washer),
			tx.SaveVariables(none),
			tx.SaveDevice(Device{UID: "dev:3"}),
			tx.SaveVariables(gone),
			tx.SaveDevice(Device{UID: "dev:1", Name: "Washer"}),
			tx.RemoveDevice("dev:3"),
			tx.SaveVariables(Variables{Owner: "fleet:1"}),
			tx.RemoveVariables("fleet:1"),
		)
	})
	got, err := l.Variables(t.Context())
	slices.SortFunc(got, func(a, b Variables) int { return strings.Compare(a.Owner, b.Owner) })
	if want := []Variables{washer, none, project}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func testDevices(t *testing.T, database string) {
	l := open(t, database)
	washer := Device{
		UID:          "dev:1",
		Name:         "Washer",
		Fleets:       []string{"fleet:1", "fleet:2"},
		Disabled:     true,
		LastActivity: noon(),
	}
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(
			tx.SaveDevice(Device{UID: "dev:1", Name: "old name"}),
			tx.SaveDevice(Device{UID: "dev:2"}),
			tx.SaveDevice(Device{UID: "dev:3"}),
			tx.SaveDevice(washer),
			tx.RemoveDevice("dev:2"),
			tx.RemoveDevice("dev:unknown"),
		)
	})
	got, err := l.Devices(t.Context())
	slices.SortFunc(got, func(a, b Device) int { return strings.Compare(a.UID, b.UID) })
	if want := []Device{washer, {UID: "dev:3"}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}
