package sandbox

import (
	"cmp"
	"net/http"
	"slices"
	"time"
)

// This file is all that the sandbox assumes without evidence. The ids are those of docs/vendors.md
// (Q: Stripe, U: Notehub) and of notes older than it. The zero value of each setting is the
// assumption that is safe for the bridge to make.

// StripeUnknown is what api.stripe.com does where that is not known (Q0: nothing here was tried
// against it).
type StripeUnknown struct {
	ClosedLinkEndsSessions bool // Q4: deactivating a link ends its open sessions; assumed: they stay payable
	// Q5: under Adaptive Pricing amount_total is what the buyer saw; assumed: it stays the price's
	PresentmentCharged bool
	// Q7: checkout redirects from a link's session at once; assumed: after the webhook's answer, or
	// 10 s
	LinksDoNotWait bool
	// Q8: a session under manual capture completes as paid, without an event of its intent;
	// assumed: as unpaid until the capture, and the intent's event follows
	ManualIsPaid bool
	// Q8: a hold that was released shows as a refund of its charge, with charge.refunded; assumed:
	// only as a canceled intent
	ReleaseIsRefund bool
	// Q14: the error code of a refund for which the balance is too little; assumed: none, only
	// words
	BalanceCode string
}

// checkoutWait is how long the hosted checkout waits for the answer to checkout.session.completed
// (Q7 for links).
const checkoutWait = 10 * time.Second

// linkSuccessURL is success_url of a session that came from a link: not in the facts; assumed to be
// null, so that nobody uses it.
const linkSuccessURL = ""

// manualEvent is sent beside checkout.session.completed when the money is only held (Q8); "" is
// none.
func (u StripeUnknown) manualEvent() string {
	if u.ManualIsPaid {
		return ""
	}
	return "payment_intent.amount_capturable_updated"
}

// manualStatus is the payment_status of a session whose money is only held (Q8).
func (u StripeUnknown) manualStatus() string {
	if u.ManualIsPaid {
		return statusPaid
	}
	return statusUnpaid
}

// NotehubUnknown is what Notehub does where that is not known.
type NotehubUnknown struct {
	TokenCallFree   bool // U4: the token call does not count against the limit; assumed: it does
	UnknownDevice   int  // U5: status for a device that is not in the project; 0: 404
	OtherProject    int  // U5: status for a project of somebody else; 0: 404
	DisabledRefused bool // U5: a note for a disabled device is refused with 403; assumed: it is taken and waits
	Full            int  // U6: status when too many notes are pending; 0: 400. The text is known
	LastFleetWins   bool // U9: of two fleets of a device the last named wins; assumed: the first
	GoneDeleted     bool // U15: deleting a note that is gone is answered 200; assumed: 404 with {note-noexist}
}

// largestNote is the largest note request taken, in bytes (U7: no limit is known; notes are meant
// to stay small).
const largestNote = 1 << 10

// Notes live for ever (U8), a fetched note leaves the queue at once and a delete is atomic unless
// RaceNextDelete says otherwise (U15), a signal costs a request like any other (U16), and events
// are listed in the order in which they were received (U21).

func (u NotehubUnknown) unknownDeviceStatus() int {
	return cmp.Or(u.UnknownDevice, http.StatusNotFound)
}
func (u NotehubUnknown) otherProjectStatus() int { return cmp.Or(u.OtherProject, http.StatusNotFound) }
func (u NotehubUnknown) fullStatus() int         { return cmp.Or(u.Full, http.StatusBadRequest) }

// fleetsByPrecedence returns the fleets of a device, the one that wins last.
func (u NotehubUnknown) fleetsByPrecedence(fleets []string) []string {
	ordered := slices.Clone(fleets)
	if !u.LastFleetWins {
		slices.Reverse(ordered)
	}
	return ordered
}
