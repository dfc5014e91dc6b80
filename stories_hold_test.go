package main

import (
	"testing"
	"time"

	"notepay/internal/config"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// unknowns is what Stripe may do under manual capture, where nobody outside knows (docs/vendors.md, Q8).
func unknowns() map[string]sandbox.StripeUnknown {
	return map[string]sandbox.StripeUnknown{
		"as assumed": {}, "a hold is paid": {ManualIsPaid: true}, "a release is a refund": {ReleaseIsRefund: true}, "both": {ManualIsPaid: true, ReleaseIsRefund: true},
	}
}

// AT-12, AT-14, AT-16, AT-17: money is held before the start, and every ending takes it or lets it go.
func TestEveryEndingOfHeldMoney(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		before func(*front, *sandbox.Machine)
		after  func(*front, *sandbox.Machine, string) // the payment
		once   bool                                   // it takes an hour: with what is assumed of Stripe alone
		want   ending
		taken  int64
		starts int
	}{
		"it starts": {want: ending{payment.Paid, payment.Started, "", ""}, taken: 350, starts: 1},
		"it refuses": {before: func(_ *front, m *sandbox.Machine) {
			m.SetBehaviour(sandbox.Behaviour{Refuse: "failed", Code: "E-DOOR"})
		},
			want: ending{payment.Canceled, payment.Failed, payment.ReasonFailed, ""}},
		"it is silent": {before: func(_ *front, m *sandbox.Machine) { m.SetBehaviour(sandbox.Behaviour{Refuse: "failed", Silent: true}) },
			want: ending{payment.Canceled, payment.Failed, payment.ReasonUnconfirmed, payment.ReasonUnconfirmed}},
		"it is offline": {before: func(_ *front, m *sandbox.Machine) { m.SetOnline(false) },
			want: ending{payment.Canceled, payment.Failed, payment.ReasonRecalled, ""}},
		"Notehub is down": {before: func(f *front, _ *sandbox.Machine) { f.notehub.Always(postNote, sandbox.Outcome{Status: 429}) },
			want: ending{payment.Canceled, payment.Failed, payment.ReasonExpired, ""}},
		"Notehub refuses the device": {before: func(f *front, _ *sandbox.Machine) {
			f.notehub.Next(postNote, sandbox.Outcome{Status: 404, Body: `{"err":"cannot add note: {device-noexist}","code":404,"status":"Not Found"}`})
		}, want: ending{payment.Canceled, payment.Failed, payment.ReasonRefused, payment.ReasonRefused}},
		"it tells of its start too late": {before: func(_ *front, m *sandbox.Machine) { m.SetBehaviour(sandbox.Behaviour{AnswerLate: 2 * time.Minute}) },
			want: ending{payment.Canceled, payment.Started, payment.ReasonStartedAfter, payment.ReasonStartedAfter}, starts: 1},
		"the operator lets it go": {before: func(_ *front, m *sandbox.Machine) { m.SetOnline(false) },
			after: func(f *front, _ *sandbox.Machine, session string) {
				f.asks("refund", "/api/payments/"+session+"/refund", "", 200, `"money":"releasing"`)
			}, want: ending{payment.Canceled, payment.Failed, payment.ReasonReversed, ""}},
		"it is let go in the Dashboard": {before: func(_ *front, m *sandbox.Machine) { m.SetOnline(false) },
			after: func(f *front, _ *sandbox.Machine, session string) { f.stripe.Release(session) },
			want:  ending{payment.Canceled, payment.Failed, payment.ReasonReversed, ""}},
		"Stripe cannot take it for a while": {before: func(f *front, _ *sandbox.Machine) {
			f.stripe.Next("POST /v1/payment_intents/{id}/capture", sandbox.Outcome{Status: 500}, sandbox.Outcome{}, sandbox.Outcome{Status: 503})
		}, want: ending{payment.Paid, payment.Started, "", ""}, taken: 350, starts: 1},
		"the reply to the capture is lost": {before: func(f *front, _ *sandbox.Machine) {
			f.stripe.Next("POST /v1/payment_intents/{id}/capture", sandbox.Outcome{Applied: true}, sandbox.Outcome{Applied: true, Status: 500})
		}, want: ending{payment.Paid, payment.Started, "", ""}, taken: 350, starts: 1},
		"the reply to the release is lost": {before: func(f *front, m *sandbox.Machine) {
			m.SetOnline(false)
			f.stripe.Next("POST /v1/payment_intents/{id}/cancel", sandbox.Outcome{Applied: true, Status: 500}, sandbox.Outcome{Applied: true})
		}, want: ending{payment.Canceled, payment.Failed, payment.ReasonRecalled, ""}},
		"the hold lapses before it can be taken": {once: true, before: func(f *front, _ *sandbox.Machine) { // AT-40, AT-41
			f.stripe.Always("POST /v1/payment_intents/{id}/capture", sandbox.Outcome{Status: 503})
		}, after: func(f *front, _ *sandbox.Machine, session string) {
			f.pass(61 * time.Minute)
			f.stands(session, ending{payment.Capturing, payment.Started, "", payment.ReviewHold})
			f.stripe.ExpireHold(session)
			f.stripe.Clear("POST /v1/payment_intents/{id}/capture")
		}, want: ending{payment.CaptureFailed, payment.Started, "", payment.ReviewCaptureFailed}, starts: 1},
		"Stripe refuses to take it": {once: true, before: func(f *front, _ *sandbox.Machine) {
			f.stripe.Next("POST /v1/payment_intents/{id}/capture", sandbox.Outcome{Status: 402})
		}, after: func(f *front, _ *sandbox.Machine, session string) {
			f.pass(time.Minute)
			f.stands(session, ending{payment.Capturing, payment.Started, "", payment.ReviewCaptureFailed})
			f.pass(time.Hour)
		}, want: ending{payment.Paid, payment.Started, "", ""}, taken: 350, starts: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for assumed, unknown := range unknowns() {
				if row.once && unknown != (sandbox.StripeUnknown{}) {
					continue
				}
				t.Run(assumed, func(t *testing.T) {
					t.Parallel()
					inFrontOf(t, unknown, func(s *config.Settings) { holding(s); s.NotehubRouteToken = routeToken }, func(f *front) {
						m := f.machine(confirms)
						f.route().run()
						if row.before != nil {
							row.before(f, m)
						}
						session := f.buy(sandbox.PayOptions{})
						f.pass(3 * time.Second)
						if row.after != nil {
							row.after(f, m, session.ID)
						}
						f.pass(4 * time.Minute)
						f.stands(session.ID, row.want)
						f.money(session.ID, row.taken, 0, 0)
						f.started(m, row.starts)
					})
				})
			}
		})
	}
}

