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

// A session that another program made may spell its machine as stickers and people do.
func TestSessionSpellsItsMachine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		for session, spelled := range map[string]string{
			"cs_test_1": "DEV:1", "cs_test_2": " dev:1\u200b", "cs_test_3": "dev%3A1", "cs_test_4": "dev:1",
		} {
			h.receive(h.pays(session, spelled))
			if got := h.payment(session).DeviceUID; got != "dev:1" {
				t.Errorf("%q is %q; want dev:1", spelled, got)
			}
		}
		h.close()
	})
}

// The success page may ask for a session before its event, and also for one whose link has lost its
// metadata.
func TestSessionThroughALinkWithoutItsMetadata(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		err := h.l.Update(t.Context(), func(tx *ledger.Tx) error {
			return tx.SaveLink(ledger.Link{ID: "plink_1", DeviceUID: "dev:1", Plan: payment.Offer{PriceID: "price_1"}})
		})
		if err != nil {
			t.Fatal(err)
		}
		for session, link := range map[string]string{"cs_test_1": "plink_1", "cs_test_2": "plink_2"} {
			h.paysFor(session, "dev:1", 350, func(s *payment.CheckoutSession) { s.PaymentLink, s.Metadata = link, nil })
			_, err := h.b.Session(t.Context(), session)
			if known, err := ledger.Found(err); err != nil || known != (link == "plink_1") {
				t.Errorf("the session of %s is a payment: %v, %v; want only that of our link", link, known, err)
			}
		}
		if p := h.payment("cs_test_1"); p.DeviceUID != "dev:1" || p.PriceID != "price_1" {
			t.Errorf("payment %+v; want it for the link's machine", p)
		}
		h.close()
	})
}

// A person can edit the metadata of a link in the Dashboard. The customer scanned the machine that
// the link was created for.
func TestSessionThroughALinkWithEditedMetadata(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		err := h.l.Update(t.Context(), func(tx *ledger.Tx) error {
			return tx.SaveLink(ledger.Link{
				ID:        "plink_1",
				DeviceUID: "DEV:1", // as an earlier version stored it
				Plan:      payment.Offer{PriceID: "price_1", Amount: 350, Currency: "usd"},
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		for session, edited := range map[string]string{"cs_test_1": "dev:2", "cs_test_2": "dev:1"} {
			h.receive(h.paysFor(session, edited, 350, func(s *payment.CheckoutSession) {
				s.PaymentLink, s.Metadata["price_id"] = "plink_1", "price_9"
			}))
			if p := h.payment(session); p.DeviceUID != "dev:1" || p.PriceID != "price_1" {
				t.Errorf("a payment with %s is for %s at %s; want the link's dev:1 at price_1",
					edited, p.DeviceUID, p.PriceID)
			}
		}
		h.close()
	})
}
