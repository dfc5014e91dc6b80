package apptest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// checkInvariants returns how the ledger contradicts what Stripe, Notehub and the machines saw. It
// holds wherever a test ends. It does not blame the ledger for what the ledger cannot know yet.
// Examples are an event that was never delivered, and a call in flight.
func checkInvariants(
	ctx context.Context,
	l *ledger.Ledger,
	stripe *sandbox.Stripe,
	hub *sandbox.Notehub,
	machines ...*sandbox.Machine,
) []string {
	return checkInvariantsAfter(ctx, nil, l, stripe, hub, machines...)
}

// checkInvariantsAfter does the same for a ledger whose restores are known. rewinds is not nil, unless
// they are unknown.
func checkInvariantsAfter(
	ctx context.Context,
	rewinds []*Rewind,
	l *ledger.Ledger,
	stripe *sandbox.Stripe,
	hub *sandbox.Notehub,
	machines ...*sandbox.Machine,
) []string {
	i := &inspection{
		ctx:      ctx,
		l:        l,
		stripe:   stripe,
		payments: map[string]payment.Payment{},
		notes:    map[string][]sandbox.Note{},
		starts:   map[string]int{},
		untold:   map[string]bool{},
		foreign:  map[string]bool{},
		rewinds:  rewinds,
	}
	for _, m := range machines {
		for _, start := range m.Starts() {
			i.starts[start.CreditID]++
		}
	}
	i.readPayments()
	i.readEvents()
	i.checkNotes(hub)
	for _, p := range i.payments {
		i.checkRow(p)
		i.checkAdoption(p)
		if p.Reason == payment.ReasonAdopted || strings.HasPrefix(p.SessionID, "start_") {
			continue // another ledger delivers it, or it has no money
		}
		i.checkMoney(p)
		i.checkCredit(p)
	}
	return i.problems
}

// inspection holds the findings of checkInvariants.
type inspection struct {
	ctx      context.Context
	l        *ledger.Ledger
	stripe   *sandbox.Stripe
	payments map[string]payment.Payment // by session
	notes    map[string][]sandbox.Note  // by credit
	starts   map[string]int             // by credit
	untold   map[string]bool            // intents with an event that the ledger has not received
	foreign  map[string]bool            // intents with a dispute, or a refund that is not ours
	rewinds  []*Rewind                  // the restores of the ledger, the first first; nil if they are unknown
	problems []string
}

// wrong adds a problem.
func (i *inspection) wrong(format string, args ...any) {
	i.problems = append(i.problems, fmt.Sprintf(format, args...))
}

// readPayments reads the ledger's payments, and checks that no session and no intent has two.
func (i *inspection) readPayments() {
	intents := map[string]bool{}
	for cursor := ""; ; {
		list, next, err := i.l.Payments(i.ctx, ledger.Filter{Limit: 500, Cursor: cursor})
		if err != nil {
			i.wrong("%v", err)
			return
		}
		for _, p := range list {
			if _, twice := i.payments[p.SessionID]; twice || (p.PaymentIntent != "" && intents[p.PaymentIntent]) {
				i.wrong("session %s or its intent has two payments", p.SessionID)
			}
			i.payments[p.SessionID], intents[p.PaymentIntent] = p, true
		}
		if cursor = next; next == "" {
			return
		}
	}
}

// readEvents reads Stripe's events of each intent, and checks that the acknowledged ones are on
// disk.
func (i *inspection) readEvents() {
	for _, e := range i.stripe.Events() {
		var body struct {
			Data struct {
				Object struct {
					ID       string            `json:"id"`
					Intent   string            `json:"payment_intent"`
					Metadata map[string]string `json:"metadata"`
				} `json:"object"`
			} `json:"data"`
		}
		if err := json.Unmarshal(e.Body, &body); err != nil {
			i.wrong("event %s: %v", e.ID, err)
			continue
		}
		object := body.Data.Object
		intent := object.Intent
		if strings.HasPrefix(e.Type, "payment_intent.") {
			intent = object.ID
		}
		switch e.Type {
		case "charge.captured", "charge.expired", "payment_intent.payment_failed", "payment_intent.processing":
			continue // notepay does not follow these
		case "refund.created":
			i.foreign[intent] = i.foreign[intent] || object.Metadata["credit"] == "" || i.forgotten(e)
		case "charge.dispute.created":
			i.foreign[intent] = true
		case "checkout.session.completed":
			i.checkAcknowledged(e)
		}
		if _, err := i.l.EventOutcome(i.ctx, e.ID); err != nil {
			i.untold[intent] = true
		}
	}
}

