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
		return word{"waiting to be fetched", "wait"}
	case ledger.Fetched:
		if p.ConfirmBy.IsZero() {
			return word{"machine has it", "good"}
		}
		return word{"waiting for the machine", "wait"}
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
		return word{"held, not taken", "wait"}
	case ledger.Capturing:
		return word{"being taken", "wait"}
	case ledger.Paid:
		if p.RefundedAmount+p.LostAmount > 0 {
			return word{"paid, a part given back", "good"}
		}
		return word{"paid", "good"}
	case ledger.Releasing:
		return word{"hold being let go", "wait"}
	case ledger.Released:
		return word{"hold let go, not charged", ""}
	case ledger.CaptureFailed:
		return word{"could not be taken", "bad"}
	case ledger.Refunding:
		return word{"being given back", "wait"}
	case ledger.Refunded:
		return word{"given back", ""}
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
	words.Why, words.Do = attention, "Look at the payment's story, then mark it as seen."
	switch attention {
	case bridge.AttentionAmount:
		words.Why, words.Do = "The customer paid another amount than the plan costs.", "Compare the amount; give back what is too much, or mark it as seen."
	case bridge.AttentionOverdue:
		words.Why, words.Do = "It has been tried for a quarter of an hour without success. It is still being tried.", "If the machine stays out of reach, end it: the customer gets the money back."
	case bridge.AttentionHold:
		words.Why, words.Do = "The money has been held on the customer's card for an hour, neither taken nor let go.", "Let go of it here, or look at the payment in Stripe's Dashboard."
	case bridge.AttentionFailedAfter:
		words.Why, words.Do = "The machine started and then reported a fault.", "Give back what you find fair, and look at the machine."
	case bridge.AttentionCaptureFailed:
		words.Why, words.Do = "The machine started, but the held money could not be taken.", "Nothing can be taken any more if the hold ran out. Mark it as seen."
	case bridge.AttentionBalance:
		words.Why, words.Do = "Your Stripe balance is too small for the refund. It is tried again every day.", "Top up the balance in Stripe's Dashboard."
	case bridge.AttentionRefundRefused:
		words.Why, words.Do = "Stripe refuses the refund. It is tried again every day.", "Open the payment in Stripe's Dashboard, it says why."
	case bridge.AttentionRefundFailed:
		words.Why, words.Do = "The customer's bank sent the refund back.", "Ask the customer for another way to pay them back."
	case bridge.AttentionDisputeLost:
		words.Why, words.Do = "The dispute was lost: the bank took the money.", "Nothing can be done any more. Mark it as seen."
	case bridge.AttentionConfirmation:
		words.Why, words.Do = "The machine answered in a form that cannot be used: an unknown state, or from another device.", "See its answers in the payment's story and in the log, and correct the firmware or the route."
	case bridge.AttentionFetchedAnyway:
		words.Why, words.Do = "The money went back, but the machine already had the credit.", "Look whether the machine ran."
	case bridge.ReasonAdopted:
		words.Why = "It was paid before these records begin or before they were restored, and may have been delivered then. Nothing was sent or refunded."
		words.Do = "Check whether the machine ran, then refund the payment or start the machine once more."
	case bridge.AttentionTwins:
		words.Why = "Another installation works on the same Notehub project and Stripe account, and has sent or refunded this payment, too."
		words.Do = "Stop one of the two. Check whether the machine ran and whether the money went back."
	case bridge.ReasonRefused:
		words.Why, words.Do = "Notehub refused to take the credit for this machine. The money goes back.", "Check the machine at Notehub."
	case bridge.ReasonUnknownDevice:
		words.Why, words.Do = "The machine is not in your Notehub project any more. The money goes back.", "Remove its sticker, or add it again."
	case bridge.ReasonNotSelling:
		words.Why, words.Do = "The machine was out of sale when this was paid. The money goes back.", "Nothing else has to be done. Mark it as seen."
	case bridge.ReasonRecallUnclear:
		words.Why, words.Do = "The credit was taken back in doubt: the machine may have fetched it just before. The money goes back.", "Look whether the machine ran."
	case bridge.ReasonUnclear:
		words.Why, words.Do = "It is not known whether the machine got the credit, and nothing more will be heard.", "Ask the customer; give the money back, or mark it as seen if it ran."
	case bridge.ReasonUnconfirmed:
		words.Why, words.Do = "The machine fetched the credit and did not say that it started. The money goes back.", "Look at the machine."
	case bridge.ReasonStartedAfter:
		words.Why, words.Do = "The machine started after the money had gone back. The customer is not charged again.", "Nothing else has to be done. Mark it as seen."
	case bridge.ReasonDisputed:
		words.Why, words.Do = "The customer's bank asks for the money back.", "Answer the dispute in Stripe's Dashboard before its deadline."
	}
	return words
}

