package sandbox

import (
	"testing"
	"time"
)

func TestPromotionCode(t *testing.T) {
	t.Parallel()
	s := newStripe(t, StripeConfig{})
	s.AddPromotionCode(PromotionCode{Code: "HALF", PercentOff: 50})
	s.AddPromotionCode(PromotionCode{Code: "ONCE", AmountOff: 100, Currency: "eur", Max: 1})
	s.AddPromotionCode(PromotionCode{Code: "OLD", PercentOff: 10, Expires: s.Now().Add(-time.Hour)})
	s.AddPromotionCode(PromotionCode{Code: "DOLLARS", AmountOff: 100, Currency: "usd"})
	s.AddPromotionCode(PromotionCode{Code: "NEARLY", AmountOff: 330, Currency: "eur"})
	open := s.AddLink(Link{PriceID: "price_wash", DeviceUID: "dev:1", PromotionCodes: true, Active: true})
	closed := s.AddLink(Link{PriceID: "price_wash", DeviceUID: "dev:2", Active: true})
	for _, c := range []struct {
		name, link, code string
		amount           int64 // 0: the code is refused
	}{
		{"in small letters", open.ID, "half", 175},
		{"once", open.ID, "ONCE", 250},
		{"used up", open.ID, "ONCE", 0},
		{"expired", open.ID, "OLD", 0},
		{"unknown", open.ID, "NONE", 0},
		{"in another currency", open.ID, "DOLLARS", 0},
		{"below the smallest charge", open.ID, "NEARLY", 0},
		{"on a link without codes", closed.ID, "HALF", 0},
	} {
		session, err := s.Pay(c.link, PayOptions{Promotion: c.code})
		if (err == nil) != (c.amount > 0) || err == nil && session.Amount != c.amount {
			t.Errorf("%s: amount %d, %v; want %d", c.name, session.Amount, err, c.amount)
		}
	}
	if s.Redeemed("half") != 1 || s.Redeemed("ONCE") != 1 {
		t.Error("a code was not counted once")
	}
	session, err := s.Open(open.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Pay(session.ID, PayOptions{Promotion: "HALF", Method: "4000000000000002"}); err == nil {
		t.Error("a declined card paid")
	}
	if paid, err := s.Pay(session.ID, PayOptions{Promotion: "HALF"}); err != nil || paid.Amount != 175 {
		t.Errorf("amount %d, %v after a declined card; want the code to count once", paid.Amount, err)
	}
}
