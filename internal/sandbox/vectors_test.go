package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// vector is one step of tests/firmware/vectors.jsonl, which the firmware in C runs too.
type vector struct {
	Scenario string          `json:"scenario"`
	Note     json.RawMessage `json:"note"`
	Pass     int             `json:"pass"`
	Refuse   *string         `json:"refuse"`
	Restart  bool            `json:"restart"`
	Want     *string         `json:"want"`
	Started  *string         `json:"started"`
}

func TestMachineDecidesAsTheFirmware(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("../../tests/firmware/vectors.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	scenarios := map[string][]vector{}
	var names []string
	for line := range bytes.Lines(file) {
		var v vector
		decoder := json.NewDecoder(bytes.NewReader(line))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&v); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if v.Scenario != "" {
			names = append(names, v.Scenario)
			continue
		}
		last := names[len(names)-1]
		scenarios[last] = append(scenarios[last], v)
	}
	if len(names) < 25 || len(scenarios) != len(names) {
		t.Errorf("got %d scenarios, %d names; want 25 or more, each with its name", len(scenarios), len(names))
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, MachineConfig{Confirms: true})
				for _, v := range scenarios[name] {
					r.follow(v)
				}
			})
		})
	}
}

// follow runs one step.
func (r *rig) follow(v vector) {
	r.t.Helper()
	switch {
	case v.Note != nil:
		if status, answer := hubCall(r.t, r.hub, "POST", "/devices/"+machine1+"/notes/payment.qi",
			`{"body":`+string(v.Note)+`}`); status != 200 {
			r.t.Fatalf("got %d %v; want the note accepted", status, answer)
		}
	case v.Refuse != nil && *v.Refuse == "":
		r.SetBehavior(Behavior{})
	case v.Refuse != nil && *v.Refuse == "busy":
		r.SetBehavior(Behavior{Refuse: "busy"})
	case v.Refuse != nil:
		r.SetBehavior(Behavior{Refuse: "failed", Code: *v.Refuse})
	case v.Restart:
		r.SetPower(false)
		r.Step()
		r.SetPower(true)
	case v.Want != nil:
		var answered, started []string
		for _, a := range r.hub.Answers(machine1) {
			answered = append(answered, strings.TrimSpace(textOf(a, "credit_id")+" "+textOf(a, "state")+" "+
				textOf(a, "code")))
		}
		for _, s := range r.Starts() {
			text := s.CreditID
			if s.Pulses > 0 || s.Output > 0 {
				text += fmt.Sprintf(" %d %d", s.Pulses, s.Output)
			}
			started = append(started, text)
		}
		if got := strings.Join(answered, ", "); got != *v.Want {
			r.t.Errorf("answered %q; want %q", got, *v.Want)
		}
		if got := strings.Join(started, ", "); v.Started != nil && got != *v.Started {
			r.t.Errorf("started %q; want %q", got, *v.Started)
		}
	default:
		r.pass(time.Duration(v.Pass) * time.Second)
	}
}
