package console

import (
	"strconv"
	"strings"

	"notepay/internal/bridge"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/web"
)

// word is a state in a word for people, with the class that gives it its colour: "good", "wait",
// "bad" or "" for neither.
type word struct{ Text, Class string }

// machineWords is how far the credit has come.
func machineWords(p ledger.Payment) word {
	switch p.Machine {
	case ledger.Queued:
		return word{"not sent yet", "wait"}
	case ledger.Sent:
		return word{"waiting for the machine", "wait"}
	case ledger.Fetched:
		if p.ConfirmBy.IsZero() {
			return word{"received by the machine", "good"}
		}
		return word{"waiting for its confirmation", "wait"}
	case ledger.Started:
		return word{"started", "good"}
	case ledger.Done:
		return word{"finished", "good"}
	case ledger.Failed:
		return word{"did not start", "bad"}
	}
	return word{string(p.Machine), ""}
}

// moneyWords is where the money is.
func moneyWords(p ledger.Payment) word {
	if p.Amount == 0 {
		return word{"free", ""}
	}
	switch p.Money {
	case ledger.Authorized:
		return word{"held, not charged", "wait"}
	case ledger.Capturing:
		return word{"being charged", "wait"}
	case ledger.Paid:
		if p.RefundedAmount+p.LostAmount > 0 {
			return word{"partly refunded", "good"}
		}
		return word{"paid", "good"}
	case ledger.Releasing:
		return word{"hold being released", "wait"}
	case ledger.Released:
		return word{"hold released, not charged", ""}
	case ledger.CaptureFailed:
		return word{"charge failed", "bad"}
	case ledger.Refunding:
		return word{"being refunded", "wait"}
	case ledger.Refunded:
		return word{"refunded", ""}
	case ledger.RefundFailed:
		return word{"refund failed", "bad"}
	case ledger.Disputed:
		return word{"disputed", "bad"}
	case ledger.Lost:
		return word{"dispute lost", "bad"}
	}
	return word{string(p.Money), ""}
}

// attentionWords says why a person must look, and what they can do.
func attentionWords(attention string) (words struct{ Why, Do string }) {
	words.Why, words.Do = attention, "Check the payment's history, then dismiss this."
	switch attention {
	case bridge.AttentionAmount:
		words.Why = "The customer paid a different amount than the price."
		words.Do = "Compare the amounts. Refund the difference, or dismiss this."
	case bridge.AttentionOverdue:
		words.Why = "The credit could not be delivered for 15 minutes. notepay keeps trying."
		words.Do = "If the machine stays unreachable, cancel the start. The customer gets the money back."
	case bridge.AttentionHold:
		words.Why = "The money has been held on the customer's card for an hour, neither charged nor released."
		words.Do = "Release the hold here, or check the payment in Stripe's Dashboard."
	case bridge.AttentionFailedAfter:
		words.Why = "The machine started and then reported a fault."
		words.Do = "Refund what you find fair, and check the machine."
	case bridge.AttentionCaptureFailed:
		words.Why = "The machine started, but the held money could not be charged."
		words.Do = "An expired hold cannot be charged any more. Dismiss this."
	case bridge.AttentionBalance:
		words.Why = "Your Stripe balance is too low for the refund. notepay tries again every day."
		words.Do = "Add funds to your balance in Stripe's Dashboard."
	case bridge.AttentionRefundRefused:
		words.Why = "Stripe rejects the refund. notepay tries again every day."
		words.Do = "Open the payment in Stripe's Dashboard to see why."
	case bridge.AttentionRefundFailed:
		words.Why = "The customer's bank returned the refund."
		words.Do = "Ask the customer for another way to pay them back."
	case bridge.AttentionDisputeLost:
		words.Why = "The dispute was lost, and the bank took the money."
		words.Do = "Nothing more can be done. Dismiss this."
	case bridge.AttentionConfirmation:
		words.Why = "The machine sent an answer that notepay cannot use: an unknown state, or from another device."
		words.Do = "See the machine's answers in the payment's history and in the log. " +
			"Then fix the firmware or the route."
	case bridge.AttentionFetchedAnyway:
		words.Why = "The money went back, but the machine already had the credit."
		words.Do = "Check whether the machine ran."
	case bridge.ReasonAdopted:
		words.Why = "This was paid before notepay's records begin or were restored. " +
			"The machine may have started then. " +
			"notepay sent and refunded nothing."
		words.Do = "Check whether the machine ran. Then refund the payment, or start the machine for free."
	case bridge.AttentionTwins:
		words.Why = "Another installation works on the same Notehub project and Stripe account. " +
			"It sent or refunded this payment, too."
		words.Do = "Stop one of the two. Check whether the machine ran and whether the money went back."
	case bridge.ReasonRefused:
		words.Why = "Notehub rejected the credit for this machine. The money goes back."
		words.Do = "Check the machine in Notehub."
	case bridge.ReasonUnknownDevice:
		words.Why = "The machine is no longer in your Notehub project. The money goes back."
		words.Do = "Remove its sticker, or add the machine again."
	case bridge.ReasonNotSelling:
		words.Why = "The machine was not taking payments when this was paid. The money goes back."
		words.Do = "Nothing else to do. Dismiss this."
	case bridge.ReasonRecallUnclear:
		words.Why = "The credit was taken back, but the machine may have fetched it just before. The money goes back."
		words.Do = "Check whether the machine ran."
	case bridge.ReasonUnclear:
		words.Why = "Nobody knows whether the machine got the credit, and no answer will come."
		words.Do = "Ask the customer. Refund the payment, or dismiss this if the machine ran."
	case bridge.ReasonUnconfirmed:
		words.Why = "The machine fetched the credit but did not report a start. The money goes back."
		words.Do = "Check the machine."
	case bridge.ReasonStartedAfter:
		words.Why = "The machine started after the money went back. The customer is not charged again."
		words.Do = "Nothing else to do. Dismiss this."
	case bridge.ReasonDisputed:
		words.Why = "The customer's bank asks for the money back."
		words.Do = "Answer the dispute in Stripe's Dashboard before its deadline."
	}
	return words
}