// checkAcknowledged checks that an acknowledged event is on disk, as a payment or as a session to
// look up.
func (i *inspection) checkAcknowledged(e sandbox.Event) {
	sold, _ := i.stripe.Session(e.ObjectID)
	ours := sold.Metadata["device_uid"] != "" &&
		(sold.Metadata["project"] == "" || sold.Metadata["project"] == fixture.Project)
	_, held, _, _ := i.stripe.Money(e.ObjectID)
	if !e.Acked || !ours || (sold.PaymentStatus != "paid" && held == 0) || e.Created.Before(i.l.CreatedAt()) {
		return
	}
	if _, ok := i.payments[e.ObjectID]; !ok && !i.lookingUp() {
		i.wrong("session %s was acknowledged and is not in the ledger", e.ObjectID)
	}
}

// lookingUp reports whether the ledger has sessions to look up.
func (i *inspection) lookingUp() bool {
	stats, err := i.l.Stats(i.ctx)
	if err != nil {
		i.wrong("%v", err)
	}
	return !stats.NextLookup.IsZero()
}

// checkNotes checks that every note belongs to a paid session, a known payment and the right
// device.
func (i *inspection) checkNotes(hub *sandbox.Notehub) {
	for _, n := range hub.Notes("") {
		n = hub.Decrypted(n)
		session, _ := n.Body["session_id"].(string)
		credit, _ := n.Body["credit_id"].(string)
		i.notes[credit] = append(i.notes[credit], n)
		p, known := i.payments[session]
		if credit != payment.CreditID(session) {
			i.wrong("a note for session %s carries credit %s", session, credit)
		}
		if !known && !i.untraceable(n, session) {
			i.wrong("a note for session %s, which the ledger does not know", session)
		}
		if known && !strings.EqualFold(p.DeviceUID, n.Device) {
			i.wrong("a note for session %s at %s instead of %s", session, n.Device, p.DeviceUID)
		}
		if known && p.ConfirmBy.IsZero() && !completed(n) {
			i.wrong("a note %v for session %s, whose machine knows only credits", n.Body["payment_status"], session)
		}
		if strings.HasPrefix(session, "start_") {
			continue
		}
		charged, held, _, intent := i.stripe.Money(session)
		if sold, ok := i.stripe.Session(session); !ok ||
			(sold.PaymentStatus == "unpaid" && charged+held == 0 && intent != "canceled") {
			i.wrong("a note for session %s, which is not paid", session)
		} else if sold.Metadata["device_uid"] != n.Device {
			i.wrong("a note for session %s at %s instead of %s", session, n.Device, sold.Metadata["device_uid"])
		}
	}
}

// completed reports whether a note is a credit.
func completed(n sandbox.Note) bool { return n.Body["payment_status"] == "completed" }

// pending reports whether the device can still fetch a note.
func pending(n sandbox.Note) bool { return !n.Fetched && !n.Deleted }

// checkRow checks a row against the state machine alone. The row has its next step or is at its
// end, and a dead end is shown for review.
func (i *inspection) checkRow(p payment.Payment) {
	now := i.stripe.Now()
	for _, at := range []time.Time{now, now.Add(40 * 24 * time.Hour)} {
		if once := payment.Next(p, at); payment.Next(once, at) != once {
			i.wrong("payment %s does not come to rest: %+v becomes %+v", p.ID, once, payment.Next(once, at))
		} else if p.Step == payment.NoStep && once != p {
			i.wrong("payment %s is forgotten without a step: %+v should become %+v", p.ID, p, once)
		}
	}
	if p.InFlight && (p.Step == payment.NoStep || p.Step == payment.StepWait) {
		i.wrong("payment %s is under way with step %q", p.ID, p.Step)
	}
	if p.Step == payment.NoStep && !payment.Closed(p) && !i.decided(p) {
		i.wrong("payment %s is at a dead end without review: %s, %s %s", p.ID, p.Funds, p.Delivery, p.Reason)
	}
}

