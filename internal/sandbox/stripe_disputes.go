package sandbox

// dispute is a bank's demand to have a customer's money back.
type dispute struct {
	id, status string // "needs_response", "won" or "lost"; by us
	of         *intent
	amount     int64 // minor units
	created    int64 // unix seconds
}

// open tells that Stripe refuses to refund the charge: the dispute is not over, or the money is gone already.
func (d *dispute) open() bool { return d != nil && d.status != "won" }

// Dispute lets the customer's bank ask for the money of a session that was not given back. It tells whether there is any. A charge is disputed once at most.
func (s *Stripe) Dispute(sessionID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.intentOfSession(sessionID)
	if i == nil || i.dispute != nil || i.received == i.refunded {
		return false
	}
	i.dispute = &dispute{id: "du_1" + randomText(23), status: "needs_response", of: i, amount: i.received - i.refunded, created: s.Now().Unix()}
	s.emit(send{"charge.dispute.created", i.dispute.id, s.disputeObject(i.dispute), true})
	return true
}

// CloseDispute ends the dispute of a session, for us or against us. It tells whether there was one to end.
func (s *Stripe) CloseDispute(sessionID string, won bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.intentOfSession(sessionID)
	if i == nil || i.dispute == nil || i.dispute.status != "needs_response" {
		return false
	}
	i.dispute.status = "lost"
	if won {
		i.dispute.status = "won"
	}
	s.emit(send{"charge.dispute.closed", i.dispute.id, s.disputeObject(i.dispute), true})
	return true
}

func (s *Stripe) disputeObject(d *dispute) object {
	return object{
		"id": d.id, "object": "dispute", "livemode": s.config.Livemode, "status": d.status, "amount": d.amount, "currency": d.of.currency,
		"charge": d.of.charge, "payment_intent": d.of.id, "created": d.created, "reason": "fraudulent", "is_charge_refundable": false,
		"metadata": object{}, "evidence": object{"customer_name": "Casey Example", "customer_email_address": "casey@example.com"}, // not the payment's metadata
	}
}
