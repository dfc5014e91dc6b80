package stripeapi

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"

	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

func (s *testStripe) refund(t *testing.T, intent string, amount int64, number int) (payment.RefundRecord, error) {
	return s.client.Refund(
		t.Context(),
		payment.RefundOrder{Intent: intent, Amount: amount, Credit: "cr_1", Number: number},
	)
}

func TestRefundSendsExactlyTheseParameters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		sold := s.sell(t, "", sandbox.PayOptions{})
		s.Next(fixture.CreateRefund, sandbox.Outcome{Applied: true})
		_, err := s.refund(t, sold.PaymentIntent, 100, 1)
		fixture.Meant(t, "cut", err, upstream.Unknown)
		got, err := s.refund(t, sold.PaymentIntent, 100, 1)
		fixture.Meant(t, "again", err, upstream.OK)
		want := payment.RefundRecord{
			ID:     got.ID,
			Intent: sold.PaymentIntent,
			Credit: "cr_1",
			Number: 1,
			Amount: 100,
			Status: "succeeded",

			Replayed: true,
		}
		if got != want || got.ID == "" {
			t.Errorf("refund %+v; want %+v", got, want)
		}
		second, err := s.refund(t, sold.PaymentIntent, 250, 2)
		fixture.Meant(t, "the rest", err, upstream.OK)
		s.wantMoney(t, sold.ID, "350 0 350 succeeded")
		refunds, err := s.client.Refunds(t.Context(), sold.PaymentIntent)
		fixture.Meant(t, "refunds", err, upstream.OK)
		got.Replayed = false // a list is current
		if !slices.Equal(refunds, []payment.RefundRecord{second, got}) {
			t.Errorf("refunds %+v; want both, the newest first", refunds)
		}
		seen := s.Requests(fixture.CreateRefund)
		if key := seen[0].Header.Get("Idempotency-Key"); key != "refund:cr_1:1" {
			t.Errorf("idempotency key %q; want refund:cr_1:1", key)
		}
		parameters, err := url.ParseQuery(string(seen[0].Body))
		if err != nil {
			t.Fatal(err)
		}
		flat := map[string]string{}
		for name := range parameters {
			flat[name] = parameters.Get(name)
		}
		wanted := map[string]string{
			"payment_intent":    sold.PaymentIntent,
			"amount":            "100",
			"metadata[app]":     App,
			"metadata[project]": fixture.Project,
			"metadata[credit]":  "cr_1",
			"metadata[number]":  "1",
		}
		if !maps.Equal(flat, wanted) {
			t.Errorf("parameters %v; want %v", flat, wanted)
		}
	})
}

func TestRefundReturnsTheStatus(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name   string
		mode   sandbox.RefundMode
		status string // at once
		settle []bool
		after  string // the status in the list afterwards
		given  int64
	}{
		{"it succeeds at once", sandbox.RefundsSucceed, "succeeded", nil, "succeeded", 350},
		{"it is pending", sandbox.RefundsPend, "pending", nil, "pending", 350},
		{"it succeeds later", sandbox.RefundsPend, "pending", []bool{true}, "succeeded", 350},
		{"it fails later", sandbox.RefundsPend, "pending", []bool{false}, "failed", 0},
		{"it fails after it succeeded", sandbox.RefundsPend, "pending", []bool{true, false}, "failed", 0},
		{"it fails at once", sandbox.RefundsFail, "failed", nil, "failed", 0},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStripeTest(t)
				sold := s.sell(t, "", sandbox.PayOptions{})
				s.SetRefunds(row.mode)
				r, err := s.refund(t, sold.PaymentIntent, 350, 1)
				fixture.Meant(t, "refund", err, upstream.OK)
				if r.Status != row.status {
					t.Errorf("at once it is %s; want %s", r.Status, row.status)
				}
				for _, succeeded := range row.settle {
					if !s.SettleRefund(sold.ID, succeeded) {
						t.Fatal("there is no refund to settle")
					}
				}
				refunds, err := s.client.Refunds(t.Context(), sold.PaymentIntent)
				fixture.Meant(t, "refunds", err, upstream.OK)
				if len(refunds) != 1 || refunds[0].Status != row.after {
					t.Errorf("refunds %+v; want one that is %s", refunds, row.after)
				}
				session, err := s.client.Session(t.Context(), sold.ID)
				fixture.Meant(t, "session", err, upstream.OK)
				if session.Refunded != row.given {
					t.Errorf("the session was refunded %d; want %d", session.Refunded, row.given)
				}
				s.SetRefunds(sandbox.RefundsSucceed)
				_, err = s.refund(t, sold.PaymentIntent, 350, 2)
				if row.given == 0 {
					fixture.Meant(t, "another one", err, upstream.OK)
				} else {
					refusedAs(t, "another one", err, payment.ErrAlreadyRefunded)
				}
			})
		})
	}
}

