package console

import (
	"cmp"
	"fmt"
	"time"

	"notepay/internal/bridge"
	"notepay/internal/ledger"
)

// story is what is recorded of a payment.
type story struct {
	ledger.Payment
	Attempts      []ledger.Attempt      // oldest first
	Confirmations []ledger.Confirmation // oldest first
	Events        []ledger.StripeEvent  // oldest first
	Audits        []ledger.Audit
}

// answer is why a machine did not start, or that it did.
type answer struct {
	Short    string
	Evidence []string // what is recorded that says so
}

// why answers "why did it not start?" from what is recorded and from nothing else.
func (s *story) why(now time.Time, clock func(time.Time) string) answer {
	a := answer{Short: s.inShort(now, clock), Evidence: []string{s.heardOfIt(clock)}}
	if line := s.tried(clock); line != "" {
		a.Evidence = append(a.Evidence, line)
	}
	switch n := len(s.Confirmations); {
	case n > 0:
		last := s.Confirmations[n-1]
		line := "The machine said at " + clock(last.At) + " that " + confirmationWords(last.State)
		if last.Code != "" {
			line += ", with its code " + last.Code
		}
		a.Evidence = append(a.Evidence, line+".")
	case !s.ConfirmBy.IsZero():
		a.Evidence = append(a.Evidence, "The machine has said nothing.")
	case s.Machine != ledger.Failed:
		a.Evidence = append(
			a.Evidence,
			"This machine is not expected to answer (CONFIRM_WITHIN was 0), so it is not known whether it started.",
		)
	}
	return a
}

func (s *story) inShort(now time.Time, clock func(time.Time) string) string {
	switch s.Machine {
	case ledger.Started, ledger.Done:
		switch {
		case s.Reason == bridge.ReasonStartedAfter:
			return "It did start, at " + clock(s.StartedAt) + ", but only after the money had gone back."
		case s.StartedAt.IsZero():
			return "It did start: the machine said that it has finished."
		default:
			return "It did start: the machine said so at " + clock(s.StartedAt) + "."
		}
	case ledger.Fetched:
		switch {
		case s.ConfirmBy.IsZero():
			return "The machine's Notecard fetched the credit, which is all that can be known of it. If nothing happened, look at the machine itself."
		case now.Before(s.ConfirmBy):
			return "The machine has the credit and may still start: its answer is waited for until " + clock(
				s.ConfirmBy,
			) + "."
		default:
			return "The machine has the credit and should have answered by " + clock(
				s.ConfirmBy,
			) + ". As soon as Notehub was asked for its answers, the money goes back."
		}
	case ledger.Sent:
		until := ""
		if !s.ExpiresAt.IsZero() {
			until = " If it does not by " + clock(s.ExpiresAt) + ", the credit is taken back and so is the payment."
		}
		return "Notehub holds the credit, and it is not known yet that the machine fetched it. It is offline, asleep, or on a slow connection." + until
	case ledger.Queued:
		switch {
		case bridge.InDoubt(s.Payment, now):
			return "Notehub never said that it took the credit, and it is not sent any more. Should the machine have it all the same, it says so by " +
				clock(
					s.ConfirmBy,
				) + "; else the money goes back."
		case s.Unclear:
			return "It is not known whether Notehub took the credit: the call was cut. It is looked for before it is sent again."
		case s.Failures > 0:
			return "Notehub has not taken the credit yet. It is sent again until it does."
		case s.Stop != "":
			return "It was stopped before it was sent."
		default:
			return "It is about to be sent."
		}
	}
	return s.notStarted()
}

// notStarted is why a machine failed.
func (s *story) notStarted() string {
	switch s.Reason {
	case bridge.ReasonAdopted:
		return "It was paid before these records begin, or before the ledger was restored. Another installation, or this one before that, may have started the machine; this one did nothing."
	case bridge.ReasonExpired:
		if s.said("expired") {
			return "The credit reached the machine too late: it refused it as out of date. Its clock may be wrong, or its connection slow."
		}
		return "Notehub could not be given the credit before its time ran out (CREDIT_LIFETIME)."
	case bridge.ReasonRefused:
		return "Notehub refused to take the credit for this machine. It may have been removed, or moved to another project."
	case bridge.ReasonUnknownDevice:
		return "The machine was not in the Notehub project (or fleet) when the devices were read after the payment."
	case bridge.ReasonNotSelling:
		return "The machine was out of sale when this was paid: paused, disabled, switched off or offline. An old link or an open page can still be paid."
	case bridge.ReasonBusy:
		if s.said("busy") {
			return "The machine said that it was in use."
		}
		return "Another customer's time on this machine had not ended."
	case bridge.ReasonFailed:
		return "The machine got the credit and reported that it could not start" + code(s.Code) + "."
	case bridge.ReasonRecalled:
		return "The machine did not fetch the credit in time, so it was taken back from Notehub. It was offline or asleep."
	case bridge.ReasonRecallUnclear:
		return "The machine did not fetch the credit in time as far as is known. While it was taken back the connection to Notehub was cut, so it may have been fetched after all."
	case bridge.ReasonUnclear:
		return "The connection to Notehub was cut while the credit was sent, and it was not found afterwards: either it was never taken, or the machine had fetched it already."
	case bridge.ReasonUnconfirmed:
		return "The machine fetched the credit but did not say that it started (CONFIRM_WITHIN). Its host may be off, or the cable to the Notecard loose."
	case bridge.ReasonReversed:
		return "The money was given back before the machine started, so the credit was taken back."
	case bridge.ReasonDisputed:
		return "The payment was disputed before the machine started, so the credit was taken back."
	case bridge.ReasonEnded:
		return "It was ended in this console or through the API before the machine started."
	}
	return "It did not start: " + cmp.Or(reasonWords(s.Reason), "no reason is recorded") + "."
}

func code(of string) string {
	if of == "" {
		return ""
	}
	return " (" + of + ")"
}

func (s *story) said(state string) bool {
	for _, c := range s.Confirmations {
		if c.State == state {
			return true
		}
	}
	return false
}

// heardOfIt is how the payment came to be known.
func (s *story) heardOfIt(clock func(time.Time) string) string {
	if s.PaymentIntent == "" && s.Amount == 0 {
		return "Nobody paid for it; it was recorded at " + clock(s.CreatedAt) + "."
	}
	late := ""
	if d := s.CreatedAt.Sub(s.PaidAt); d > time.Minute {
		late = ", " + length(d) + " after it was paid"
	}
	for _, e := range s.Events {
		if e.Outcome == bridge.Recorded || e.Outcome == bridge.Adopted {
			return "Stripe's event told of it at " + clock(e.Received) + late + "."
		}
	}
	return "It was recorded at " + clock(s.CreatedAt) + late + ", because Stripe was asked."
}

// tried is what became of sending it.
func (s *story) tried(clock func(time.Time) string) string {
	calls, last := 0, ledger.Attempt{}
	for _, a := range s.Attempts {
		if a.Action == ledger.PostNote {
			calls, last = calls+1, a
		}
	}
	if calls == 0 {
		return "Nothing was sent to Notehub for it."
	}
	times := "once"
	if calls > 1 {
		times = fmt.Sprintf("%d times", calls)
	}
	how := "Notehub took it"
	switch {
	case last.Outcome == "ok":
	case last.Status == 0:
		how = "Notehub did not answer"
	default:
		how = fmt.Sprintf("Notehub answered with status %d", last.Status)
	}
	if last.Outcome != "ok" && last.Detail != "" {
		how += " (" + last.Detail + ")"
	}
	return "It was sent " + times + ", the last time at " + clock(last.At) + ": " + how + "."
}
