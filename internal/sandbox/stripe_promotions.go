package sandbox

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// PromotionCode is a customer-facing code of a coupon that takes a part off a session's price.
type PromotionCode struct {
	Code       string    // customers may type it in any case
	PercentOff int64     // 1 to 100; 0: AmountOff
	AmountOff  int64     // minor units
	Currency   string    // of AmountOff
	Max        int64     // how often it can be redeemed; 0: no limit
	Expires    time.Time // zero: never
}

type promotionCode struct {
	PromotionCode
	id, coupon string
	redeemed   int64
}

// AddPromotionCode adds a code with a coupon of its own, as in the Dashboard.
func (s *Stripe) AddPromotionCode(c PromotionCode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &promotionCode{PromotionCode: c, id: timedID("promo_1", s.Now()), coupon: randomText(8)}
	s.promotions.put(strings.ToUpper(c.Code), p)
}

// Redeemed returns how often a promotion code was redeemed.
func (s *Stripe) Redeemed(code string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.promotions.get(strings.ToUpper(code)); p != nil {
		return p.redeemed
	}
	return 0
}

// discount applies a promotion code to an open session. It fails as Stripe's page does: if the session
// takes no codes, if the code does not exist, has expired or is used up, if its amount is in another
// currency, or if the rest is too small to be charged.
func (s *Stripe) discount(x *session, code string) error {
	if !x.promotionCodes {
		return errors.New("this session takes no promotion codes")
	}
	p := s.promotions.get(strings.ToUpper(strings.TrimSpace(code)))
	switch {
	case p == nil, !p.Expires.IsZero() && !s.Now().Before(p.Expires), p.Max > 0 && p.redeemed >= p.Max:
		return errors.New("this promotion code is invalid")
	case p.PercentOff == 0 && p.Currency != x.Currency:
		return fmt.Errorf("the code is in %s", p.Currency)
	}
	x.Amount, x.discount = x.Amount+x.discount, 0 // an earlier attempt may have failed with another code
	off := (x.Amount*p.PercentOff + 50) / 100
	if p.PercentOff == 0 {
		off = min(p.AmountOff, x.Amount)
	}
	if rest := x.Amount - off; rest > 0 && rest < minCharge(x.Currency) {
		return errors.New("the rest is too small to be charged")
	}
	x.Amount, x.discount, x.promotion = x.Amount-off, off, p
	return nil
}

// discounts renders the codes that were applied to a session.
func (x *session) discounts() []object {
	if x.promotion == nil {
		return []object{}
	}
	return []object{{"coupon": nil, "promotion_code": x.promotion.id}}
}
