package ledger

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"notepay/internal/payment"
)

// link returns an active link.
func link(id string) Link {
	return Link{
		ID:        id,
		Livemode:  true,
		DeviceUID: "dev:1",
		URL:       "https://buy.stripe.com/" + id,
		ReturnURL: "https://pay.example.com",
		Active:    true,
		Plan: payment.Offer{
			PriceID:         "price_warm",
			Name:            "Warm wash",
			Description:     "40 degrees",
			Image:           "https://files.stripe.com/1",
			Amount:          350,
			Currency:        "eur",
			Duration:        time.Hour,
			DelayedStart:    5 * time.Minute,
			AccessCode:      true,
			CurrencyOptions: "gbp=300,usd=400",
		},
		Manual: true,
	}
}

func testLinks(t *testing.T, database string) {
	l := open(t, database)
	sold, other, test := link("plink_1"), link("plink_2"), link("plink_3")
	other.DeviceUID, other.Plan = "dev:2", payment.Offer{PriceID: "price_cold"}
	test.Livemode = false
	changed := sold
	changed.Active, changed.ReturnURL = false, "https://new.example.com"
	changed.Plan = payment.Offer{PriceID: "price_hot", Name: "Hot wash", Amount: 500, Currency: "usd"}
	changed.DeviceUID, changed.URL, changed.Livemode, changed.Manual = "dev:9", "https://elsewhere", false, false
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(tx.SaveLink(sold), tx.SaveLink(other), tx.SaveLink(test), tx.SaveLink(changed))
	})
	// all other columns stay as first stored
	sold.Active, sold.ReturnURL, sold.URL = false, "https://new.example.com", "https://elsewhere"

	read := inTx(l, func(tx *Tx) (Link, error) { return tx.Link("plink_1") })
	if read.err != nil || read.got != sold {
		t.Errorf("Link: got %+v, %v; want %+v", read.got, read.err, sold)
	}
	read = inTx(l, func(tx *Tx) (Link, error) { return tx.Link("plink_unknown") })
	if !errors.Is(read.err, ErrNotFound) {
		t.Errorf("an unknown link: got %+v, %v; want %v", read.got, read.err, ErrNotFound)
	}
	for livemode, want := range map[bool][]Link{true: {sold, other}, false: {test}} {
		got, err := l.Links(t.Context(), livemode)
		slices.SortFunc(got, func(a, b Link) int { return strings.Compare(a.ID, b.ID) })
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("Links(%v): got %+v, %v; want %+v", livemode, got, err, want)
		}
	}
}

func testOneActiveLink(t *testing.T, database string) {
	l := open(t, database)
	save := func(id string, change func(k *Link)) error {
		k := link(id)
		change(&k)
		return l.Update(t.Context(), func(tx *Tx) error { return tx.SaveLink(k) })
	}
	for _, c := range []struct {
		name    string
		refused bool
		id      string
		change  func(k *Link)
	}{
		{"the first", false, "plink_1", func(*Link) {}},
		{"a second active one", true, "plink_2", func(*Link) {}},
		{"a second that is not active", false, "plink_2", func(k *Link) { k.Active = false }},
		{"the second, to be activated beside the first", true, "plink_2", func(*Link) {}},
		{"one for another device", false, "plink_3", func(k *Link) { k.DeviceUID = "dev:2" }},
		{"one for another price", false, "plink_4", func(k *Link) { k.Plan.PriceID = "price_cold" }},
		{"one of the other mode", false, "plink_5", func(k *Link) { k.Livemode = false }},
		{"the first, to be deactivated", false, "plink_1", func(k *Link) { k.Active = false }},
		{"the second, after that", false, "plink_2", func(*Link) {}},
	} {
		err := save(c.id, c.change)
		if c.refused && constraint(err) != "unique" || !c.refused && err != nil {
			t.Errorf("%s: got error %v; want refused %v", c.name, err, c.refused)
		}
	}
}
