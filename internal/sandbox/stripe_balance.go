package sandbox

import (
	"slices"
	"time"
)

// balance is a balance transaction: money that entered the account or left it.
type balance struct {
	id, kind, category, currency string
	amount, fee                  int64 // minor units
	created                      int64 // unix seconds
	source                       func(expanded bool) any
}

// payout is a payout to the bank.
type payout struct {
	id, currency, status string
	amount               int64 // minor units
	created, arrival     int64 // unix seconds
}

// disputeFee is what a dispute costs, in minor units.
const disputeFee = 2000

func (s *Stripe) balanceOperations() []operation {
	return []operation{
		{"GET", "/v1/balance_transactions", "type currency source" + createdParams + pageParams,
			"data.source", s.listBalance},
		{"GET", "/v1/payouts", "status destination" + createdParams + pageParams, "data.destination", s.listPayouts},
	}
}

// AddPayout pays an amount out to the bank, in minor units, and returns the id of the payout.
func (s *Stripe) AddPayout(amount int64, currency, status string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Now()
	p := &payout{
		id:       timedID("po_1", now),
		currency: currency,
		status:   status,
		amount:   amount,
		created:  now.Unix(),
		arrival:  now.Add(48 * time.Hour).Truncate(24 * time.Hour).Unix(),
	}
	s.payouts.put(p.id, p)
	return p.id
}

// listBalance lists the balance transactions that follow from charges, refunds, disputes and payouts.
// A card costs 1.5 % and 25 minor units. Stripe keeps that when the payment is refunded.
func (s *Stripe) listBalance(q *query) (any, *apiError) {
	var all []*balance
	add := func(of, kind, category, currency string, amount, fee, created int64, render func(expansion) object) {
		all = append(all, &balance{
			id:       "txn_" + of,
			kind:     kind,
			category: category,
			currency: currency,
			amount:   amount,
			fee:      fee,
			created:  created,
			source: func(expanded bool) any {
				if expanded {
					return render(nil)
				}
				return of
			},
		})
	}
	for _, i := range s.intents.order {
		if i.received > 0 {
			add(i.charge, "charge", "charge", i.currency, i.received, i.received*15/1000+25, i.charged,
				func(e expansion) object { return s.chargeObject(i, e) })
		}
	}
	for _, r := range s.refunds.order {
		if r.status != "failed" {
			add(r.id, "refund", "refund", r.of.currency, -r.amount, 0, r.created,
				func(e expansion) object { return s.refundObject(r, e) })
		}
	}
	for _, d := range s.disputes.order {
		if d.taken() || d.status == "lost" {
			add(d.id, "adjustment", "dispute", d.of.currency, -d.amount, disputeFee, d.created,
				func(e expansion) object { return s.disputeObject(d, e) })
		}
	}
	for _, p := range s.payouts.order {
		add(p.id, "payout", "payout", p.currency, -p.amount, 0, p.created,
			func(expansion) object { return s.payoutObject(p, nil) })
	}
	slices.SortStableFunc(all, func(a, b *balance) int { return int(a.created - b.created) })
	var shelf shelf[balance]
	for _, b := range all {
		shelf.put(b.id, b)
	}
	created := q.createdWanted()
	wanted := func(b *balance) bool {
		return created(b.created) && (!q.Has("type") || b.kind == q.Get("type")) &&
			(!q.Has("currency") || b.currency == q.Get("currency")) &&
			(!q.Has("source") || "txn_"+q.Get("source") == b.id)
	}
	return listPage(q, &shelf, "/v1/balance_transactions", wanted, func(b *balance, e expansion) object {
		_, expanded := e.into("source")
		return object{
			"id":                 b.id,
			"object":             "balance_transaction",
			"amount":             b.amount,
			"available_on":       b.created + 2*24*3600,
			"created":            b.created,
			"currency":           b.currency,
			"description":        nil,
			"exchange_rate":      nil,
			"fee":                b.fee,
			"fee_details":        []object{},
			"net":                b.amount - b.fee,
			"reporting_category": b.category,
			"source":             b.source(expanded),
			"status":             "pending",
			"type":               b.kind,
		}
	})
}

func (s *Stripe) listPayouts(q *query) (any, *apiError) {
	created := q.createdWanted()
	wanted := func(p *payout) bool { return created(p.created) && (!q.Has("status") || p.status == q.Get("status")) }
	return listPage(q, &s.payouts, "/v1/payouts", wanted, s.payoutObject)
}

func (s *Stripe) payoutObject(p *payout, _ expansion) object {
	return object{
		"id":           p.id,
		"object":       "payout",
		"amount":       p.amount,
		"arrival_date": p.arrival,
		"automatic":    true,
		"created":      p.created,
		"currency":     p.currency,
		"livemode":     s.config.Livemode,
		"metadata":     object{},
		"method":       "standard",
		"status":       p.status,
		"type":         "bank_account",
	}
}