// reasonWords says why a machine did not start, or its session ended early, as the end of a sentence.
func reasonWords(reason string) string {
	switch reason {
	case "":
		return ""
	case bridge.ReasonAdopted:
		return "paid before the records begin or were restored"
	case bridge.ReasonExpired:
		return "the credit expired before the machine got it"
	case bridge.ReasonRefused:
		return "Notehub rejected the credit"
	case bridge.ReasonUnknownDevice:
		return "the machine is not in the Notehub project"
	case bridge.ReasonNotSelling:
		return "the machine was not taking payments"
	case bridge.ReasonBusy:
		return "the machine was in use"
	case bridge.ReasonFailed:
		return "the machine reported a fault"
	case bridge.ReasonRecalled:
		return "the machine did not fetch the credit in time"
	case bridge.ReasonRecallUnclear:
		return "the credit was taken back, perhaps too late"
	case bridge.ReasonUnclear:
		return "delivery unknown"
	case bridge.ReasonUnconfirmed:
		return "the machine did not answer"
	case bridge.ReasonReversed:
		return "the payment was refunded"
	case bridge.ReasonDisputed:
		return "disputed"
	case bridge.ReasonEnded:
		return "ended by the operator"
	case bridge.ReasonStartedAfter:
		return "started after the money went back"
	}
	return reason
}

// stateWords is whether a device sells, and if not, why.
func stateWords(s fleet.State) word {
	switch s {
	case fleet.Open:
		return word{"ready", "good"}
	case fleet.InUse:
		return word{"in use", "good"}
	case fleet.NotReady:
		return word{"almost ready", "wait"}
	case fleet.Unread:
		return word{"settings not read yet", "wait"}
	case fleet.Paused:
		return word{"paused", "bad"}
	case fleet.Unreadable:
		return word{"unreadable in Notehub", "bad"}
	case fleet.Unscannable:
		return word{"UID cannot be scanned", "bad"}
	case fleet.LinkClosed:
		return word{"link deactivated in Stripe", "bad"}
	case fleet.PaymentsOff:
		return word{"switched off (payment_enabled)", "wait"}
	case fleet.Disabled:
		return word{"disabled in Notehub", "bad"}
	case fleet.Offline:
		return word{"offline", "bad"}
	case fleet.NoOffers:
		return word{"no price", "bad"}
	}
	return word{string(s), ""}
}

