package console

import (
	"strconv"
	"strings"

	"notepay/internal/bridge"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/people"
	"notepay/internal/revenue"
)

// word is a state in words, with the style class of its color: "good", "wait", "bad" or "".
type word struct{ Text, Class string }

// machineWords describes the delivery of a payment's credit.
func machineWords(p payment.Payment) word {
	switch p.Delivery {
	case payment.Queued:
		return word{"not sent yet", "wait"}
	case payment.Sent:
		return word{"waiting for the machine", "wait"}
	case payment.Fetched:
		if p.ConfirmBy.IsZero() {
			return word{"received by the machine", "good"}
		}
		return word{"waiting for its confirmation", "wait"}
	case payment.Started:
		return word{"started", "good"}
	case payment.Done:
		return word{"finished", "good"}
	case payment.Failed:
		if payment.Doubtful(p) {
			return word{"not known whether it started", "bad"}
		}
		return word{"did not start", "bad"}
	}
	return word{string(p.Delivery), ""}
}

// moneyWords describes where the money is.
func moneyWords(p payment.Payment) word {
	if p.Amount == 0 {
		return word{"free", ""}
	}
	switch p.Funds {
	case payment.Authorized:
		return word{"held, not charged", "wait"}
	case payment.Capturing:
		return word{"being charged", "wait"}
	case payment.Paid:
		if p.RefundedAmount+p.LostAmount > 0 {
			return word{"partly refunded", "good"}
		}
		return word{"paid", "good"}
	case payment.Canceling:
		return word{"hold being released", "wait"}
	case payment.Canceled:
		return word{"hold released, not charged", ""}
	case payment.CaptureFailed:
		return word{"charge failed", "bad"}
	case payment.Refunding:
		return word{"being refunded", "wait"}
	case payment.Refunded:
		return word{"refunded", ""}
	case payment.RefundFailed:
		return word{"refund failed", "bad"}
	case payment.Disputed:
		return word{"disputed", "bad"}
	case payment.DisputeLost:
		return word{"dispute lost", "bad"}
	}
	return word{string(p.Funds), ""}
}

// attentionWords says why a payment needs attention, and what the operator can do.
func attentionWords(attention string) (words struct{ Why, Do string }) {
	words.Why, words.Do = attention, "Check the payment's history, then dismiss this."
	switch attention {
	case payment.ReviewAmount:
		words.Why = "The customer paid a different amount than the price."
		words.Do = "Compare the amounts. Refund the difference, or dismiss this."
	case payment.ReviewOverdue:
		words.Why = "The credit could not be delivered for 15 minutes. notepay keeps trying."
		words.Do = "If the machine stays unreachable, cancel the start. The customer gets the money back."
	case payment.ReviewHold:
		words.Why = "The money has been held on the customer's card for an hour, neither charged nor released."
		words.Do = "Release the hold here, or check the payment in Stripe's Dashboard."
	case payment.ReviewFailedAfter:
		words.Why = "The machine started and then reported a fault."
		words.Do = "Refund what you find fair, and check the machine."
	case payment.ReviewCaptureFailed:
		words.Why = "The machine started, but the held money could not be charged."
		words.Do = "An expired hold cannot be charged any more. Dismiss this."
	case payment.ReviewBalance:
		words.Why = "Your Stripe balance is too low for the refund. notepay tries again every day."
		words.Do = "Add funds to your balance in Stripe's Dashboard, then try the refund again here."
	case payment.ReviewRefundRefused:
		words.Why = "Stripe rejects the refund. notepay tries again every day."
		words.Do = "Open the payment in Stripe's Dashboard to see why."
	case payment.ReviewRefundFailed:
		words.Why = "The customer's bank returned the refund."
		words.Do = "Ask the customer for another way to pay them back."
	case payment.ReviewDisputeLost:
		words.Why = "The dispute was lost, and the bank took the money."
		words.Do = "Nothing more can be done. Dismiss this."
	case payment.ReviewConfirmation:
		words.Why = "The machine sent an answer that notepay cannot use: an unknown state, or from another device."
		words.Do = "See the machine's answers in the payment's history and in the log. " +
			"Then fix the firmware or the route."
	case payment.ReviewFetchedAnyway:
		words.Why = "The money went back, but the machine already had the credit."
		words.Do = "Check whether the machine ran."
	case payment.ReasonAdopted:
		words.Why = "This was paid before notepay's records begin or were restored. " +
			"The machine may have started then. " +
			"notepay sent and refunded nothing."
		words.Do = "Check whether the machine ran. Then refund the payment, or start the machine for free. " +
			"If the money is back already, dismiss this."
	case payment.ReviewTwins:
		words.Why = "Another installation works on the same Notehub project and Stripe account. " +
			"It sent or refunded this payment, too."
		words.Do = "Stop one of the two. Check whether the machine ran and whether the money went back."
	case payment.ReasonRefused:
		words.Why = "Notehub rejected the credit for this machine. The money goes back."
		words.Do = "Check the machine in Notehub."
	case payment.ReasonUnknownDevice:
		words.Why = "The machine is no longer in your Notehub project. The money goes back."
		words.Do = "Remove its sticker, or add the machine again."
	case payment.ReasonNotSelling:
		words.Why = "The machine was not taking payments when this was paid. The money goes back."
		words.Do = "Nothing else to do. Dismiss this."
	case payment.ReasonRecallUnclear:
		words.Why = "The credit was taken back, but the machine may have fetched it just before. The money goes back."
		words.Do = "Check whether the machine ran."
	case payment.ReasonUnclear:
		words.Why = "Nobody knows whether the machine got the credit, and no answer will come."
		words.Do = "Ask the customer. Refund the payment, or dismiss this if the machine ran."
	case payment.ReasonUnconfirmed:
		words.Why = "The machine fetched the credit but did not report a start. The money goes back."
		words.Do = "Check the machine."
	case payment.ReasonStartedAfter:
		words.Why = "The machine started after the money went back. The customer is not charged again."
		words.Do = "Nothing else to do. Dismiss this."
	case payment.ReasonDisputed:
		words.Why = "The customer's bank asks for the money back."
		words.Do = "Answer the dispute in Stripe's Dashboard before its deadline."
	}
	return words
}

