package payment

import (
	"testing"

	"notepay/internal/upstream"
)

// What follows for the delivery when others refund, cancel or dispute.
func TestReversalByOthers(t *testing.T) {
	confirm(t, map[string]row{
		"before the note, nothing is sent": {
			both,
			"",
			func(s *tale) { s.back(350) },
			end{Failed, ReasonReversed, Refunded, 350, "", NoStep, false},
		},
		"a note that waits is recalled": {both, "", func(s *tale) {
			s.post(upstream.OK)
			s.back(350)
			s.look("1:1")
			s.delete(upstream.OK)
			s.look()
		}, end{Failed, ReasonReversed, Refunded, 350, "", NoStep, false}},
		"a note that was fetched before cannot be": {plain, "", func(s *tale) {
			s.post(upstream.OK)
			s.back(350)
			s.look()
		}, end{Fetched, "", Refunded, 350, ReviewFetchedAnyway, NoStep, false}},
		"a confirming machine is notified": {confirms, "", func(s *tale) {
			s.post(upstream.OK)
			s.back(350)
			s.look()
			if n := NoteOf(s.p); n.PaymentStatus != "refunded" || n.CreditID != s.p.ID {
				s.Errorf("the word is %+v; want it told that the credit was refunded", n)
			}
			s.post(upstream.OK)
		}, end{Fetched, "", Refunded, 350, ReviewFetchedAnyway, NoStep, false}},
		"what runs is over": {
			plain,
			"",
			func(s *tale) { s.starts(); s.back(350) },
			end{Done, ReasonReversed, Refunded, 350, "", NoStep, false},
		},
		"what runs is over, and told to the machine": {confirms, "", func(s *tale) {
			s.starts()
			s.back(350)
			s.post(upstream.Unknown)
			s.post(upstream.OK)
		}, end{Done, ReasonReversed, Refunded, 350, "", NoStep, false}},
		"what is over stays so": {
			confirms,
			"",
			func(s *tale) { s.starts(); s.says("done"); s.back(350) },
			end{Done, "", Refunded, 350, "", NoStep, false},
		},
		"a part leaves the machine alone": {both, "", func(s *tale) {
			s.post(upstream.OK)
			s.back(100)
			s.back(50) // an older event, which comes late
		}, end{Sent, "", Paid, 100, "", StepCheckPending, true}},
		"after a part, the rest is ours to give": {both, "", func(s *tale) {
			s.back(100)
			s.refusedNote()
			if s.p.RefundAmount != 250 {
				s.Errorf("a refund of %d; want 250", s.p.RefundAmount)
			}
			s.refunded()
		}, end{Failed, ReasonRefused, Refunded, 350, "", NoStep, false}},
		"an authorization that others cancel": {confirms, Authorized, func(s *tale) {
			s.post(upstream.OK)
			s.is(ApplyCanceled(s.p, s.now))
			s.look("1:1")
			s.delete(upstream.OK)
			s.look()
		}, end{Failed, ReasonReversed, Canceled, 0, "", NoStep, false}},
		"an authorization that others capture": {
			confirms,
			Authorized,
			func(s *tale) { s.starts(); s.is(ApplyCaptured(s.p, s.now)) },
			end{Started, "", Paid, 0, "", NoStep, false},
		},
		"an authorization that others cancel during the capture": {
			confirms,
			Authorized,
			func(s *tale) { s.starts(); s.is(ApplyCanceled(s.p, s.now)) },
			end{Started, "", CaptureFailed, 0, ReviewCaptureFailed, NoStep, false},
		},

		"a dispute before the note: nothing is sent, nothing refunded": {
			both,
			"",
			func(s *tale) { s.dispute("needs_response") },
			end{Failed, ReasonDisputed, Disputed, 0, ReasonDisputed, NoStep, false},
		},
		"a dispute while the note waits recalls it": {both, "", func(s *tale) {
			s.post(upstream.OK)
			s.dispute("needs_response")
			s.look("1:1")
			s.delete(upstream.OK)
			s.look()
		}, end{Failed, ReasonDisputed, Disputed, 0, ReasonDisputed, NoStep, false}},
		"a dispute leaves what runs alone": {both, "", func(s *tale) { s.starts(); s.dispute("needs_response") },
			end{Started, "", Disputed, 0, ReasonDisputed, NoStep, false}},
		"a dispute stops a refund that is due": {
			both,
			"",
			func(s *tale) { s.refusedNote(); s.dispute("needs_response") },
			end{Failed, ReasonRefused, Disputed, 0, ReasonDisputed, NoStep, false},
		},
		"a machine that failed while the bank asks: never refund": {
			confirms,
			"",
			func(s *tale) { s.fetched(); s.dispute("needs_response"); s.says("failed") },
			end{Failed, ReasonFailed, Disputed, 0, ReasonDisputed, NoStep, false},
		},
		"a dispute that is won": {both, "", func(s *tale) { s.starts(); s.dispute("needs_response"); s.dispute("won") },
			end{Started, "", Paid, 0, "", NoStep, false}},
		"a dispute that is won for a credit that failed: the money goes back": {
			both,
			"",
			func(s *tale) { s.dispute("needs_response"); s.dispute("won"); s.refunded() },
			end{Failed, ReasonDisputed, Refunded, 350, "", NoStep, false},
		},
		"a dispute that is lost": {
			both,
			"",
			func(s *tale) { s.starts(); s.dispute("needs_response"); s.dispute("lost") },
			end{Started, "", DisputeLost, 0, ReviewDisputeLost, NoStep, false},
		},
		"a dispute that is lost is not opened again by an older event": {
			both,
			"",
			func(s *tale) { s.starts(); s.dispute("lost"); s.dispute("needs_response") },
			end{Started, "", DisputeLost, 0, ReviewDisputeLost, NoStep, false},
		},
		"an end of a dispute that never was changes nothing": {
			both,
			"",
			func(s *tale) { s.starts(); s.dispute("warning_closed") },
			end{Started, "", Paid, 0, "", NoStep, false},
		},
	})
}