// decided reports whether the operator has refunded or ended a payment.
func (i *inspection) decided(p payment.Payment) bool {
	list, _, err := i.l.Audits(i.ctx, p.ID, 100, "")
	if err != nil {
		i.wrong("%v", err)
	}
	return slices.ContainsFunc(list, func(a ledger.Audit) bool { return a.What == "refund" || a.What == "end" })
}

// checkMoney compares the funds status with Stripe's money.
func (i *inspection) checkMoney(p payment.Payment) {
	sold, ok := i.stripe.Session(p.SessionID)
	if !ok || p.ID != payment.CreditID(p.SessionID) || p.PaymentIntent != sold.PaymentIntent ||
		p.Amount != sold.Amount {
		i.wrong("payment %s does not agree with its session %+v", p.ID, sold)
	}
	charged, held, back, intent := i.stripe.Money(p.SessionID)
	on := fmt.Sprintf(
		"payment %s is %s %s %s with %d back; Stripe took %d, holds %d, gave %d back, intent %s", p.ID, p.Funds,
		p.Delivery, p.Reason, p.RefundedAmount, charged, held, back, intent,
	)
	if back > charged || p.RefundedAmount > p.Amount {
		i.wrong("more went back than was paid: %s", on)
	}
	if p.InFlight || i.untold[p.PaymentIntent] || i.lookingUp() {
		return // the ledger does not know yet
	}
	onItsWay := p.Funds == payment.Authorized || p.Funds == payment.Capturing || p.Funds == payment.Canceling
	switch {
	case held > 0 && (!onItsWay || p.Step == payment.NoStep && p.ReviewReason == ""):
		i.wrong("a hold is left: %s", on)
	case p.Funds == payment.Canceled && intent != "canceled":
		i.wrong("the hold was not released: %s", on)
	case (p.Funds == payment.Paid || p.Funds == payment.Refunded) && p.Step != payment.StepRefund &&
		p.RefundedAmount != back:
		i.wrong("the ledger does not know what went back: %s", on)
	case p.Funds == payment.Refunded && back+p.LostAmount != p.Amount:
		i.wrong("not all of it went back: %s", on)
	case p.Funds == payment.Paid && p.Amount > 0 && charged == 0:
		i.wrong("nothing was taken: %s", on)
	case p.Reason == payment.ReasonReversed && intent != "canceled" && !i.foreign[p.PaymentIntent] && !i.decided(p):
		i.wrong("the money was returned, and not by another program: %s", on)
	}
}

// checkCredit compares the delivery status with Notehub's notes and the machine's starts.
func (i *inspection) checkCredit(p payment.Payment) {
	var credits []sandbox.Note
	for _, n := range i.notes[p.ID] {
		if completed(n) {
			credits = append(credits, n)
		}
	}
	starts := i.starts[p.ID]
	has := starts > 0
	if p.ConfirmBy.IsZero() { // a machine that does not confirm has each credit that its Notecard fetched
		has = slices.ContainsFunc(credits, func(n sandbox.Note) bool { return n.Fetched })
	}
	_, _, back, intent := i.stripe.Money(p.SessionID)
	returned := p.Amount > 0 && (back == p.Amount || intent == "canceled")
	on := fmt.Sprintf("payment %s, %s %s %s %s", p.ID, p.Funds, p.Delivery, p.Reason, p.ReviewReason)
	switch {
	case p.Delivery == payment.Sent && len(credits) == 0:
		i.wrong("sent, and Notehub has no note: %s", on)
	case !p.MaybeAccepted && len(credits) > 0 && !p.InFlight && !i.retried(p) && !i.missed(p):
		i.wrong("never posted, and Notehub has its note: %s", on)
	case !p.ConfirmBy.IsZero() && starts > 1:
		i.wrong("%d starts of a machine that confirms: %s", starts, on)
	case has && returned && !both(p) && !i.foreign[p.PaymentIntent] && !i.decided(p) &&
		!i.untold[p.PaymentIntent] && !p.InFlight && !i.missed(p):
		i.wrong("the machine has its credit and the customer the money: %s", on)
	case returned && p.Step == payment.NoStep && !p.InFlight && slices.ContainsFunc(credits, pending):
		i.wrong("the money is back and the credit still waits for the machine: %s", on)
	}
}

