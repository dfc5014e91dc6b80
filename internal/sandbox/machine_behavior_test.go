package sandbox

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// rig is a machine that steps every second, with a project of its own, in fake time.
type rig struct {
	*Machine
	t   *testing.T
	hub *Notehub
}

func newRig(t *testing.T, c MachineConfig) *rig {
	t.Helper()
	c.Device = machine1
	n := newHub(t)
	return &rig{Machine: NewMachine(n, c), t: t, hub: n}
}

// post posts a note of a credit with additional members.
func (r *rig) post(status, credit, more string) {
	r.t.Helper()
	body := fmt.Sprintf(`{"body":{"payment_status":%q,"timestamp":946684800,"session_id":"cs_1","credit_id":%q%s}}`,
		status, credit, more)
	code, answer := hubCall(r.t, r.hub, "POST", "/devices/"+machine1+"/notes/payment.qi", body)
	if code != http.StatusOK {
		r.t.Fatalf("got %d %v; want the note accepted", code, answer)
	}
}

// pass advances the time, with a step each second.
func (r *rig) pass(d time.Duration) {
	for ; d > 0; d -= time.Second {
		time.Sleep(time.Second)
		r.Step()
	}
}

// want compares the started credits and the answers, such as "cr_1:started", with the wanted ones.
func (r *rig) want(when, starts, answers string) {
	r.t.Helper()
	var started, answered []string
	for _, s := range r.Starts() {
		started = append(started, s.CreditID)
	}
	_, answer := hubCall(r.t, r.hub, "GET", "/events-cursor?files=payment_ack.qo", "")
	for _, e := range answer["events"].([]any) {
		body := e.(map[string]any)["body"].(map[string]any)
		answered = append(answered,
			strings.TrimSuffix(fmt.Sprint(body["credit_id"], ":", body["state"], ":", body["code"]), ":"))
	}
	if got := strings.Join(started, " "); got != starts {
		r.t.Errorf("%s: started %q; want %q", when, got, starts)
	}
	if got := strings.Join(answered, " "); got != answers {
		r.t.Errorf("%s: answered %q; want %q", when, got, answers)
	}
}

func TestMachineBehavior(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name            string
		behavior        Behavior
		starts, answers string
	}{
		{"in order", Behavior{}, "cr_1", "cr_1:started"},
		{"its door is open", Behavior{Refuse: "failed", Code: "E-DOOR"}, "", "cr_1:failed:E-DOOR"},
		{"it is in use", Behavior{Refuse: "busy"}, "", "cr_1:busy"},
		{"it starts in silence", Behavior{Silent: true}, "cr_1", ""},
		{"it does nothing", Behavior{Refuse: "failed", Silent: true}, "", ""},
		{"it says everything twice", Behavior{Twice: true}, "cr_1", "cr_1:started cr_1:started"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, MachineConfig{Confirms: true})
				r.SetBehavior(row.behavior)
				r.post("completed", "cr_1", "")
				r.pass(time.Minute)
				r.want("after a minute", row.starts, row.answers)
				if left := r.hub.Pending(machine1, creditFile); len(left) != 0 {
					t.Errorf("got %d notes pending; want all fetched", len(left))
				}
			})
		})
	}
}

func TestMachineAnswersLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, MachineConfig{Confirms: true})
		r.SetBehavior(Behavior{AnswerLate: time.Minute})
		r.post("completed", "cr_1", "")
		r.pass(time.Minute)
		r.want("before", "cr_1", "")
		r.pass(time.Second)
		r.want("after", "cr_1", "cr_1:started")
	})
}

func TestMachineLosesPowerBetweenFetchAndStart(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name            string
		config          MachineConfig
		dark            time.Duration
		starts, answers string
	}{
		{"a firmware that keeps what it fetched starts once", MachineConfig{Confirms: true}, time.Minute, "cr_1",
			"cr_1:started cr_1:started"},
		{"it knows that it is too late", MachineConfig{Confirms: true}, time.Hour, "", "cr_1:expired cr_1:expired"},
		{"it may keep without answering", MachineConfig{}, time.Minute, "cr_1", ""},
		{"the original one has lost the first", MachineConfig{Original: true, Confirms: true}, time.Minute, "cr_1", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, row.config)
				r.SetBehavior(Behavior{LosePower: true})
				const expires = `,"expires":946685400` // ten minutes after the start of the fake time
				r.post("completed", "cr_1", expires)
				r.pass(row.dark)
				r.want("in the dark", "", "")
				if left := r.hub.Pending(machine1, creditFile); len(left) != 0 {
					t.Errorf("got %d notes pending; want it fetched", len(left))
				}
				r.SetPower(true)
				r.pass(time.Second)
				r.post("completed", "cr_1", expires)
				r.pass(time.Minute)
				r.want("after power-up and a repeat", row.starts, row.answers)
			})
		})
	}
}

