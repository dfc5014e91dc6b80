package fleet

import (
	"testing"

	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// The link that stays does not depend on what a process remembers.
func TestChoose(t *testing.T) {
	t.Parallel()
	link := func(id string, active, manual bool) ledger.Link {
		return ledger.Link{
			ID:        id,
			DeviceUID: "dev:1",
			Plan:      payment.Offer{PriceID: "price_1"},
			Active:    active,
			Manual:    manual,
		}
	}
	for name, c := range map[string]struct {
		listed []ledger.Link
		want   string
	}{
		"one that takes no more payments": {[]ledger.Link{link("plink_1", false, false)}, "plink_1"},
		"two": {
			[]ledger.Link{link("plink_2", true, false), link("plink_1", true, false)}, "plink_2",
		},
		"the first is full": {
			[]ledger.Link{link("plink_1", false, false), link("plink_2", true, false)}, "plink_2",
		},
		"the first holds the money": {
			[]ledger.Link{link("plink_1", true, true), link("plink_2", true, false), link("plink_3", true, false)},
			"plink_2",
		},
		"all hold the money": {
			[]ledger.Link{link("plink_1", true, true), link("plink_2", true, true)}, "plink_1",
		},
	} {
		for _, remembered := range c.listed {
			w := newLinkReconciler(&Fleet{})
			w.remember(remembered)
			if got := w.choose(c.listed)[linkKey{"dev:1", "price_1"}]; got != c.want {
				t.Errorf("%s, %s is remembered: %s stays; want %s", name, remembered.ID, got, c.want)
			}
		}
	}
}