// sourceWords is where a device's prices come from.
func sourceWords(s fleet.Source) string {
	switch s {
	case fleet.OfDevice:
		return "set on this machine in Notehub"
	case fleet.OfFleet:
		return "set on its fleet in Notehub"
	case fleet.OfProject:
		return "set on the Notehub project"
	default:
		return "default (STRIPE_PRICE_ID)"
	}
}

// outcomeWords is what came of one of Stripe's events.
func outcomeWords(outcome string) string {
	switch outcome {
	case bridge.Recorded:
		return "created this payment"
	case bridge.Duplicate:
		return "already known"
	case bridge.Adopted:
		return "paid before the records begin or were restored"
	case bridge.LookedUp:
		return "notepay asked Stripe"
	case bridge.Followed:
		return "updated the payment"
	case bridge.AwaitsPayment:
		return "not paid yet"
	case bridge.NotOurs:
		return "not about these machines"
	case bridge.WrongMode:
		return "from the other mode (test or live)"
	case bridge.OfferChanged:
		return "reloaded the changed link, price or product"
	case bridge.PaymentFailed:
		return "payment failed"
	case bridge.Ignored:
		return "no action needed"
	}
	return outcome
}

// actionWords is what one call to a vendor was for.
func actionWords(action ledger.Step) string {
	switch action {
	case ledger.PostNote:
		return "Sent to Notehub"
	case ledger.CheckPending:
		return "Checked whether the machine fetched the credit"
	case ledger.Recall:
		return "Took the credit back from Notehub"
	case ledger.Capture:
		return "Charged the held money"
	case ledger.Release:
		return "Released the hold"
	case ledger.Refund:
		return "Refunded"
	}
	return string(action)
}

// confirmationWords is what a machine said.
func confirmationWords(state string) string {
	switch state {
	case "started":
		return "it started"
	case "done":
		return "it has finished"
	case "failed":
		return "it could not start"
	case "busy":
		return "it is in use"
	case "expired":
		return "the credit came too late"
	case "duplicate":
		return "it already had this credit"
	}
	return state
}

// auditWords is what somebody did.
func auditWords(a ledger.Audit) string {
	switch a.What {
	case "retry":
		return "resent the credit"
	case "refund":
		if a.Amount == 0 { // of an earlier version
			return "requested a refund"
		}
		return "requested a refund of " + web.Amount(a.Amount, a.Currency)
	case "end":
		// An earlier version wrote this also of what was only seen. Its rows say how the machine was.
		before := strings.Fields(a.Before)
		if len(before) > 1 && bridge.Dismisses(ledger.Payment{Machine: ledger.Machine(before[1])}) {
			return "dismissed this"
		}
		if len(before) > 1 && before[1] != string(ledger.Started) {
			return "canceled the start"
		}
		return "ended the session"
	case "dismiss":
		return "dismissed this"
	case "adopt":
		return "left this payment to you, because it may have been handled before"
	case "start":
		return "started the machine for free"
	case "pause":
		return "paused the machine"
	case "resume":
		return "resumed sales on the machine"
	}
	return a.What
}

// standingWords is how a payment was before or after what somebody did, from the audit's "paid failed expired 350".
func standingWords(a ledger.Audit, standing string) string {
	parts := strings.Split(standing, " ")
	if len(parts) != 4 {
		return standing
	}
	p := ledger.Payment{Money: ledger.Money(parts[0]), Machine: ledger.Machine(parts[1])}
	p.Amount = 1 // so much that it is not free
	words := moneyWords(p).Text + ", " + machineWords(p).Text
	if parts[2] != "" {
		words += " (" + reasonWords(parts[2]) + ")"
	}
	if back, err := strconv.ParseInt(parts[3], 10, 64); err == nil && back > 0 && a.Currency != "" {
		words += ", " + web.Amount(back, a.Currency) + " refunded"
	}
	return words
}

// doneWords is what a button did, for the page that it leads back to.
func doneWords(done string) string {
	switch done {
	case "retry":
		return "The credit is being resent."
	case "refund":
		return "The money goes back to the customer."
	case "end":
		return "Ended. The payment's history shows what happens next."
	case "dismiss":
		return "Dismissed."
	case "start":
		return "A free start was sent to the machine."
	case "pause":
		return "The machine is paused."
	case "resume":
		return "The machine takes payments again."
	case "refresh":
		return "Machines and prices were refreshed."
	case "twice":
		return "You pressed this button before, and it counted once. This is the current state."
	}
	return ""
}
