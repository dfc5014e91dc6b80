package console

import (
	"cmp"
	"strconv"
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

	lang lang // of its texts
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
		line, values := "The machine said at {time}: {what}.", []string{
			"time", clock(last.At), "what", s.lang.T(confirmationWords(last.State)),
		}
		if last.Code != "" {
			line = "The machine said at {time}: {what}, with its code {code}."
			values = append(values, "code", last.Code)
		}
		a.Evidence = append(a.Evidence, s.lang.T(line, values...))
	case !s.ConfirmBy.IsZero():
		a.Evidence = append(a.Evidence, s.lang.T("The machine has not answered."))
	case s.Delivery != payment.Failed:
		a.Evidence = append(a.Evidence, s.lang.T(
			"This machine is not expected to answer (CONFIRM_WITHIN was 0), so nobody knows whether it started."))
	}
	return a
}

// summary returns the answer in one or two sentences.
func (s *timeline) summary(now time.Time, clock func(time.Time) string) string {
	switch s.Delivery {
	case payment.Started, payment.Done:
		switch {
		case s.Reason == payment.ReasonStartedAfter:
			return s.lang.T("The machine started at {time}, but only after the money had gone back.",
				"time", clock(s.StartedAt))
		case s.StartedAt.IsZero():
			return s.lang.T("The machine started: it said that it has finished.")
		default:
			return s.lang.T("The machine started: it said so at {time}.", "time", clock(s.StartedAt))
		}
	case payment.Fetched:
		switch {
		case s.ConfirmBy.IsZero():
			return s.lang.T("The machine's Notecard fetched the credit. Nothing more can be known. " +
				"If nothing happened, check the machine itself.")
		case now.Before(s.ConfirmBy):
			return s.lang.T("The machine has the credit and may still start. "+
				"notepay waits for its answer until {time}.", "time", clock(s.ConfirmBy))
		default:
			return s.lang.T("The machine has the credit and should have answered by {time}. "+
				"notepay asks Notehub once more for the answer, then the money goes back.", "time", clock(s.ConfirmBy))
		}
	case payment.Sent:
		until := ""
		if !s.ExpiresAt.IsZero() {
			until = " " + s.lang.T("If the machine does not fetch the credit by {time}, "+
				"notepay takes it back and returns the money.", "time", clock(s.ExpiresAt))
		}
		return s.lang.T("Notehub holds the credit. The machine has not fetched it as far as notepay knows: "+
			"it may be offline, asleep, or on a slow connection.") + until
	case payment.Queued:
		switch {
		case payment.InDoubt(s.Payment, now):
			return s.lang.T("Notehub never said that it took the credit, and notepay no longer sends it. "+
				"If the machine has it anyway, it says so by {time}. Otherwise the money goes back.",
				"time", clock(s.ConfirmBy))
		case s.OutcomeUnknown:
			return s.lang.T("The call was cut, so notepay does not know whether Notehub took the credit. " +
				"It checks before it sends the credit again.")
		case s.Failures > 0:
			return s.lang.T("Notehub has not taken the credit yet. notepay keeps trying.")
		case s.CancelReason != "":
			return s.lang.T("The credit was stopped before it was sent.")
		default:
			return s.lang.T("The credit is about to be sent.")
		}
	}
	return s.lang.T(s.notStarted(), "code", code(s.MachineCode),
		"reason", s.lang.T(cmp.Or(reasonWords(s.Reason), "no reason is recorded")))
}

// notStarted says in English why a credit failed, with placeholders for the machine's code and the
// reason.
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
		return "The machine got the credit and reported that it could not start{code}."
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
	return "The machine did not start: {reason}."
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
	if s.PaymentIntent == "" && s.Amount == 0 && s.Discount == 0 {
		return s.lang.T("This was a free start, recorded at {time}.", "time", clock(s.CreatedAt))
	}
	late := ""
	if d := s.CreatedAt.Sub(s.PaidAt); d > time.Minute {
		late = s.lang.T(", {time} after the payment", "time", s.lang.roughDuration(d))
	}
	for _, e := range s.Events {
		if e.Outcome == bridge.Recorded || e.Outcome == bridge.Adopted {
			return s.lang.T("Stripe reported the payment at {time}{late}.", "time", clock(e.Received), "late", late)
		}
	}
	return s.lang.T("notepay found the payment at Stripe at {time}{late}.", "time", clock(s.CreatedAt), "late", late)
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
		return s.lang.T("Nothing was sent to Notehub.")
	}
	how := s.lang.T("Notehub took the credit")
	switch {
	case last.Outcome == "ok":
	case last.Status == 0:
		how = s.lang.T("Notehub did not answer")
	default:
		how = s.lang.T("Notehub answered with status {status}", "status", strconv.Itoa(last.Status))
	}
	if last.Outcome != "ok" && last.Detail != "" {
		how += " (" + last.Detail + ")"
	}
	if calls == 1 {
		return s.lang.T("The credit was sent once at {time}: {how}.", "time", clock(last.At), "how", how)
	}
	return s.lang.T("The credit was sent {n} times, last at {time}: {how}.",
		"n", strconv.Itoa(calls), "time", clock(last.At), "how", how)
}
