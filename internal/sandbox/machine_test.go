package sandbox

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestMachineStarts(t *testing.T) {
	t.Parallel()
	const three = `"payment_status":"completed","timestamp":946684800,"session_id":"cs_1"`
	for _, row := range []struct {
		name     string
		config   MachineConfig
		notes    []string // after a minute
		starts   int
		confirms string
	}{
		{"an original note", MachineConfig{}, []string{three}, 1, ""},
		{"an original note twice", MachineConfig{}, []string{three, three}, 2, ""},
		{"the same credit twice", MachineConfig{Confirms: true},
			[]string{three + `,"credit_id":"cr_1"`, three + `,"credit_id":"cr_1"`}, 1, "started started"},
		{"two credits", MachineConfig{Confirms: true},
			[]string{three + `,"credit_id":"cr_1"`, three + `,"credit_id":"cr_2"`}, 2, "started started"},
		{"an expired credit", MachineConfig{Confirms: true},
			[]string{three + `,"credit_id":"cr_1","expires":946684830`}, 0, "expired"},
		{"a credit that has not expired", MachineConfig{Confirms: true},
			[]string{three + `,"credit_id":"cr_1","expires":946684900`}, 1, "started"},
		{"an expired credit that is missed", MachineConfig{MissExpiry: true},
			[]string{three + `,"credit_id":"cr_1","expires":946684830`}, 1, ""},
		{"the original firmware keeps no ids and knows no expiry", MachineConfig{Original: true},
			[]string{three + `,"credit_id":"cr_1","expires":946684830`, three + `,"credit_id":"cr_1"`}, 2, ""},
		{"a note that stops", MachineConfig{Confirms: true},
			[]string{`"payment_status":"refunded","session_id":"cs_1","credit_id":"cr_1"`}, 0, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { // the fake time begins at 946684800
				n := newHub(t)
				row.config.Device = machine1
				m := NewMachine(n, row.config)
				for _, note := range row.notes {
					status, answer := hubCall(t, n, "POST", "/devices/"+machine1+"/notes/payment.qi",
						`{"body":{`+note+`}}`)
					if status != http.StatusOK {
						t.Fatalf("got %d %v; want the note accepted", status, answer)
					}
				}
				time.Sleep(time.Minute)
				m.Step()
				if got := m.Starts(); len(got) != row.starts {
					t.Errorf("got starts %+v; want %d", got, row.starts)
				}
				var states []string
				_, answer := hubCall(t, n, "GET", "/events-cursor?files=payment_ack.qo", "")
				events, _ := answer["events"].([]any)
				for _, e := range events {
					event, _ := e.(map[string]any)
					body, _ := event["body"].(map[string]any)
					states = append(states, fmt.Sprint(body["state"]))
				}
				if got := strings.Join(states, " "); got != row.confirms {
					t.Errorf("got confirmations %q; want %q", got, row.confirms)
				}
			})
		})
	}
}

func TestMachineFetchesWhileOnline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newHub(t)
		m := NewMachine(n, MachineConfig{Device: machine1, Every: 10 * time.Second})
		m.SetOnline(false)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); m.Run(ctx) }()
		hubCall(t, n, "POST", "/devices/"+machine1+"/notes/payment.qi",
			`{"body":{"payment_status":"completed","session_id":"cs_1","credit_id":"cr_1","duration_s":60}}`)
		time.Sleep(time.Hour + 5*time.Second)
		if got := m.Starts(); len(got) != 0 {
			t.Errorf("got starts %+v while offline; want none", got)
		}
		m.SetOnline(true)
		began := time.Now()
		time.Sleep(15 * time.Second)
		got := m.Starts()
		if len(got) != 1 || got[0].CreditID != "cr_1" || got[0].SessionID != "cs_1" || got[0].Duration != time.Minute ||
			got[0].At.Sub(began) != 5*time.Second {
			t.Errorf("got starts %+v; want one for cr_1 after 5 s", got)
		}
		n.SetDevice(machine1, func(d *Device) { d.Disabled = true })
		hubCall(t, n, "POST", "/devices/"+machine1+"/notes/payment.qi",
			`{"body":{"payment_status":"completed","credit_id":"cr_2"}}`)
		time.Sleep(time.Hour)
		if got := len(m.Starts()); got != 1 {
			t.Errorf("got %d starts of a disabled device; want 1", got)
		}
		stop()
		<-done
	})
}