func TestRefundIsRejected(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		sold := s.sell(t, "", sandbox.PayOptions{})
		s.SetRefunds(sandbox.RefundsLackBalance)
		_, err := s.refund(t, sold.PaymentIntent, 350, 1)
		refusedAs(t, "too little balance", err, payment.ErrBalance)
		s.SetRefunds(sandbox.RefundsSucceed)
		_, err = s.refund(t, sold.PaymentIntent, 350, 1)
		refusedAs(t, "the same order within a day", err, payment.ErrBalance)
		s.Dispute(sold.ID)
		_, err = s.refund(t, sold.PaymentIntent, 350, 2)
		refusedAs(t, "disputed", err, payment.ErrDisputed)
		session, err := s.client.Session(t.Context(), sold.ID)
		fixture.Meant(t, "session", err, upstream.OK)
		if !session.Disputed || session.Refunded != 0 {
			t.Errorf("session %+v; want it disputed, and nothing refunded", session)
		}
		if d := session.Disputes; len(d) != 1 || d[0].Status != "needs_response" || d[0].Amount != 350 ||
			d[0].Currency != "eur" ||
			d[0].Refundable {
			t.Errorf("disputes %+v; want the one that is open", d)
		}
		s.Next(
			"GET /v1/disputes",
			sandbox.Outcome{
				Status: 403,
				Body: `{"error":{"type":"invalid_request_error","message":"The provided key does not have the ` +
					`required permissions"}}`,
			},
		)
		session, err = s.client.Session(t.Context(), sold.ID)
		fixture.Meant(t, "session, for a key that may not read disputes", err, upstream.OK)
		if !session.Disputed || session.Disputes != nil {
			t.Errorf("session %+v; want it disputed, and how not known", session)
		}
		s.CloseDispute(sold.ID, true)
		_, err = s.refund(t, sold.PaymentIntent, 350, 3)
		fixture.Meant(t, "after the dispute was won", err, upstream.OK)
		_, err = s.refund(t, sold.PaymentIntent, 350, 4)
		refusedAs(t, "once more", err, payment.ErrAlreadyRefunded)
		held := s.hold(t)
		_, err = s.refund(t, held.PaymentIntent, 350, 5)
		fixture.Meant(t, "only held", err, upstream.Rejected)
		for _, reason := range []error{
			payment.ErrAlreadyRefunded, payment.ErrAlreadyCaptured, payment.ErrAlreadyCanceled, payment.ErrDisputed,
			payment.ErrBalance,
		} {
			if errors.Is(err, reason) {
				t.Errorf("only held: %v; want no reason that the bridge knows", err)
			}
		}
	})
}

func TestRefundRepeatsA500UnderTheSameNumber(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		sold := s.sell(t, "", sandbox.PayOptions{})
		s.Next(fixture.CreateRefund, sandbox.Outcome{Applied: true, Status: 500})
		for range 2 {
			_, err := s.refund(t, sold.PaymentIntent, 350, 1)
			fixture.Meant(t, "500", err, upstream.Unknown)
			if e, ok := errors.AsType[*upstream.Error](err); !ok || e.Status != http.StatusInternalServerError {
				t.Errorf("%v; want its status, by which it is told from no reply", err)
			}
		}
		s.Next(fixture.CreateRefund, sandbox.Outcome{})
		_, err := s.refund(t, sold.PaymentIntent, 350, 2)
		if e, ok := errors.AsType[*upstream.Error](err); !ok || e.Status != 0 {
			t.Errorf("%v; want no status where there was no reply", err)
		}
		refunds, err := s.client.Refunds(t.Context(), sold.PaymentIntent)
		fixture.Meant(t, "refunds", err, upstream.OK)
		if len(refunds) != 1 || refunds[0].Credit != "cr_1" || refunds[0].Number != 1 {
			t.Errorf("refunds %+v; want the one that was made behind the 500", refunds)
		}
	})
}

func TestRefundsOfTheDashboardHaveNoOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		sold := s.sell(t, "", sandbox.PayOptions{})
		s.Stripe.Refund(sold.ID, 100)
		s.Stripe.Refund(s.sell(t, "", sandbox.PayOptions{}).ID, 0) // another payment's
		refunds, err := s.client.Refunds(t.Context(), sold.PaymentIntent)
		fixture.Meant(t, "refunds", err, upstream.OK)
		if want := (payment.RefundRecord{Intent: sold.PaymentIntent, Amount: 100, Status: "succeeded"}); len(
			refunds,
		) == 1 {
			want.ID = refunds[0].ID
			if refunds[0] != want {
				t.Errorf("refund %+v; want %+v", refunds[0], want)
			}
		} else {
			t.Errorf("refunds %+v; want one", refunds)
		}
	})
	for name, metadata := range map[string]map[string]string{
		"none":                   nil,
		"another program's":      {"app": "shop", "credit": "cr_1", "number": "1"},
		"without a credit":       {"app": App, "number": "1"},
		"without a number":       {"app": App, "credit": "cr_1"},
		"with number 0":          {"app": App, "credit": "cr_1", "number": "0"},
		"with words as a number": {"app": App, "credit": "cr_1", "number": "one"},
	} {
		if credit, number := refundOrder(metadata); credit != "" || number != 0 {
			t.Errorf("%s: order %q, %d; want none", name, credit, number)
		}
	}
}

func TestRefundReference(t *testing.T) {
	t.Parallel()
	for details, want := range map[string]string{
		`{"card":{"reference":"74312345678","reference_status":"available"},"type":"card"}`: "74312345678",
		`{"card":{"reference":"74312345678"}}`:                                              "74312345678",
		`{"card":{"reference":null,"reference_status":"pending"}}`:                          "",
		`{"card":{"reference":"74312345678","reference_status":"pending"}}`:                 "",
		`{"card":{"reference":74312345678,"reference_status":"available"}}`:                 "",
		`{"card":{"reference":"<b>","reference_status":"available"}}`:                       "",
		`{"card":[]}`:            "",
		`{"type":"paypal"}`:      "",
		`"none"`:                 "",
		`null`:                   "",
		``:                       "",
		`{"card":{"reference":"`: "",
	} {
		if got := refundReference([]byte(details)); got != want {
			t.Errorf("%s: %q; want %q", details, got, want)
		}
	}
}