// reasonWords says why a machine did not start, or why its use ended early, as part of a sentence.
func reasonWords(reason string) string {
	switch reason {
	case "":
		return ""
	case payment.ReasonAdopted:
		return "paid before the records begin or were restored"
	case payment.ReasonExpired:
		return "the credit expired before the machine got it"
	case payment.ReasonRefused:
		return "Notehub rejected the credit"
	case payment.ReasonUnknownDevice:
		return "the machine is not in the Notehub project"
	case payment.ReasonNotSelling:
		return "the machine was not taking payments"
	case payment.ReasonBusy:
		return "the machine was in use"
	case payment.ReasonFailed:
		return "the machine reported a fault"
	case payment.ReasonRecalled:
		return "the machine did not fetch the credit in time"
	case payment.ReasonRecallUnclear:
		return "the credit was taken back, perhaps too late"
	case payment.ReasonUnclear:
		return "delivery unknown"
	case payment.ReasonUnconfirmed:
		return "the machine did not answer"
	case payment.ReasonReversed:
		return "the payment was refunded"
	case payment.ReasonDisputed:
		return "disputed"
	case payment.ReasonEnded:
		return "ended by the operator"
	case payment.ReasonStartedAfter:
		return "started after the money went back"
	}
	return reason
}

// stateWords says whether a device sells, or why not.
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
	case fleet.Maintained:
		return word{"in maintenance", "wait"}
	case fleet.OutOfHours:
		return word{"closed at this hour", "wait"}
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
	case fleet.NoKey:
		return word{"public key unknown (ENCRYPT_NOTES, experimental)", "bad"}
	case fleet.OutOfOrder:
		return word{"out of order, says the machine", "bad"}
	case fleet.Offline:
		return word{"offline", "bad"}
	case fleet.NoOffers:
		return word{"no price", "bad"}
	}
	return word{string(s), ""}
}

// sourceWords says where a device's prices come from.
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

// outcomeWords says what notepay did with a Stripe event.
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
		return "not paid"
	case bridge.NotOurs:
		return "not about these machines"
	case bridge.OtherAccount:
		return "names another account"
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

// actionWords describes a call to a vendor.
func actionWords(action payment.Step) string {
	switch action {
	case payment.StepPostNote:
		return "Sent to Notehub"
	case payment.StepCheckPending:
		return "Checked whether the machine fetched the credit"
	case payment.StepRecall:
		return "Took the credit back from Notehub"
	case payment.StepCapture:
		return "Charged the held money"
	case payment.StepCancel:
		return "Released the hold"
	case payment.StepRefund:
		return "Refunded"
	}
	return string(action)
}

// confirmationWords describes a machine's answer.
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

// auditWords describes an entry of the audit log.
func auditWords(l lang, a ledger.Audit) string {
	if a.What == "refund" && a.Amount > 0 {
		return l.T("requested a refund of {amount}", "amount", l.money(a.Amount, a.Currency))
	}
	if a.What == "refund_again" && a.Amount > 0 {
		return l.T("tried the refund of {amount} again", "amount", l.money(a.Amount, a.Currency))
	}
	return l.T(auditVerb(a))
}