func TestHeldMoneyThatWasTakenInTheDashboardIsRefunded(t *testing.T) {
	story(t, holding, confirms, func(f *front, m *sandbox.Machine) {
		f.run()
		m.SetBehaviour(sandbox.Behaviour{Refuse: "failed"})
		f.stripe.Always("POST /v1/payment_intents/{id}/cancel", sandbox.Outcome{Status: 503})
		session := f.buy(sandbox.PayOptions{})
		f.pass(20 * time.Second)
		f.stands(session.ID, ending{payment.Canceling, payment.Failed, payment.ReasonFailed, ""})
		byHand := stripeOf(&f.settings, sandbox.InProcess(f.stripe))
		if err := byHand.Capture(f.Context(), session.PaymentIntent, "by hand"); err != nil {
			f.Fatal(err)
		}
		f.stripe.Clear("POST /v1/payment_intents/{id}/cancel")
		f.pass(3 * time.Minute)
		f.stands(session.ID, ending{payment.Refunded, payment.Failed, payment.ReasonFailed, ""})
		f.money(session.ID, 350, 0, 350)
	})
}

// Whatever was opened before the setting changed is honoured as it was sold, and what is opened afterwards is sold as it is now.
func TestChangingTheCaptureReplacesTheLinks(t *testing.T) {
	t.Parallel()
	for assumed, unknown := range unknowns() {
		t.Run(assumed, func(t *testing.T) {
			t.Parallel()
			t.Run("to held", func(t *testing.T) {
				t.Parallel()
				inFrontOf(t, unknown, confirming, func(f *front) {
					m := f.machine(confirms)
					f.run()
					open := f.opened()
					f.restarted(func(s *config.Settings) { s.Capture = "on_start" })
					f.pass(time.Minute)
					old, fresh := f.pay(open), f.pay(f.opened())
					f.manual("manual")
					for _, session := range []sandbox.Session{old, fresh} {
						f.stands(session.ID, ending{payment.Paid, payment.Started, "", ""})
						f.money(session.ID, 350, 0, 0)
					}
					f.started(m, 2)
				})
			})
			t.Run("to immediate", func(t *testing.T) {
				t.Parallel()
				inFrontOf(t, unknown, holding, func(f *front) {
					m := f.machine(confirms)
					f.run()
					first, second := f.opened(), f.opened()
					f.restarted(func(s *config.Settings) { s.Capture = "immediate" })
					f.pass(time.Minute)
					old, fresh := f.pay(first), f.pay(f.opened())
					f.manual("")
					for _, session := range []sandbox.Session{old, fresh} {
						f.stands(session.ID, ending{payment.Paid, payment.Started, "", ""})
						f.money(session.ID, 350, 0, 0)
					}
					m.SetBehaviour(sandbox.Behaviour{Refuse: "failed"})
					refused := f.pay(second)
					f.stands(refused.ID, ending{payment.Canceled, payment.Failed, payment.ReasonFailed, ""})
					f.money(refused.ID, 0, 0, 0)
					f.started(m, 2)
				})
			})
		})
	}
}

// manual holds how the washer's active link takes money against how it should.
func (f *front) manual(want string) {
	f.Helper()
	for _, l := range f.stripe.Links() {
		if l.Active && (l.CaptureMethod == "manual") != (want == "manual") {
			f.Errorf("link %s captures %q; want %q", l.ID, l.CaptureMethod, want)
		}
	}
}
