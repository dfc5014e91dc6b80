package payment

import (
	"testing"
	"time"
)

func TestApplyEarlyCheckOvertaken(t *testing.T) {
	t.Parallel()
	sent := Next(noteAccepted(queuedPayment(), noon), noon)
	if p := ApplyEarlyCheck(sent, sent.FencingToken, noon.Add(time.Second)); p.Delivery != Fetched || !Closed(p) {
		t.Fatalf("a note that is not pending any more makes %+v; want it fetched", p)
	}
	for name, change := range map[string]func(p *Payment){
		"sent again":                func(p *Payment) { p.FencingToken += 2 },
		"a call is in flight":       func(p *Payment) { p.InFlight = true },
		"to be recalled":            func(p *Payment) { p.CancelReason = ReasonEnded },
		"being recalled":            func(p *Payment) { p.RecallStatus = RecallDeleted },
		"a deletion was unclear":    func(p *Payment) { p.OutcomeUnknown = true },
		"the machine will say so":   func(p *Payment) { p.ConfirmBy = noon.Add(time.Minute) },
		"to be sent":                func(p *Payment) { p.Delivery = Queued },
		"the customer has it back":  func(p *Payment) { p.Delivery = Failed },
		"the machine has confirmed": func(p *Payment) { p.Delivery = Started },
	} {
		before := sent
		change(&before)
		if after := ApplyEarlyCheck(before, sent.FencingToken, noon.Add(time.Second)); after != before {
			t.Errorf("%s: the check made %+v of it; want it unchanged", name, after)
		}
	}
}
