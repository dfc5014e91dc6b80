package bridge

import (
	"testing"
	"testing/synctest"

	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// Stripe's list adds evidence to a look-up that is claimed already.
func TestReadLookupAppliesEvidenceSinceItsClaim(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		const session = "cs_test_1"
		e := h.pays(session, "dev:1")
		var claimed []ledger.Lookup
		err := h.l.Update(t.Context(), func(tx *ledger.Tx) (err error) {
			l := ledger.Lookup{ID: session, PaidAt: e.Created, DueAt: tx.Now, Handled: ledger.HandledUnsure}
			if err = tx.AddLookup(l); err == nil {
				claimed, err = tx.ClaimLookups(tx.Now.Add(payment.Lease), 1)
			}
			return err
		})
		if err != nil || len(claimed) != 1 {
			t.Fatalf("%d look-ups claimed, %v; want one", len(claimed), err)
		}
		err = h.l.Update(t.Context(), func(tx *ledger.Tx) error { return tx.HandleLookup(session, handledByWebhook) })
		if err != nil {
			t.Fatal(err)
		}
		h.b.listed.Store(true)
		h.b.readLookup(t.Context(), claimed[0])
		h.stands(session, payment.Failed, payment.ReasonAdopted, payment.Paid, payment.ReasonAdopted)
	})
}