// reasonWords says why a machine did not start, or its session ended early, as the end of a sentence.
func reasonWords(reason string) string {
	switch reason {
	case "":
		return ""
	case bridge.ReasonAdopted:
		return "paid before these records begin or were restored"
	case bridge.ReasonExpired:
		return "its time ran out before it got to the machine"
	case bridge.ReasonRefused:
		return "Notehub refused it"
	case bridge.ReasonUnknownDevice:
		return "the machine is not in the project"
	case bridge.ReasonNotSelling:
		return "the machine was out of sale"
	case bridge.ReasonBusy:
		return "the machine was in use"
	case bridge.ReasonFailed:
		return "the machine reported a fault"
	case bridge.ReasonRecalled:
		return "taken back, the machine had not fetched it"
	case bridge.ReasonRecallUnclear:
		return "taken back in doubt"
	case bridge.ReasonUnclear:
		return "not known whether it arrived"
	case bridge.ReasonUnconfirmed:
		return "the machine did not answer"
	case bridge.ReasonReversed:
		return "the money was given back"
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
		return word{"for sale", "good"}
	case fleet.InUse:
		return word{"in use", "good"}
	case fleet.NotReady:
		return word{"being made ready", "wait"}
	case fleet.Unread:
		return word{"variables not read yet", "wait"}
	case fleet.Paused:
		return word{"paused", "bad"}
	case fleet.Unreadable:
		return word{"its record cannot be read", "bad"}
	case fleet.Unscannable:
		return word{"its UID cannot be scanned", "bad"}
	case fleet.LinkClosed:
		return word{"link deactivated in Stripe", "bad"}
	case fleet.PaymentsOff:
		return word{"switched off (payment_enabled)", "wait"}
	case fleet.Disabled:
		return word{"disabled at Notehub", "bad"}
	case fleet.Offline:
		return word{"offline", "bad"}
	case fleet.NoOffers:
		return word{"nothing to sell", "bad"}
	}
	return word{string(s), ""}
}

// sourceWords is where a device's prices come from.
func sourceWords(s fleet.Source) string {
	switch s {
	case fleet.OfDevice:
		return "set on this device at Notehub"
	case fleet.OfFleet:
		return "set on its fleet at Notehub"
	case fleet.OfProject:
		return "set on the Notehub project"
	default:
		return "the default (STRIPE_PRICE_ID)"
	}
}

// outcomeWords is what came of one of Stripe's events.
func outcomeWords(outcome string) string {
	switch outcome {
	case bridge.Recorded:
		return "made this payment"
	case bridge.Duplicate:
		return "said nothing new"
	case bridge.Adopted:
		return "paid before these records begin or were restored"
	case bridge.LookedUp:
		return "made us ask Stripe"
	case bridge.Followed:
		return "was taken in"
	case bridge.AwaitsPayment:
		return "not paid yet"
	case bridge.NotOurs:
		return "not about our machines"
	case bridge.WrongMode:
		return "of the other mode (test or live)"
	case bridge.OfferChanged:
		return "a link, price or product changed, and was read again"
	case bridge.PaymentFailed:
		return "nobody paid"
	case bridge.Ignored:
		return "needs nothing done"
	}
	return outcome
}

// actionWords is what one call to a vendor was for.
func actionWords(action ledger.Step) string {
	switch action {
	case ledger.PostNote:
		return "Sent to Notehub"
	case ledger.CheckPending:
		return "Asked Notehub whether the machine fetched it"
	case ledger.Recall:
		return "Took it back from Notehub"
	case ledger.Capture:
		return "Took the held money"
	case ledger.Release:
		return "Let go of the held money"
	case ledger.Refund:
		return "Gave money back"
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
		return "it had this credit before"
	}
	return state
}

// auditWords is what somebody did.
func auditWords(a ledger.Audit) string {
	switch a.What {
	case "retry":
		return "sent it anew"
	case "refund":
		if a.Amount == 0 { // of an earlier version
			return "ordered a refund"
		}
		return "ordered a refund of " + web.Amount(a.Amount, a.Currency)
	case "end":
		// An earlier version wrote this also of what was only seen. Its rows say how the machine was.
		before := strings.Fields(a.Before)
		if len(before) > 1 && bridge.Dismisses(ledger.Payment{Machine: ledger.Machine(before[1])}) {
			return "marked it as seen"
		}
		return "ended it"
	case "dismiss":
		return "marked it as seen"
	case "adopt":
		return "left it to you, because it was handled before"
	case "start":
		return "started the machine for free"
	case "pause":
		return "paused the machine"
	case "resume":
		return "put the machine on sale again"
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
		words += ", " + web.Amount(back, a.Currency) + " back"
	}
	return words
}

// doneWords is what a button did, for the page that it leads back to.
func doneWords(done string) string {
	switch done {
	case "retry":
		return "The credit is being sent anew."
	case "refund":
		return "The money is being given back."
	case "end":
		return "It was ended."
	case "dismiss":
		return "It was marked as seen."
	case "start":
		return "A free start was sent to the machine."
	case "pause":
		return "The machine is out of sale."
	case "resume":
		return "The machine is on sale again."
	case "refresh":
		return "The devices were read anew."
	case "twice":
		return "This button was pressed before; it was counted once. Here is how it stands now."
	}
	return ""
}
