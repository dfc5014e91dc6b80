package console

import (
	"cmp"
	"fmt"
	"time"

	"notepay/internal/bridge"
	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// timeline is everything that is recorded about a payment.
type timeline struct {
	payment.Payment
	Attempts      []ledger.Attempt      // oldest first
	Confirmations []ledger.Confirmation // oldest first
	Events        []ledger.StripeEvent  // oldest first
	Audits        []ledger.Audit
	Reports       []ledger.Report // of the customer, oldest first
}

// diagnosis says why a machine did not start, or that it did.
type diagnosis struct {
	Short    string
	Evidence []string // the records that show it
}

// why answers "why did it not start?" from the records only. clock formats times.
func (s *timeline) why(now time.Time, clock func(time.Time) string) diagnosis {
	a := diagnosis{Short: s.summary(now, clock), Evidence: []string{s.origin(clock)}}
	if line := s.delivery(clock); line != "" {
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
		a.Evidence = append(a.Evidence, "The machine has not answered.")
	case s.Delivery != payment.Failed:
		a.Evidence = append(a.Evidence,
			"This machine is not expected to answer (CONFIRM_WITHIN was 0), so nobody knows whether it started.")
	}
	return a
}

// summary returns the answer in one or two sentences.
func (s *timeline) summary(now time.Time, clock func(time.Time) string) string {
	switch s.Delivery {
	case payment.Started, payment.Done:
		switch {
		case s.Reason == payment.ReasonStartedAfter:
			return "The machine started at " + clock(s.StartedAt) + ", but only after the money had gone back."
		case s.StartedAt.IsZero():
			return "The machine started: it said that it has finished."
		default:
			return "The machine started: it said so at " + clock(s.StartedAt) + "."
		}
	case payment.Fetched:
		switch {
		case s.ConfirmBy.IsZero():
			return "The machine's Notecard fetched the credit. Nothing more can be known. " +
				"If nothing happened, check the machine itself."
		case now.Before(s.ConfirmBy):
			return "The machine has the credit and may still start. notepay waits for its answer until " +
				clock(s.ConfirmBy) + "."
		default:
			return "The machine has the credit and should have answered by " +
				clock(s.ConfirmBy) + ". notepay asks Notehub once more for the answer, then the money goes back."
		}
	case payment.Sent:
		until := ""
		if !s.ExpiresAt.IsZero() {
			until = " If the machine does not fetch the credit by " + clock(s.ExpiresAt) +
				", notepay takes it back and returns the money."
		}
		return "Notehub holds the credit. The machine has not fetched it as far as notepay knows: " +
			"it may be offline, asleep, or on a slow connection." + until
	case payment.Queued:
		switch {
		case payment.InDoubt(s.Payment, now):
			return "Notehub never said that it took the credit, and notepay no longer sends it. " +
				"If the machine has it anyway, it says so by " + clock(s.ConfirmBy) + ". Otherwise the money goes back."
		case s.OutcomeUnknown:
			return "The call was cut, so notepay does not know whether Notehub took the credit. " +
				"It checks before it sends the credit again."
		case s.Failures > 0:
			return "Notehub has not taken the credit yet. notepay keeps trying."
		case s.CancelReason != "":
			return "The credit was stopped before it was sent."
		default:
			return "The credit is about to be sent."
		}
	}
	return s.notStarted()
}

// notStarted says why a credit failed.
func (s *timeline) notStarted() string {
	switch s.Reason {
	case payment.ReasonAdopted:
		return "This was paid before the records begin, or before the ledger was restored. " +
			"The machine may have been started then. This installation did nothing."
	case payment.ReasonExpired:
		if s.said("expired") {
			return "The credit reached the machine too late, and the machine refused it. " +
				"Its clock may be wrong, or its connection slow."
		}
		return "Notehub did not take the credit before it expired (CREDIT_LIFETIME)."
	case payment.ReasonRefused:
		return "Notehub rejected the credit for this machine. " +
			"The machine may have been removed, or moved to another project."
	case payment.ReasonUnknownDevice:
		return "The machine was not in the Notehub project (or fleet) " +
			"when notepay read the machines after the payment."
	case payment.ReasonNotSelling:
		return "The machine was not taking payments when this was paid: " +
			"paused, disabled, switched off or offline. An old link or an open page can still be paid."
	case payment.ReasonBusy:
		if s.said("busy") {
			return "The machine said that it was in use."
		}
		return "Another customer was still using this machine."
	case payment.ReasonFailed:
		return "The machine got the credit and reported that it could not start" + code(s.MachineCode) + "."
	case payment.ReasonRecalled:
		return "The machine did not fetch the credit in time, so notepay took it back. " +
			"The machine was offline or asleep."
	case payment.ReasonRecallUnclear:
		return "The machine did not fetch the credit in time, so notepay took it back. " +
			"The connection to Notehub was cut meanwhile, so the machine may have fetched it after all."
	case payment.ReasonUnclear:
		return "The connection to Notehub was cut while notepay sent the credit, and Notehub did not have it " +
			"afterwards. Either Notehub never took it, or the machine had fetched it already."
	case payment.ReasonUnconfirmed:
		return "The machine fetched the credit but did not report a start (CONFIRM_WITHIN). " +
			"Its host may be off, or the cable to the Notecard loose."
	case payment.ReasonReversed:
		return "The payment was refunded before the machine started, so notepay took the credit back."
	case payment.ReasonDisputed:
		return "The payment was disputed before the machine started, so notepay took the credit back."
	case payment.ReasonEnded:
		return "The start was canceled in this console or through the API."
	}
	return "The machine did not start: " + cmp.Or(reasonWords(s.Reason), "no reason is recorded") + "."
}

// code formats a machine's code in brackets.
func code(machineCode string) string {
	if machineCode == "" {
		return ""
	}
	return " (" + machineCode + ")"
}

// said reports whether the machine sent a confirmation with a state.
func (s *timeline) said(state string) bool {
	for _, c := range s.Confirmations {
		if c.State == state {
			return true
		}
	}
	return false
}

// origin says how notepay learned about the payment.
func (s *timeline) origin(clock func(time.Time) string) string {
	if s.PaymentIntent == "" && s.Amount == 0 {
		return "This was a free start, recorded at " + clock(s.CreatedAt) + "."
	}
	late := ""
	if d := s.CreatedAt.Sub(s.PaidAt); d > time.Minute {
		late = ", " + roughDuration(d) + " after the payment"
	}
	for _, e := range s.Events {
		if e.Outcome == bridge.Recorded || e.Outcome == bridge.Adopted {
			return "Stripe reported the payment at " + clock(e.Received) + late + "."
		}
	}
	return "notepay found the payment at Stripe at " + clock(s.CreatedAt) + late + "."
}

// delivery says how often the credit was sent, and with what result.
func (s *timeline) delivery(clock func(time.Time) string) string {
	calls, last := 0, ledger.Attempt{}
	for _, a := range s.Attempts {
		if a.Action == payment.StepPostNote {
			calls, last = calls+1, a
		}
	}
	if calls == 0 {
		return "Nothing was sent to Notehub."
	}
	times := "once"
	if calls > 1 {
		times = fmt.Sprintf("%d times, last", calls)
	}
	how := "Notehub took the credit"
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
	return "The credit was sent " + times + " at " + clock(last.At) + ": " + how + "."
}
