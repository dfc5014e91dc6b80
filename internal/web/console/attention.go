package console

import (
	"context"
	"errors"
	"net/http"
	"time"

	"notepay/internal/bridge"
	"notepay/internal/ledger"
	"notepay/internal/payment"
)

const (
	// maxShown is how many payments of a group are shown.
	maxShown = 5
	// maxDismissed bounds what one press of a group's button changes.
	maxDismissed = 500
	// maxGroups bounds the groups. There are fewer reasons.
	maxGroups = 30
)

// attentionGroup holds the payments that need attention for one reason.
type attentionGroup struct {
	Reason   string
	Why, Do  string
	Count    int
	Payments []payment.Payment // the newest of them
	Dismiss  bool              // the group has a button that dismisses all of it
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
		if g.Payments, err = c.Ledger.PaymentsOfReview(ctx, n.Reason, maxShown); err != nil {
			return nil, err
		}
		for _, p := range g.Payments {
			g.Dismiss = g.Dismiss || n.Payments > 1 && payment.Dismissable(p)
		}
		groups = append(groups, g)
	}
	return groups, nil
}

// More returns how many payments of the group are not shown.
func (g attentionGroup) More() int { return g.Count - len(g.Payments) }

// dismissAll dismisses the payments that need attention for one reason. It leaves out those of which
// more than the review would change. Each is in the audit.
func (c *Console) dismissAll(w http.ResponseWriter, r *http.Request) error {
	list, err := c.Ledger.PaymentsOfReview(r.Context(), r.PathValue("reason"), maxDismissed)
	if err != nil {
		return err
	}
	once := consumeFormToken(r)
	err = c.Ledger.Update(r.Context(), func(tx *ledger.Tx) error { return once.Before(tx) })
	if err != nil {
		return err
	}
	for _, p := range list {
		if !payment.Dismissable(p) {
			continue
		}
		same := bridge.Also{Before: func(tx *ledger.Tx) error { // it may have another reason by now
			now, err := tx.Payment(p.ID)
			if err == nil && (now.ReviewReason != p.ReviewReason || !payment.Dismissable(now)) {
				err = payment.ErrState
			}
			return err
		}}
		_, err := c.Bridge.Cancel(r.Context(), p.ID, by(r), same)
		if err != nil && !errors.Is(err, payment.ErrState) && !errors.Is(err, ledger.ErrNotFound) {
			return err
		}
	}
	return goBack(w, r, "dismiss")
}

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
