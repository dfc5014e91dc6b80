package stories

import (
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// unknowns returns what Stripe may do under manual capture, because it is undocumented
// (docs/vendors.md, Q8).
const (
	captureIntent = "POST /v1/payment_intents/{id}/capture"
	cancelIntent  = "POST /v1/payment_intents/{id}/cancel"
)

func unknowns() map[string]sandbox.StripeUnknown {
	return map[string]sandbox.StripeUnknown{
		"as assumed":            {},
		"a hold is paid":        {ManualIsPaid: true},
		"a release is a refund": {ReleaseIsRefund: true},
		"both":                  {ManualIsPaid: true, ReleaseIsRefund: true},
	}
}

// offline switches the machine off the network.
func offline(_ *apptest.Front, m *sandbox.Machine) { m.SetOnline(false) }

// AT-12, AT-14, AT-16, AT-17: each way that a payment ends captures its authorization or cancels
// it.
func TestAuthorizationEndings(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		before func(*apptest.Front, *sandbox.Machine)
		after  func(*apptest.Front, *sandbox.Machine, string) // the payment
		once   bool                                           // slow, so it runs only with the assumed Stripe
		want   apptest.Ending
		taken  int64
		starts int
	}{
		"the machine starts": {want: apptest.Ends(payment.Paid, payment.Started, "", ""), taken: 350, starts: 1},
		"the machine refuses": {before: func(_ *apptest.Front, m *sandbox.Machine) {
			m.SetBehavior(sandbox.Behavior{Refuse: "failed", Code: "E-DOOR"})
		},
			want: apptest.Ends(payment.Canceled, payment.Failed, payment.ReasonFailed, "")},
		"the machine is silent": {before: func(_ *apptest.Front, m *sandbox.Machine) {
			m.SetBehavior(sandbox.Behavior{Refuse: "failed", Silent: true})
		},
			want: apptest.Ends(payment.Canceled, payment.Failed, payment.ReasonUnconfirmed, payment.ReasonUnconfirmed)},
		"the machine is offline": {before: func(_ *apptest.Front, m *sandbox.Machine) { m.SetOnline(false) },
			want: apptest.Ends(payment.Canceled, payment.Failed, payment.ReasonRecalled, "")},
		"Notehub is down": {before: func(f *apptest.Front, _ *sandbox.Machine) {
			f.Notehub.Always(fixture.PostNote, sandbox.Outcome{Status: 429})
		},
			want: apptest.Ends(payment.Canceled, payment.Failed, payment.ReasonExpired, "")},
		"Notehub refuses the device": {before: func(f *apptest.Front, _ *sandbox.Machine) {
			body := `{"err":"cannot add note: {device-noexist}","code":404,"status":"Not Found"}`
			f.Notehub.Next(fixture.PostNote, sandbox.Outcome{Status: 404, Body: body})
		}, want: apptest.Ends(payment.Canceled, payment.Failed, payment.ReasonRefused, payment.ReasonRefused)},
		"the machine confirms its start too late": {before: func(_ *apptest.Front, m *sandbox.Machine) {
			m.SetBehavior(sandbox.Behavior{AnswerLate: 2 * time.Minute})
		},
			want: apptest.Ends(payment.Canceled, payment.Started,
				payment.ReasonStartedAfter, payment.ReasonStartedAfter),
			starts: 1},
		"the operator cancels the authorization": {before: offline,
			after: func(f *apptest.Front, _ *sandbox.Machine, session string) {
				f.Asks("refund", "/api/payments/"+session+"/refund", "", 200, `"money":"releasing"`)
			}, want: apptest.Ends(payment.Canceled, payment.Failed, payment.ReasonReversed, "")},
		"the authorization is canceled in the Dashboard": {before: offline,
			after: func(f *apptest.Front, _ *sandbox.Machine, session string) { f.Stripe.CancelAuthorization(session) },
			want:  apptest.Ends(payment.Canceled, payment.Failed, payment.ReasonReversed, "")},
		"the capture fails for a while": {before: func(f *apptest.Front, _ *sandbox.Machine) {
			f.Stripe.Next(captureIntent, sandbox.Outcome{Status: 500}, sandbox.Outcome{}, sandbox.Outcome{Status: 503})
		}, want: apptest.Ends(payment.Paid, payment.Started, "", ""), taken: 350, starts: 1},
		"the reply to the capture is lost": {before: func(f *apptest.Front, _ *sandbox.Machine) {
			f.Stripe.Next(captureIntent, sandbox.Outcome{Applied: true}, sandbox.Outcome{Applied: true, Status: 500})
		}, want: apptest.Ends(payment.Paid, payment.Started, "", ""), taken: 350, starts: 1},
		"the reply to the cancel is lost": {before: func(f *apptest.Front, m *sandbox.Machine) {
			m.SetOnline(false)
			f.Stripe.Next(cancelIntent, sandbox.Outcome{Applied: true, Status: 500}, sandbox.Outcome{Applied: true})
		}, want: apptest.Ends(payment.Canceled, payment.Failed, payment.ReasonRecalled, "")},
		// AT-40, AT-41
		"the authorization expires before the capture": {once: true,
			before: func(f *apptest.Front, _ *sandbox.Machine) {
				f.Stripe.Always(captureIntent, sandbox.Outcome{Status: 503})
			}, after: func(f *apptest.Front, _ *sandbox.Machine, session string) {
				f.Pass(61 * time.Minute)
				f.Stands(session, apptest.Ends(payment.Capturing, payment.Started, "", payment.ReviewHold))
				f.Stripe.ExpireAuthorization(session)
				f.Stripe.Clear(captureIntent)
			}, want: apptest.Ends(payment.CaptureFailed, payment.Started, "", payment.ReviewCaptureFailed), starts: 1},
		"Stripe rejects the capture": {once: true, before: func(f *apptest.Front, _ *sandbox.Machine) {
			f.Stripe.Next(captureIntent, sandbox.Outcome{Status: 402})
		}, after: func(f *apptest.Front, _ *sandbox.Machine, session string) {
			f.Pass(time.Minute)
			f.Stands(session, apptest.Ends(payment.Capturing, payment.Started, "", payment.ReviewCaptureFailed))
			f.Pass(time.Hour)
		}, want: apptest.Ends(payment.Paid, payment.Started, "", ""), taken: 350, starts: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for assumed, unknown := range unknowns() {
				if row.once && unknown != (sandbox.StripeUnknown{}) {
					continue
				}
				t.Run(assumed, func(t *testing.T) {
					t.Parallel()
					apptest.InFrontOf(
						t,
						unknown,
						func(s *config.Settings) { holding(s); s.NotehubRouteToken = apptest.RouteToken },
						func(f *apptest.Front) {
							m := f.Machine(confirms)
							f.Route().Run()
							if row.before != nil {
								row.before(f, m)
							}
							session := f.Buy(sandbox.PayOptions{})
							f.Pass(3 * time.Second)
							if row.after != nil {
								row.after(f, m, session.ID)
							}
							f.Pass(4 * time.Minute)
							f.Stands(session.ID, row.want)
							f.Money(session.ID, row.taken, 0, 0)
							f.Started(m, row.starts)
						},
					)
				})
			}
		})
	}
}