// auditVerb describes what an entry of the audit log says that was done.
func auditVerb(a ledger.Audit) string {
	switch a.What {
	case "retry":
		return "resent the credit"
	case "refund":
		return "requested a refund" // an earlier version did not record the amount
	case "refund_again":
		return "tried the refund again"
	case "end":
		// An earlier version also wrote "end" for a dismissal. Its rows show the state before.
		before := strings.Fields(a.Before)
		if len(before) > 1 && payment.Dismissable(payment.Payment{Delivery: payment.DeliveryStatus(before[1])}) {
			return "dismissed this"
		}
		if len(before) > 1 && before[1] != string(payment.Started) {
			return "canceled the start"
		}
		return "ended the session"
	case "dismiss":
		return "dismissed this"
	case "adopt":
		return "left this payment to you, because it may have been handled before"
	case "start":
		return "started the machine for free"
	case "goodwill":
		return "granted a code for a free start"
	case "goodwill_end":
		return "withdrew a code for a free start"
	case "pause":
		return "paused the machine"
	case "resume":
		return "resumed sales on the machine"
	case "maintenance":
		return "planned maintenance"
	case "maintenance_end":
		return "canceled planned maintenance"
	}
	return peopleWords(a.What)
}

// peopleWords describes a change of people or tokens.
func peopleWords(what string) string {
	switch what {
	case "invite":
		return "made an invitation"
	case "join":
		return "accepted the invitation"
	case "role":
		return "changed the role"
	case "disable":
		return "disabled the person"
	case "enable":
		return "enabled the person"
	case "sessions":
		return "ended sign-ins"
	case "password":
		return "set a password and an authenticator app"
	case "codes":
		return "made new recovery codes"
	case "recovery":
		return "signed in with a recovery code"
	case "passkey":
		return "added a passkey"
	case "unpasskey":
		return "removed a passkey"
	case "token":
		return "created the token"
	case "revoke":
		return "revoked the token"
	}
	return what
}

// roleWords describes a role: its name, a colon and what it may do.
func roleWords(role people.Role) string {
	switch role {
	case people.View:
		return "View: sees everything, changes nothing"
	case people.Support:
		return "Support: sees everything, refunds, resends, starts and pauses"
	case people.Owner:
		return "Owner: may do everything, also change people and tokens"
	}
	return string(role)
}

// byWords names a period of a report.
func byWords(by revenue.By) string {
	switch by {
	case revenue.ByDay:
		return "day"
	case revenue.ByWeek:
		return "week"
	case revenue.ByMonth:
		return "month"
	}
	return string(by)
}

// wayWords describes how a person signed in.
func wayWords(way string) string {
	switch way {
	case "token":
		return "with OPERATOR_TOKEN"
	case "password":
		return "with password and code"
	case "recovery":
		return "with password and recovery code"
	case "passkey":
		return "with a passkey"
	}
	return way
}

// auditStateWords describes a payment's state before or after an action. The audit log records it as
// "paid failed expired 350".
func auditStateWords(l lang, a ledger.Audit, state string) string {
	parts := strings.Split(state, " ")
	if len(parts) != 4 {
		return state
	}
	p := payment.Payment{Funds: payment.FundsStatus(parts[0]), Delivery: payment.DeliveryStatus(parts[1])}
	p.Amount = 1 // not free
	words := l.T(moneyWords(p).Text) + ", " + l.T(machineWords(p).Text)
	if parts[2] != "" {
		words += " (" + l.T(reasonWords(parts[2])) + ")"
	}
	if back, err := strconv.ParseInt(parts[3], 10, 64); err == nil && back > 0 && a.Currency != "" {
		words += ", " + l.T("{amount} refunded", "amount", l.money(back, a.Currency))
	}
	return words
}

// doneWords says which action was just done.
func doneWords(done string) string {
	switch done {
	case "retry":
		return "The credit is being resent."
	case "refund":
		return "The refund is being made. If Stripe rejects it, the page Today says so."
	case "refund_again":
		return "The refund is being tried again. If Stripe rejects it, the page Today says so."
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
	case "maintenance":
		return "The maintenance is planned."
	case "maintenance_end":
		return "The maintenance is canceled."
	case "refresh":
		return "Machines and prices were refreshed, and the settings of fleets in Notehub. " +
			"The settings of single machines in Notehub are read within an hour."
	case "role":
		return "The role was changed. It holds at once."
	case "disable":
		return "The person is disabled and signed out."
	case "enable":
		return "The person can sign in again."
	case "sessions":
		return "Signed out."
	case "passkey":
		return "The passkey was added."
	case "unpasskey":
		return "The passkey was removed. Also delete it on your device."
	case "revoke":
		return "The token was revoked. It no longer works."
	case "withdraw":
		return "The code starts nothing any more."
	case "twice":
		return "You pressed this button before, and it counted once. This is the current state."
	}
	return ""
}

// reportWords describes what a customer reported.
func reportWords(reason string) string {
	switch reason {
	case "not_started":
		return "it did not start"
	case "stopped":
		return "it stopped early"
	case "code":
		return "the code does not work"
	case "other":
		return "something else"
	}
	return reason
}
