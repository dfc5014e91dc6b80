package ledger

import (
	"errors"
	"fmt"
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
		return errors.Join(tx.SaveVariables(Variables{Owner: "project", Values: map[string]string{"credit_lifetime": "1m"}}), tx.SaveVariables(project),
			tx.SaveDevice(Device{UID: "dev:1"}), tx.SaveVariables(washer), tx.SaveVariables(none), tx.SaveDevice(Device{UID: "dev:3"}), tx.SaveVariables(gone),
			tx.SaveDevice(Device{UID: "dev:1", Name: "Washer"}), tx.RemoveDevice("dev:3"), tx.SaveVariables(Variables{Owner: "fleet:1"}), tx.RemoveVariables("fleet:1"))
	})
	got, err := l.Variables(t.Context())
	slices.SortFunc(got, func(a, b Variables) int { return strings.Compare(a.Owner, b.Owner) })
	if want := []Variables{washer, none, project}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func testPauses(t *testing.T, database string) {
	l := open(t, database)
	at := time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)
	broken := Pause{DeviceUID: "dev:1", Reason: "broken", By: "anna", At: at.Add(time.Minute)}
	silent := Pause{DeviceUID: "dev:2", Reason: "unconfirmed", By: "notepay", At: at, Automatic: true}
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(tx.SaveDevice(Device{UID: "dev:1"}), tx.Pause(Pause{DeviceUID: "dev:1", Reason: "unconfirmed", By: "notepay", At: at, Automatic: true}),
			tx.Pause(broken), tx.Pause(silent), tx.RemoveDevice("dev:1"), tx.Pause(Pause{DeviceUID: "dev:3", At: at}), tx.Resume("dev:3"), tx.Resume("dev:unknown"))
	})
	got, err := l.Pauses(t.Context())
	slices.SortFunc(got, func(a, b Pause) int { return strings.Compare(a.DeviceUID, b.DeviceUID) })
	if want := []Pause{broken, silent}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if read := inTx(l, func(tx *Tx) (Pause, error) { return tx.PauseOf("dev:1") }); read.err != nil || read.got != broken {
		t.Errorf("PauseOf: got %+v, %v; want %+v", read.got, read.err, broken)
	}
	if read := inTx(l, func(tx *Tx) (Pause, error) { return tx.PauseOf("dev:3") }); !errors.Is(read.err, ErrNotFound) {
		t.Errorf("PauseOf a device that is not paused: got %+v, %v; want %v", read.got, read.err, ErrNotFound)
	}
}

func testAudits(t *testing.T, database string) {
	l := open(t, database)
	at := time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)
	mustUpdate(t, l, func(tx *Tx) error {
		for i := range 5 {
			a := Audit{At: at.Add(time.Duration(i) * time.Second), Who: "anna", What: "pause", Subject: fmt.Sprintf("dev:%d", i%2), Why: fmt.Sprint("reason ", i), Before: "open", After: "paused"}
			if err := tx.AddAudit(a); err != nil {
				return err
			}
		}
		return tx.AddAudit(Audit{Who: "notepay", What: "resume", Subject: "dev:9"}) // now
	})
	for _, c := range []struct {
		subject string
		want    string
	}{{"dev:0", "reason 4,reason 2,reason 0"}, {"dev:1", "reason 3,reason 1"}, {"", ",reason 4,reason 3,reason 2,reason 1,reason 0"}, {"dev:unknown", ""}} {
		for limit := 1; limit < 8; limit++ {
			var whys []string
			for cursor := ""; ; {
				list, next, err := l.Audits(t.Context(), c.subject, limit, cursor)
				if err != nil || len(list) > limit {
					t.Fatalf("%d of %d, %v", len(list), limit, err)
				}
				for _, a := range list {
					whys = append(whys, a.Why)
				}
				if cursor = next; next == "" {
					break
				}
			}
			if got := strings.Join(whys, ","); got != c.want {
				t.Errorf("%q by pages of %d: %q; want %q", c.subject, limit, got, c.want)
			}
		}
	}
	list, _, err := l.Audits(t.Context(), "dev:0", 1, "")
	want := Audit{At: at.Add(4 * time.Second), Who: "anna", What: "pause", Subject: "dev:0", Why: "reason 4", Before: "open", After: "paused"}
	if err == nil {
		want.ID = list[0].ID
	}
	if err != nil || list[0] != want {
		t.Errorf("got %+v, %v; want %+v", list, err, want)
	}
	wantRefused(t, l.Update(t.Context(), func(tx *Tx) error { return tx.AddAudit(Audit{What: "pause"}) }), "check", "who")
}