func TestMachineAnswersWaitForAConnection(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(r *rig, off bool){
		"offline":  func(r *rig, off bool) { r.SetOnline(!off) },
		"disabled": func(r *rig, off bool) { r.hub.SetDevice(machine1, func(d *Device) { d.Disabled = off }) },
		"no power": func(r *rig, off bool) { r.SetPower(!off) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, MachineConfig{Confirms: true})
				r.post("completed", "cr_1", `,"duration_s":60`)
				r.pass(time.Second)
				cut(r, true)
				r.post("completed", "cr_2", "")
				r.pass(time.Hour)
				r.want("cut off", "cr_1", "cr_1:started")
				cut(r, false)
				r.pass(time.Second)
				r.want("back again", "cr_1 cr_2", "cr_1:started cr_1:done cr_2:started")
			})
		})
	}
}

func TestMachineRunsATimedCredit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, MachineConfig{Confirms: true})
		r.post("completed", "cr_1", `,"duration_s":60,"delayed_start_s":30`)
		r.pass(time.Second)
		r.want("at once", "cr_1", "cr_1:started")
		s, ok := r.Running()
		if !ok || s.CreditID != "cr_1" || s.Delay != 30*time.Second || s.Duration != time.Minute ||
			!s.Ends().Equal(s.At.Add(90*time.Second)) {
			t.Errorf("got %+v, %t; want cr_1 running for 30 s and 60 s", s, ok)
		}
		r.post("completed", "cr_2", "")
		r.pass(89 * time.Second)
		r.want("before the end", "cr_1", "cr_1:started cr_2:busy")
		r.pass(time.Second)
		r.want("at the end", "cr_1", "cr_1:started cr_2:busy cr_1:done")
		if s, ok := r.Running(); ok {
			t.Errorf("got %+v running; want nothing", s)
		}
		r.post("completed", "cr_3", "")
		r.pass(time.Second)
		r.want("afterwards", "cr_1 cr_3", "cr_1:started cr_2:busy cr_1:done cr_3:started")
		if s, ok := r.Running(); ok {
			t.Errorf("got %+v running; want nothing, for it is not timed", s)
		}
	})
}

func TestMachineThatConfirmsStopsByNote(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, status, credit string
		config               MachineConfig
		running              bool
		answers              string
	}{
		{"refunded", "refunded", "cr_1", MachineConfig{Confirms: true}, false, "cr_1:started cr_1:done"},
		{"ended", "ended", "cr_1", MachineConfig{Confirms: true}, false, "cr_1:started cr_1:done"},
		{"another credit", "ended", "cr_2", MachineConfig{Confirms: true}, true, "cr_1:started"},
		{"another status", "disputed", "cr_1", MachineConfig{Confirms: true}, true, "cr_1:started"},
		{"a machine that does not confirm", "refunded", "cr_1", MachineConfig{}, true, ""},
		{"the original firmware", "refunded", "cr_1", MachineConfig{Original: true, Confirms: true}, true, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, row.config)
				r.post("completed", "cr_1", `,"duration_s":3600`)
				r.pass(time.Minute)
				r.post(row.status, row.credit, "")
				r.pass(time.Minute)
				r.want("after the note", "cr_1", row.answers)
				if s, ok := r.Running(); ok != row.running {
					t.Errorf("got %+v, running %t; want %t", s, ok, row.running)
				}
			})
		})
	}
}

func TestMachineIgnoresACreditAfterItsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, MachineConfig{Confirms: true})
		r.post("refunded", "cr_1", "")
		r.post("completed", "cr_1", "")
		r.pass(time.Second)
		r.want("both fetched", "", "cr_1:failed:E-STOP")
	})
}
