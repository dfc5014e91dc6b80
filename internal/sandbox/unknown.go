package sandbox

import (
	"cmp"
	"net/http"
	"slices"
	"time"
)

// This file holds every assumption that the sandbox makes without evidence. The ids refer to
// docs/vendors.md (Q: Stripe, U: Notehub) and to older notes. The zero value of each setting is the
// assumption that is safe for notepay.

// StripeUnknown sets the behavior of api.stripe.com that is not known. Nothing here was tested
// against it (Q0).
type StripeUnknown struct {
	// Q4: deactivating a link ends its open sessions. Assumed: they stay payable.
	ClosedLinkEndsSessions bool
	// Q5: under Adaptive Pricing, amount_total is what the customer saw. Assumed: it stays the
	// price's.
	PresentmentCharged bool
	// Q7: checkout redirects from a link's session at once. Assumed: after the webhook's response,
	// or after 10 s.
	LinksDoNotWait bool
	// Q8: a session under manual capture completes as paid, without an event of its intent.
	// Assumed: it is unpaid until the capture, and an event of the intent follows.
	ManualIsPaid bool
	// Q8: a canceled authorization shows as a refund of its charge, with charge.refunded. Assumed:
	// it shows only as a canceled intent.
	ReleaseIsRefund bool
	// Q14: this is the error code of a refund that exceeds the balance. Assumed: there is no code,
	// only a text.
	BalanceCode string
}

// checkoutWait is how long the hosted checkout waits for the response to checkout.session.completed
// (Q7 for links).
const checkoutWait = 10 * time.Second

// linkSuccessURL is the success_url of a link's session. Its real value is not known. It is assumed
// to be null, so that no code uses it.
const linkSuccessURL = ""

// manualEvent returns the type of the event sent with checkout.session.completed when the money is
// only authorized (Q8). It returns "" for none.
func (u StripeUnknown) manualEvent() string {
	if u.ManualIsPaid {
		return ""
	}
	return "payment_intent.amount_capturable_updated"
}

// manualStatus returns the payment_status of a session whose money is only authorized (Q8).
func (u StripeUnknown) manualStatus() string {
	if u.ManualIsPaid {
		return statusPaid
	}
	return statusUnpaid
}

// NotehubUnknown sets the behavior of Notehub that is not known.
type NotehubUnknown struct {
	TokenCallFree bool // U4: the token call does not count toward the rate limit; assumed: it does
	UnknownDevice int  // U5: status for a device that is not in the project; 0: 404
	OtherProject  int  // U5: status for a project of another account; 0: 404
	// U5: a note for a disabled device is rejected with 403. Assumed: it is accepted and waits.
	DisabledRefused bool
	Full            int  // U6: status when too many notes are pending; 0: 400. The text is known
	LastFleetWins   bool // U9: the last named of a device's fleets takes precedence; assumed: the first
	// U17: public keys are DER in base64. Assumed: they are PEM.
	KeyInBase64 bool
	// U15: deleting a missing note is answered with 200. Assumed: 404 with {note-noexist}.
	GoneDeleted bool
}

// maxNote is the maximum size of a note request, in bytes. No limit is known (U7), and notes are
// meant to stay small.
const maxNote = 1 << 10

// Further assumptions: Notes never expire (U8). A fetched note leaves the queue at once, and a
// delete is atomic unless RaceNextDelete says otherwise (U15). A signal counts as a request (U16).
// note.get with decrypt returns a note that is not encrypted as it is (U18). A note that cannot be
// decrypted is an error and stays in its queue, unless it is to be deleted (U19). Events are listed
// in the order in which they were received (U21).

func (u NotehubUnknown) unknownDeviceStatus() int {
	return cmp.Or(u.UnknownDevice, http.StatusNotFound)
}
func (u NotehubUnknown) otherProjectStatus() int { return cmp.Or(u.OtherProject, http.StatusNotFound) }
func (u NotehubUnknown) fullStatus() int         { return cmp.Or(u.Full, http.StatusBadRequest) }

// fleetsByPrecedence returns the fleets of a device, the one with precedence last.
func (u NotehubUnknown) fleetsByPrecedence(fleets []string) []string {
	ordered := slices.Clone(fleets)
	if !u.LastFleetWins {
		slices.Reverse(ordered)
	}
	return ordered
}
