package stripeapi

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

// hold sells a wash and authorizes only.
func (s *testStripe) hold(t *testing.T) sandbox.Session {
	t.Helper()
	return s.sell(t, "manual", sandbox.PayOptions{})
}

// sell sells a wash. The capture method "" captures at once.
func (s *testStripe) sell(t *testing.T, captureMethod string, o sandbox.PayOptions) sandbox.Session {
	t.Helper()
	link := s.AddLink(
		sandbox.Link{Active: true, PriceID: fixture.Warm, DeviceUID: fixture.Washer, CaptureMethod: captureMethod},
	)
	sold, err := s.Pay(link.ID, o)
	if err != nil {
		t.Fatal(err)
	}
	return sold
}

// wantMoney checks a session's money, which is wanted as "captured authorized refunded status".
func (s *testStripe) wantMoney(t *testing.T, session, want string) {
	t.Helper()
	charged, held, refunded, status := s.Money(session)
	if got := fmt.Sprint(charged, held, refunded, " ", status); got != want {
		t.Errorf("the money is %s; want %s", got, want)
	}
}

// refusedAs checks that an error is one of the payment package's state errors.
func refusedAs(t *testing.T, name string, err, want error) {
	t.Helper()
	fixture.Meant(t, name, err, upstream.Rejected)
	if !errors.Is(err, want) {
		t.Errorf("%s: %v; want %v in it", name, err, want)
	}
}

func TestCaptureOnceWhateverHappensToTheReply(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		sold := s.hold(t)
		s.wantMoney(t, sold.ID, "0 350 0 requires_capture")
		s.Next(fixture.CaptureIntent, sandbox.Outcome{Applied: true})
		fixture.Meant(t, "cut", s.client.Capture(t.Context(), sold.PaymentIntent, "capture:cr_1"), upstream.Unknown)
		fixture.Meant(t, "again", s.client.Capture(t.Context(), sold.PaymentIntent, "capture:cr_1"), upstream.OK)
		s.wantMoney(t, sold.ID, "350 0 0 succeeded")
		seen := s.Requests(fixture.CaptureIntent)
		if len(seen) != 2 || seen[0].Header.Get("Idempotency-Key") != "capture:cr_1" || len(seen[0].Body) != 0 {
			t.Errorf("calls %+v; want the key and no parameters", seen)
		}
		refusedAs(
			t, "under another key", s.client.Capture(t.Context(), sold.PaymentIntent, "capture:cr_1:2"),
			payment.ErrAlreadyCaptured,
		)
		refusedAs(
			t, "released too late", s.client.Release(t.Context(), sold.PaymentIntent, "release:cr_1"),
			payment.ErrAlreadyCaptured,
		)
		fixture.Meant(t, "no such intent", s.client.Capture(t.Context(), "pi_none", "key"), upstream.Rejected)
	})
}

func TestRelease(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name    string
		release func(*testing.T, *testStripe, sandbox.Session)
	}{
		{"by us", func(t *testing.T, s *testStripe, sold sandbox.Session) {
			s.Next(fixture.CancelIntent, sandbox.Outcome{Applied: true})
			fixture.Meant(t, "cut", s.client.Release(t.Context(), sold.PaymentIntent, "release:cr_1"), upstream.Unknown)
			fixture.Meant(t, "again", s.client.Release(t.Context(), sold.PaymentIntent, "release:cr_1"), upstream.OK)
			if key := s.Requests(fixture.CancelIntent)[0].Header.Get("Idempotency-Key"); key != "release:cr_1" {
				t.Errorf("idempotency key %q; want release:cr_1", key)
			}
		}},
		{"in the Dashboard", func(t *testing.T, s *testStripe, sold sandbox.Session) {
			if !s.Stripe.CancelAuthorization(sold.ID) {
				t.Error("nothing was held")
			}
		}},
		{"by time", func(t *testing.T, s *testStripe, sold sandbox.Session) {
			if !s.ExpireAuthorization(sold.ID) {
				t.Error("nothing was held")
			}
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStripeTest(t)
				sold := s.hold(t)
				row.release(t, s, sold)
				s.wantMoney(t, sold.ID, "0 0 0 canceled")
				refusedAs(
					t, "once more", s.client.Release(t.Context(), sold.PaymentIntent, "release:again"),
					payment.ErrAlreadyCanceled,
				)
				refusedAs(
					t, "taken too late", s.client.Capture(t.Context(), sold.PaymentIntent, "capture:cr_1"),
					payment.ErrAlreadyCanceled,
				)
			})
		})
	}
}

func TestCaptureAndReleaseCheckTheStatus(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		odd := sandbox.Outcome{Status: 200, Body: `{"id":"pi_1","object":"payment_intent","status":"requires_capture"}`}
		s.Next(fixture.CaptureIntent, odd)
		fixture.Meant(t, "capture", s.client.Capture(t.Context(), "pi_1", "key"), upstream.Unknown)
		s.Next(fixture.CancelIntent, odd)
		fixture.Meant(t, "release", s.client.Release(t.Context(), "pi_1", "key"), upstream.Unknown)
		s.Next(fixture.CreateRefund, sandbox.Outcome{Status: 200, Body: `{}`})
		_, err := s.refund(t, "pi_1", 350, 1)
		fixture.Meant(t, "refund", err, upstream.Unknown)
	})
}