// retried reports whether the operator has resent the credit, so that an older note of it may be
// gone.
func (i *inspection) retried(p payment.Payment) bool {
	list, _, err := i.l.Audits(i.ctx, p.ID, 100, "")
	return err == nil && slices.ContainsFunc(list, func(a ledger.Audit) bool { return a.What == "retry" })
}

// both reports whether a payment may end with the credit delivered and the money returned, because
// the machine confirmed too late or not at all.
func both(p payment.Payment) bool {
	switch p.Reason {
	case payment.ReasonUnconfirmed, payment.ReasonStartedAfter, payment.ReasonRecallUnclear:
		return true
	case payment.ReasonReversed:
		return p.Funds == payment.Canceled // notepay never cancels an intent after a start
	}
	return p.Funds == payment.CaptureFailed
}

// After a restore (docs/adr/0009) the usual promises hold for each payment that the copy holds and
// does not count as queued. The others may be adopted. Then notepay sends no credit and moves no
// money, and the operator decides:
//
//   - A backup adopts each payment before its first start that it does not know or counts as queued. It
//     estimates the time of that start, so it may adopt payments of the next seconds as well.
//   - Any other copy adopts each payment that it does not know and that the later ledger handled. The
//     evidence is in Stripe's events, Notehub's pending notes, the confirmations, or the money.
//
// A plain copy has no evidence if Stripe's event was never accepted and the note was fetched. It has
// none either if the copy holds the payment as queued or to be looked up. Such a payment counts as
// missed. Its credit may be sent again, or its money returned again.

// mayAdopt reports whether the ledger may adopt a payment. A restore may allow it. Or the operator
// moved the money before the ledger received the payment, which counts after any start.
func (i *inspection) mayAdopt(p payment.Payment) bool {
	_, _, back, intent := i.stripe.Money(p.SessionID)
	sold, _ := i.stripe.Session(p.SessionID)
	if back > 0 || sold.Metadata["capture"] == "manual" && intent == "succeeded" {
		return true
	}
	for _, r := range i.rewinds {
		if r.Stamped && !p.PaidAt.Before(r.Started.Truncate(time.Second)) && p.PaidAt.Before(r.Ready.Add(ClocksAgree)) {
			return true
		}
		_, unknown := r.Unknown[p.SessionID]
		handled := r.Stamped || r.Accepted[p.SessionID] || len(i.notes[p.ID]) > 0
		if handled && (unknown || r.undecided[p.SessionID] || r.undecided[p.PaymentIntent]) {
			return true
		}
	}
	return false
}

// mustAdopt reports whether the last restore obliges the ledger to adopt a payment.
func (i *inspection) mustAdopt(p payment.Payment) bool {
	if len(i.rewinds) == 0 {
		return false
	}
	last := i.rewinds[len(i.rewinds)-1]
	if last.Stamped {
		return last.Unknown[p.SessionID]
	}
	if !last.Unknown[p.SessionID] || last.undecided[p.SessionID] || last.undecided[p.PaymentIntent] {
		return false
	}
	waited := func(n sandbox.Note) bool {
		listed := n.Posted.Add(maxListingDelay).Before(last.Started)
		fetched := n.Fetched && n.FetchedAt.Before(p.CreatedAt.Add(ClocksAgree))
		return completed(n) && listed && !fetched && !n.Deleted
	}
	return last.Accepted[p.SessionID] || slices.ContainsFunc(i.notes[p.ID], waited)
}

