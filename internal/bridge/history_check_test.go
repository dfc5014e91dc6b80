package bridge

import (
	"time"

	"notepay/internal/payment"
)

// check compares the end of a history with the promise.
func (h *history) check() {
	for _, x := range h.purchases {
		p, err := h.store.payment(x.credit)
		if err != nil {
			h.checkUnknown(x)
			continue
		}
		h.checkMoney(x, p)
		h.checkMachine(x, p)
		if p.Step != payment.NoStep || p.InFlight {
			h.fail("%s has a step that is never made", p.ID)
		}
	}
}

// checkUnknown checks a purchase that is not in the ledger. Its hold was released, and no credit was
// sent, unless a copy could not know that.
func (h *history) checkUnknown(x *purchase) {
	switch {
	case x.status != "canceled":
		h.fail("%s was paid and is not in the ledger", x.session)
	case x.sent && !x.forgotten:
		h.fail("the credit of %s was sent, and the ledger does not know it", x.session)
	}
}

// closed is the design's definition of payment.Closed, written independently.
func closed(p payment.Payment) bool {
	person := p.ReviewReason != ""
	back := p.Funds == payment.Refunded || p.Funds == payment.Canceled
	gone := p.Funds == payment.DisputeLost || p.Funds == payment.CaptureFailed
	has := p.Delivery == payment.Started || p.Delivery == payment.Done ||
		(p.Delivery == payment.Fetched && p.ConfirmBy.IsZero())
	return person || back || gone || (has && p.Funds == payment.Paid)
}

func (h *history) checkMoney(x *purchase, p payment.Payment) {
	switch {
	case !closed(p) && !x.seen:
		h.fail("%s is not closed: %s and %s", p.ID, p.Delivery, p.Funds)
	case closed(p) && !payment.Closed(p) && !x.seen:
		h.fail("%s is closed and Closed does not know it", p.ID)
	case x.status == "requires_capture" && p.Reason != payment.ReasonAdopted:
		h.fail("the authorization of %s never ends", p.ID)
	case x.refunded > x.received:
		h.fail("more of %s was refunded than was paid", p.ID)
	case p.RefundedAmount != x.refunded:
		h.fail("%s: %d was refunded, and the ledger says %d", p.ID, x.refunded, p.RefundedAmount)
	case p.Funds == payment.Paid && x.status != "succeeded":
		h.fail("%s is not paid but %s", p.ID, x.status)
	case p.LostAmount != x.lost():
		h.fail("%s: the bank kept %d, and the ledger says %d", p.ID, x.lost(), p.LostAmount)
	case (p.Funds == payment.Disputed) != x.takenBack() && p.Funds != payment.DisputeLost:
		h.fail("%s is %s, and its disputes are %+v", p.ID, p.Funds, x.disputes)
	case p.Funds == payment.Refunded && x.refunded+x.lost() < x.amount:
		h.fail("%s is not refunded", p.ID)
	}
	ours := int64(0)
	for _, r := range x.refunds {
		if r.Credit != "" && r.Status != "failed" {
			ours += r.Amount
		}
	}
	if p.Delivery != payment.Failed && p.Reason != payment.ReasonStartedAfter && !x.byPerson && !x.byOthers &&
		ours > x.granted {
		h.fail("%s: we refunded %d, and the operator granted %d", p.ID, ours, x.granted)
	}
}

func (h *history) checkMachine(x *purchase, p payment.Payment) {
	m := &h.machines[x.device]
	number, answered := 0, time.Time{}
	for _, s := range m.starts {
		if s.credit == p.ID {
			number++
			answered = s.answered
		}
	}
	returned := x.releasedByUs
	for _, r := range x.refunds {
		returned = returned || (r.Credit != "" && r.Status != "failed")
	}
	weDecided := returned && !x.byPerson && !x.byOthers && x.granted == 0 && !x.missed
	pending := false
	for _, n := range h.pending[x.device] {
		pending = pending || (n.credit == p.ID && n.status == payment.NoteCompleted)
	}
	inTime := !answered.IsZero() && answered.Before(p.ConfirmBy)
	switch {
	case h.confirming && number > 1:
		h.fail("%s started twice", p.ID)
	case pending:
		h.fail("a note of %s is still pending", p.ID)
	case h.confirming && number > 0 && weDecided && inTime:
		h.fail("%s started, said so in time, and the money went back", p.ID)
	case !h.confirming && number > 0 && weDecided && p.Reason != payment.ReasonRecallUnclear:
		h.fail("%s started and the money went back (%s)", p.ID, p.Reason)
	case !h.confirming && number > 0 && weDecided && p.ReviewReason == "" && !x.seen:
		h.fail("%s may have started, the money went back, and there is no review", p.ID)
	case number == 0 && (p.Delivery == payment.Started || p.Delivery == payment.Done):
		h.fail("%s never started and is %s", p.ID, p.Delivery)
	}
}
