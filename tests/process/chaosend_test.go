package process

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// paymentState is the state of a payment in the operator's API.
type paymentState struct {
	SessionID      string `json:"session_id"`
	Money, Machine string
	Reason         string
	NeedsAttention bool `json:"needs_attention"`
}

// closed reports whether a payment needs no further work.
func (c *chaos) closed(p paymentState) bool {
	switch {
	case p.NeedsAttention:
		return true
	case p.Machine == "queued" || p.Machine == "sent":
		return false
	case p.Money == "refunded" || p.Money == "released":
		return true
	}
	over := p.Machine == "started" || p.Machine == "done" || p.Machine == "failed"
	return p.Money == "paid" && (over || p.Machine == "fetched" && !c.confirms)
}

// untilClosed waits until every paid session has a payment and every payment is closed. It returns
// those that are not.
func (c *chaos) untilClosed(p *apptest.Process) (open []string) {
	s := &apptest.Service{W: c.world, Url: p.Url}
	for deadline := time.Now().Add(maxQuiet); ; rest(c.world.Context(), 500*time.Millisecond) {
		open = nil
		known := map[string]paymentState{}
		for cursor := ""; ; {
			_, _, text := s.Get("/api/payments?limit=200&cursor="+cursor, "Authorization",
				"Bearer "+apptest.OperatorToken)
			var page struct {
				Payments []paymentState
				Next     string `json:"next_cursor"`
			}
			if err := json.Unmarshal([]byte(text), &page); err != nil {
				c.world.Fatalf("%v: %s", err, text)
			}
			for _, p := range page.Payments {
				known[p.SessionID] = p
			}
			if cursor = page.Next; cursor == "" {
				break
			}
		}
		for _, session := range c.world.Stripe.Sessions() {
			p, ok := known[session.ID]
			switch {
			case session.Status != "complete" || session.DeviceUID == "":
			case !ok:
				_, _, _, intent := c.world.Stripe.Money(session.ID)
				if intent != "canceled" { // an authorization canceled before its event makes no payment
					open = append(open, "lost: "+session.ID)
				}
			case !c.closed(p):
				open = append(open, fmt.Sprintf("open: %+v", p))
			}
		}
		if len(open) == 0 || time.Now().After(deadline) {
			return open
		}
	}
}

// sum logs what happened and reports credits that were delivered twice.
func (c *chaos) sum(quiet time.Duration) {
	w := c.world
	l, err := ledger.Open(w.Context(), w.Env["DATABASE_URL"])
	if err != nil {
		w.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			w.Error(err)
		}
	}()
	starts, endings, doubles, refunds, attention := map[string]int{}, map[string]int{}, 0, 0, 0
	for n, m := range w.Machines {
		for _, start := range m.Starts() {
			if starts[start.CreditID]++; starts[start.CreditID] > 1 {
				doubles++
				if c.confirms || n%2 == 1 {
					w.Errorf("the machine started twice for credit %s", start.CreditID)
				}
			}
		}
	}
	payments := 0
	for cursor := ""; ; {
		list, next, err := l.Payments(w.Context(), ledger.Filter{Limit: 500, Cursor: cursor})
		if err != nil {
			w.Fatal(err)
		}
		for _, p := range list {
			payments++
			endings[strings.TrimRight(fmt.Sprintf("%s %s %s", p.Funds, p.Delivery, p.Reason), " ")]++
			refunds += min(p.RefundSeq, 1)
			if p.ReviewReason != "" {
				attention++
			}
			if !payment.Closed(p) {
				w.Errorf("not closed: %+v", p)
			}
		}
		if cursor = next; next == "" {
			break
		}
	}
	if payments == 0 || c.kills == 0 || c.hurt == 0 || c.database != nil && c.crashes == 0 {
		w.Errorf("%d payments, %d kills, %d calls that failed, %d crashes: nothing was tested",
			payments, c.kills, c.hurt, c.crashes)
	}
	backups, plain := w.Kinds()
	w.Logf("the ledger was restored %d times from a backup and %d times from a plain copy", backups, plain)
	if c.processes == 0 && c.kills >= enoughKills && (backups == 0 || plain == 0) {
		w.Errorf("%d kills, and the ledger was not restored from a copy of each kind", c.kills)
	}
	w.Logf(
		"%d payments, %d kills, %d crashes of the database, %d of %d calls failed, %d notes, %d refunded by us, "+
			"%d for the operator, quiet after %v, %d second starts of machines that do not know credits",
		payments,
		c.kills,
		c.crashes,
		c.hurt,
		c.calls,
		len(w.Notehub.Notes("")),
		refunds,
		attention,
		quiet.Round(time.Second),
		doubles,
	)
	for _, ending := range slices.Sorted(maps.Keys(endings)) {
		w.Logf("%5d  %s", endings[ending], ending)
	}
}