// missed reports whether the ledger had to count a payment as missed that another ledger may have
// handled. This happens in a plain copy without evidence. It also happens for payments within
// seconds of the start, because the ledger only estimates Stripe's time.
func (i *inspection) missed(p payment.Payment) bool {
	for _, r := range i.rewinds {
		undecided := r.undecided[p.SessionID] || r.undecided[p.PaymentIntent]
		long, unknown := r.Unknown[p.SessionID]
		if unknown && !long || !r.Stamped && (unknown && !r.Accepted[p.SessionID] || undecided) {
			return true
		}
	}
	return false
}

// untraceable reports whether the ledger may not know the session of a note that another ledger, or an
// earlier state of this one, has posted. The authorization was released, and Stripe does not list the
// event as accepted, or the copy held it to be looked up. Then only a pending note or an answer can show
// that the credit was sent.
func (i *inspection) untraceable(n sandbox.Note, session string) bool {
	if len(i.rewinds) == 0 {
		return !n.Posted.After(i.l.CreatedAt().Add(time.Second))
	}
	last := i.rewinds[len(i.rewinds)-1]
	_, _, _, intent := i.stripe.Money(session)
	return intent == "canceled" && !last.Known[session] && n.Posted.Before(last.Started.Add(inFlightWhenKilled)) &&
		(last.undecided[session] || !last.Unknown[session] || !last.Accepted[session])
}

// forgotten reports whether an event was caused by a replaced ledger, so that the copy does not
// know it.
func (i *inspection) forgotten(e sandbox.Event) bool {
	for _, r := range i.rewinds {
		if !e.Created.Before(r.Copied.Truncate(time.Second)) && !e.Created.After(r.Started) {
			return true
		}
	}
	return false
}

// adoption describes why the ledger adopted a payment.
func (i *inspection) adoption(p payment.Payment) string {
	list, _, err := i.l.Audits(i.ctx, p.ID, 100, "")
	if err != nil {
		return fmt.Sprintf(" (%v)", err)
	}
	text := fmt.Sprintf(" (the ledger was born at %v", i.l.CreatedAt())
	for _, r := range i.rewinds {
		text += fmt.Sprintf("; it was copied at %v and restored at %v, stamped: %t", r.Copied, r.Started, r.Stamped)
	}
	for _, a := range list {
		text += fmt.Sprintf("; %v %s: %s", a.At, a.What, a.Why)
	}
	return text + ")"
}

// checkAdoption checks a payment against the promise about payments that a restored ledger does not
// know.
func (i *inspection) checkAdoption(p payment.Payment) {
	adopted := p.Reason == payment.ReasonAdopted
	switch {
	case !adopted && i.mustAdopt(p):
		i.wrong("payment %s is not adopted by the restore at %v: %+v", p.ID, i.rewinds[len(i.rewinds)-1].Started, p)
	case !adopted || i.rewinds == nil:
		return
	case len(i.rewinds) == 0:
		if born := i.l.CreatedAt(); !born.IsZero() && p.PaidAt.After(born.Add(ClocksAgree)) && !i.mayAdopt(p) {
			i.wrong("payment %s is adopted, and nothing says that it was handled%s: %+v", p.ID, i.adoption(p), p)
		}
		return
	case !i.mayAdopt(p):
		i.wrong("payment %s is adopted, and nothing says that it was handled%s: %+v", p.ID, i.adoption(p), p)
	case p.ReviewReason == "" && !i.decided(p):
		i.wrong("payment %s is adopted without review: %+v", p.ID, p)
	case p.RefundSeq > 0 && !i.decided(p):
		i.wrong("payment %s is adopted, and its money is given back: %+v", p.ID, p)
	}
	last := i.rewinds[len(i.rewinds)-1].Started.Add(inFlightWhenKilled)
	for _, n := range i.notes[p.ID] {
		if completed(n) && n.Posted.After(last) {
			i.wrong("payment %s is adopted, and its credit was sent after the restore%s: %+v",
				p.ID, i.adoption(p), n)
		}
	}
}