func TestAuthorizationCapturedInTheDashboardIsRefunded(t *testing.T) {
	story(t, holding, confirms, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		m.SetBehavior(sandbox.Behavior{Refuse: "failed"})
		f.Stripe.Always(cancelIntent, sandbox.Outcome{Status: 503})
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(20 * time.Second)
		f.Stands(session.ID, apptest.Ends(payment.Canceling, payment.Failed, payment.ReasonFailed, ""))
		byHand := apptest.StripeOf(&f.Settings, sandbox.InProcess(f.Stripe))
		if err := byHand.Capture(f.Context(), session.PaymentIntent, "by hand"); err != nil {
			f.Fatal(err)
		}
		f.Stripe.Clear(cancelIntent)
		f.Pass(3 * time.Minute)
		f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonFailed, ""))
		f.Money(session.ID, 350, 0, 350)
	})
}

// A session that was opened before the setting changed keeps its capture method. A later session
// uses the new one.
func TestCaptureSettingReplacesTheLinks(t *testing.T) {
	t.Parallel()
	for assumed, unknown := range unknowns() {
		t.Run(assumed, func(t *testing.T) {
			t.Parallel()
			t.Run("to held", func(t *testing.T) {
				t.Parallel()
				apptest.InFrontOf(t, unknown, confirming, func(f *apptest.Front) {
					m := f.Machine(confirms)
					f.Run()
					open := f.Opened()
					f.Restarted(func(s *config.Settings) { s.Capture = "on_start" })
					f.Pass(time.Minute)
					old, fresh := f.Pay(open), f.Pay(f.Opened())
					f.Manual("manual")
					for _, session := range []sandbox.Session{old, fresh} {
						f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Started, "", ""))
						f.Money(session.ID, 350, 0, 0)
					}
					f.Started(m, 2)
				})
			})
			t.Run("to immediate", func(t *testing.T) {
				t.Parallel()
				apptest.InFrontOf(t, unknown, holding, func(f *apptest.Front) {
					m := f.Machine(confirms)
					f.Run()
					first, second := f.Opened(), f.Opened()
					f.Restarted(func(s *config.Settings) { s.Capture = "immediate" })
					f.Pass(time.Minute)
					old, fresh := f.Pay(first), f.Pay(f.Opened())
					f.Manual("")
					for _, session := range []sandbox.Session{old, fresh} {
						f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Started, "", ""))
						f.Money(session.ID, 350, 0, 0)
					}
					m.SetBehavior(sandbox.Behavior{Refuse: "failed"})
					refused := f.Pay(second)
					f.Stands(refused.ID, apptest.Ends(payment.Canceled, payment.Failed, payment.ReasonFailed, ""))
					f.Money(refused.ID, 0, 0, 0)
					f.Started(m, 2)
				})
			})
		})
	}
}
