package sandbox

import "slices"

// dispute is a dispute or an inquiry of the customer's bank about a charge.
type dispute struct {
	id, status string
	of         *intent
	amount     int64 // minor units
	created    int64 // unix seconds
}

// taken reports whether the bank holds the money, so that Stripe rejects refunds of the charge.
func (d *dispute) taken() bool { return d.status == "needs_response" || d.status == "under_review" }

// over reports whether the dispute has reached a final status.
func (d *dispute) over() bool {
	return slices.Contains([]string{"won", "lost", "prevented", "warning_closed"}, d.status)
}

// lost returns how much of an intent's money was lost in disputes.
func (i *intent) lost() (sum int64) {
	for _, d := range i.disputes {
		if d.status == "lost" {
			sum += d.amount
		}
	}
	return sum
}

// left returns how much of an intent's money was neither refunded nor lost in a dispute.
func (i *intent) left() int64 { return i.received - i.refunded - i.lost() }

// takenBack reports whether a bank holds the money of an intent during a dispute.
func (i *intent) takenBack() bool { return slices.ContainsFunc(i.disputes, (*dispute).taken) }

// Dispute opens a dispute about the money of a session. It returns false if no money is left or a
// dispute exists.
func (s *Stripe) Dispute(sessionID string) bool {
	s.mu.Lock()
	i := s.intentOfSession(sessionID)
	none := i == nil || len(i.disputes) > 0 || i.left() <= 0
	s.mu.Unlock()
	return !none && s.OpenDispute(sessionID, "needs_response", 0) != ""
}

// OpenDispute opens a dispute about an amount of a session's money. The amount is in minor units. 0
// stands for all that is left, or for all that was paid if nothing is left. The status is Stripe's:
// "warning_needs_response" for an inquiry, "needs_response" for a dispute, or "prevented". It
// returns the dispute's id, or "" if nothing was paid.
func (s *Stripe) OpenDispute(sessionID, status string, amount int64) (id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.intentOfSession(sessionID)
	if i == nil || i.received == 0 {
		return ""
	}
	if amount == 0 {
		amount = i.left()
	}
	if amount <= 0 {
		amount = i.received // a bank may dispute a refunded charge, but never an amount of 0
	}
	d := &dispute{id: timedID("du_1", s.Now()), status: status, of: i, amount: amount, created: s.Now().Unix()}
	s.disputes.put(d.id, d)
	i.disputes = append(i.disputes, d)
	s.emit(send{"charge.dispute.created", d.id, s.disputeObject(d, nil), true})
	return d.id
}

// MoveDispute sets the status of an open dispute. It returns false if there is none.
func (s *Stripe) MoveDispute(id, status string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.disputes.get(id)
	if d == nil || d.status == "won" || d.status == "lost" {
		return false
	}
	d.status = status
	kind := "charge.dispute.updated"
	if d.over() {
		kind = "charge.dispute.closed"
	}
	s.emit(send{kind, d.id, s.disputeObject(d, nil), true})
	return true
}

// CloseDispute closes the open dispute of a session, won or lost by the operator. It returns false
// if there is none.
func (s *Stripe) CloseDispute(sessionID string, won bool) bool {
	s.mu.Lock()
	open := ""
	if i := s.intentOfSession(sessionID); i != nil {
		for _, d := range i.disputes {
			if d.taken() {
				open = d.id
			}
		}
	}
	s.mu.Unlock()
	if won {
		return s.MoveDispute(open, "won")
	}
	return s.MoveDispute(open, "lost")
}

// evidenceTime is how many seconds the operator has to answer a dispute.
const evidenceTime = 9 * 24 * 60 * 60

func (s *Stripe) disputeOperations() []operation {
	return []operation{
		{"GET", "/v1/disputes", "payment_intent charge" + createdParams + pageParams,
			"data.charge data.payment_intent", s.listDisputes},
	}
}

func (s *Stripe) listDisputes(q *query) (any, *apiError) {
	created := q.createdWanted()
	wanted := func(d *dispute) bool {
		return (!q.Has("payment_intent") || d.of.id == q.Get("payment_intent")) &&
			(!q.Has("charge") || d.of.charge == q.Get("charge")) && created(d.created)
	}
	return listPage(q, &s.disputes, "/v1/disputes", wanted, s.disputeObject)
}

func (s *Stripe) disputeObject(d *dispute, _ expansion) object {
	return object{
		"id":                   d.id,
		"object":               "dispute",
		"livemode":             s.config.Livemode,
		"status":               d.status,
		"amount":               d.amount,
		"currency":             d.of.currency,
		"charge":               d.of.charge,
		"payment_intent":       d.of.id,
		"created":              d.created,
		"reason":               "fraudulent",
		"is_charge_refundable": !d.taken() && !d.over(),
		"balance_transactions": []object{},
		"evidence_details": object{
			"due_by":               d.created + evidenceTime,
			"enhanced_eligibility": object{},
			"has_evidence":         false,
			"past_due":             false,
			"submission_count":     0,
		},
		// not the payment's metadata
		"metadata": object{},
		"evidence": object{"customer_name": "Casey Example", "customer_email_address": "casey@example.com"},
	}
}
