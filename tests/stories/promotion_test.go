package stories

import (
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// withCodes lets customers enter promotion codes.
func withCodes(s *config.Settings) { s.PromotionCodes = "on" }

func TestPromotionCodeIsNoMismatch(t *testing.T) {
	for name, perPurchase := range map[string]bool{"link": false, "session": true} {
		t.Run(name, func(t *testing.T) {
			settings := withCodes
			if perPurchase {
				settings = func(s *config.Settings) { withCodes(s); s.Checkout = "session" }
			}
			story(t, settings, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
				f.Stripe.AddPromotionCode(sandbox.PromotionCode{Code: "SPRING", AmountOff: 100, Currency: "eur"})
				f.Run()
				f.Pass(time.Second)
				var session sandbox.Session
				if options := (sandbox.PayOptions{Promotion: "spring"}); perPurchase {
					phone := f.Phone()
					session = f.Complete(phone.Presses(phone.Scans()), options)
				} else {
					session = f.Buy(options)
				}
				f.Pass(10 * time.Second)
				p := f.Record(session)
				if p.Amount != 250 || p.Discount != 100 || p.Funds != payment.Paid || p.ReviewReason != "" {
					t.Errorf("%+v; want 250 paid, a discount of 100 and no review", p)
				}
				f.Started(m, 1)
				page := f.Get("/session/"+p.Token, "Accept", apptest.Browser).Body.String()
				for _, line := range []string{"€3.50", "Discount", "€1.00", "€2.50"} {
					if !strings.Contains(page, line) {
						t.Errorf("the receipt lacks %q: %s", line, page)
					}
				}
			})
		})
	}
}

func TestRefundReturnsWhatWasPaidWithAPromotionCode(t *testing.T) {
	story(t, withCodes, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
		f.Stripe.AddPromotionCode(sandbox.PromotionCode{Code: "SPRING", AmountOff: 100, Currency: "eur"})
		f.Run()
		m.SetOnline(false)
		session := f.Buy(sandbox.PayOptions{Promotion: "SPRING"})
		f.Pass(12 * time.Minute)
		f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonRecalled, ""))
		f.Money(session.ID, 250, 0, 250)
	})
}

func TestPromotionCodeForTheWholePriceStartsWithoutACharge(t *testing.T) {
	for name, settings := range map[string]func(*config.Settings){
		"charge": withCodes,
		"hold": func(s *config.Settings) {
			confirming(s)
			withCodes(s)
			s.Capture = "on_start"
		},
	} {
		t.Run(name, func(t *testing.T) {
			reads := threeKeys
			if name == "hold" {
				reads = confirms
			}
			story(t, settings, reads, func(f *apptest.Front, m *sandbox.Machine) {
				f.Stripe.AddPromotionCode(sandbox.PromotionCode{Code: "FREE", PercentOff: 100, Max: 2})
				f.Run()
				session := f.Buy(sandbox.PayOptions{Promotion: "FREE"})
				f.Pass(10 * time.Second)
				f.Started(m, 1)
				p := f.Record(session)
				if p.Amount != 0 || p.Discount != 350 || p.ReviewReason != "" || p.Funds != payment.Paid {
					t.Errorf("%+v; want a free start without a review", p)
				}
				m.SetOnline(false)
				lost := f.Buy(sandbox.PayOptions{Promotion: "FREE"})
				f.Pass(20 * time.Minute)
				p = f.Record(lost)
				if p.Delivery != payment.Failed || p.Funds != payment.Paid || p.RefundSeq != 0 || p.ReviewReason != "" {
					t.Errorf("%+v; want a failed start without a refund or review", p)
				}
			})
		})
	}
}

// The customer takes longer than a credit lives to type the code, and the webhook is lost.
func TestFreeSessionCountsFromItsEnd(t *testing.T) {
	story(t, withCodes, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
		f.Stripe.AddPromotionCode(sandbox.PromotionCode{Code: "FREE", PercentOff: 100, Max: 1})
		f.Run()
		f.Pass(time.Minute)
		open := f.Opened()
		f.Pass(12 * time.Minute)
		session, err := f.Stripe.Pay(open, sandbox.PayOptions{Promotion: "FREE", NoWebhook: true})
		if err != nil {
			f.Fatal(err)
		}
		f.Get("/payment/success?session_id=" + session.ID)
		f.Pass(10 * time.Second)
		f.Started(m, 1)
	})
}

// A restart with another setting changes the existing links, and no link is replaced.
func TestPromotionCodesChangeExistingLinks(t *testing.T) {
	story(t, without, threeKeys, func(f *apptest.Front, _ *sandbox.Machine) {
		f.Run()
		links := func(want bool) {
			t.Helper()
			all := f.Stripe.Links()
			if len(all) != 1 || !all[0].Active || all[0].PromotionCodes != want {
				t.Errorf("%+v; want one active link with promotion codes %v", all, want)
			}
		}
		f.Pass(time.Minute)
		links(false)
		f.Restarted(withCodes)
		f.Pass(time.Minute)
		links(true)
		f.Restarted(func(s *config.Settings) { s.PromotionCodes = "off" })
		f.Pass(time.Minute)
		links(false)
	})
}
