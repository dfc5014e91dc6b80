package console

import (
	"context"
	"net/http"
	"time"

	"notepay/internal/payment"
)

const (
	// maxShown is how many payments of a group are shown.
	maxShown = 5
	// maxGroups bounds the groups. There are fewer reasons.
	maxGroups = 30
)

// attentionGroup holds the payments that need attention for one reason.
type attentionGroup struct {
	Reason   string
	Why, Do  string
	Count    int
	Waiting  string            // what waits to be refunded because the Stripe balance is too low, "" if nothing
	Payments []payment.Payment // the newest of them
	Actions  []offered         // on all of them
}

// attentionGroups returns the payments that need attention, grouped by their reason.
func (c *Console) attentionGroups(ctx context.Context) (groups []attentionGroup, err error) {
	counts, err := c.Ledger.ReviewCounts(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range counts[:min(len(counts), maxGroups)] {
		words := attentionWords(n.Reason)
		g := attentionGroup{Reason: n.Reason, Why: words.Why, Do: words.Do, Count: n.Payments}
		limit := maxShown
		if n.Payments > 1 {
			limit = maxBulk
		}
		if g.Payments, err = c.Ledger.PaymentsOfReview(ctx, n.Reason, limit); err != nil {
			return nil, err
		}
		g.Actions = offeredActions(g.Payments, c.Ledger.Now())
		g.Waiting = waitingRefunds(n.Reason, g.Payments)
		g.Payments = g.Payments[:min(len(g.Payments), maxShown)]
		groups = append(groups, g)
	}
	return groups, nil
}

// waitingRefunds returns what the Stripe balance lacks at most, such as "12.00 EUR".
func waitingRefunds(reason string, list []payment.Payment) string {
	if reason != payment.ReviewBalance {
		return ""
	}
	sums := map[string]int64{}
	for _, p := range list {
		sums[p.Currency] += p.RefundAmount
	}
	return amountsOf(sums)
}

// More returns how many payments of the group are not shown.
func (g attentionGroup) More() int { return g.Count - len(g.Payments) }

// titleTimeout bounds the count in the title, which no page needs.
const titleTimeout = time.Second

// openMatters returns the count for the title, 0 if it is not known.
func (c *Console) openMatters(r *http.Request) int {
	ctx, cancel := context.WithTimeout(r.Context(), titleTimeout)
	defer cancel()
	n, err := c.Ledger.OpenMatters(ctx)
	if err != nil {
		return 0
	}
	return n
}
