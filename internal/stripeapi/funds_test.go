package stripeapi

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

// hold sells a wash of which the money is only held.
func (s *testStripe) hold(t *testing.T) sandbox.Session {
	t.Helper()
	return s.sell(t, "manual", sandbox.PayOptions{})
}

// sell sells a wash; a capture method of "" takes the money at once.
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

func (s *testStripe) refund(t *testing.T, intent string, amount int64, number int) (payment.RefundRecord, error) {
	return s.client.Refund(
		t.Context(),
		payment.RefundOrder{Intent: intent, Amount: amount, Credit: "cr_1", Number: number},
	)
}

// wantMoney holds where a session's money is against "charged held refunded status".
func (s *testStripe) wantMoney(t *testing.T, session, want string) {
	t.Helper()
	charged, held, refunded, status := s.Money(session)
	if got := fmt.Sprint(charged, held, refunded, " ", status); got != want {
		t.Errorf("the money is %s; want %s", got, want)
	}
}

// refusedAs holds an error against one of the bridge's refusals.
func refusedAs(t *testing.T, name string, err, want error) {
	t.Helper()
	fixture.Meant(t, name, err, upstream.Rejected)
	if !errors.Is(err, want) {
		t.Errorf("%s: %v; want %v in it", name, err, want)
	}
}

func TestHeldMoneyIsTakenOnceWhateverHappensToTheReply(t *testing.T) {
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
			t,
			"under another key",
			s.client.Capture(t.Context(), sold.PaymentIntent, "capture:cr_1:2"),
			payment.ErrAlreadyCaptured,
		)
		refusedAs(
			t,
			"released too late",
			s.client.Release(t.Context(), sold.PaymentIntent, "release:cr_1"),
			payment.ErrAlreadyCaptured,
		)
		fixture.Meant(t, "no such intent", s.client.Capture(t.Context(), "pi_none", "key"), upstream.Rejected)
	})
}

func TestHeldMoneyIsLetGo(t *testing.T) {
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
					t,
					"once more",
					s.client.Release(t.Context(), sold.PaymentIntent, "release:again"),
					payment.ErrAlreadyCanceled,
				)
				refusedAs(
					t,
					"taken too late",
					s.client.Capture(t.Context(), sold.PaymentIntent, "capture:cr_1"),
					payment.ErrAlreadyCanceled,
				)
			})
		})
	}
}

func TestAYesThatLeavesTheMoneyWhereItWasIsNone(t *testing.T) {
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

func TestARefundIsOrderedWithExactlyTheseParameters(t *testing.T) {
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
		}
		if got != want || got.ID == "" {
			t.Errorf("refund %+v; want %+v", got, want)
		}
		second, err := s.refund(t, sold.PaymentIntent, 250, 2)
		fixture.Meant(t, "the rest", err, upstream.OK)
		s.wantMoney(t, sold.ID, "350 0 350 succeeded")
		refunds, err := s.client.Refunds(t.Context(), sold.PaymentIntent)
		fixture.Meant(t, "refunds", err, upstream.OK)
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
		if want := map[string]string{"payment_intent": sold.PaymentIntent, "amount": "100", "metadata[app]": App, "metadata[project]": fixture.Project,
			"metadata[credit]": "cr_1", "metadata[number]": "1"}; !maps.Equal(
			flat,
			want,
		) {
			t.Errorf("parameters %v; want %v", flat, want)
		}
	})
}

func TestWhatBecomesOfARefund(t *testing.T) {
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

func TestRefundsThatAreRefused(t *testing.T) {
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
				Body:   `{"error":{"type":"invalid_request_error","message":"The provided key does not have the required permissions"}}`,
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
		for _, reason := range []error{payment.ErrAlreadyRefunded, payment.ErrAlreadyCaptured, payment.ErrAlreadyCanceled, payment.ErrDisputed, payment.ErrBalance} {
			if errors.Is(err, reason) {
				t.Errorf("only held: %v; want no reason that the bridge knows", err)
			}
		}
	})
}

func TestWhichRefusalsAreAnswers(t *testing.T) {
	t.Parallel()
	coded := func(code, more string) sandbox.Outcome {
		return sandbox.Outcome{
			Status: 400,
			Body:   fmt.Sprintf(`{"error":{"type":"invalid_request_error","code":%q,"message":"no"%s}}`, code, more),
		}
	}
	rows := []struct {
		name   string
		answer sandbox.Outcome
		want   error // nil: a refusal that is none of them
	}{
		{"refunded already", coded("charge_already_refunded", ""), payment.ErrAlreadyRefunded},
		{"captured already, in the words of charges", coded("charge_already_captured", ""), payment.ErrAlreadyCaptured},
		{"the hold ran out", coded("charge_expired_for_capture", ""), payment.ErrAlreadyCanceled},
		{"disputed", coded("charge_disputed", ""), payment.ErrDisputed},
		{"disputed, as refunds may say it", coded("refund_disputed_payment", ""), payment.ErrDisputed},
		{
			"the intent succeeded",
			coded("payment_intent_unexpected_state", `,"payment_intent":{"id":"pi_1","status":"succeeded"}`),
			payment.ErrAlreadyCaptured,
		},
		{
			"the intent is canceled",
			coded("payment_intent_unexpected_state", `,"payment_intent":{"id":"pi_1","status":"canceled"}`),
			payment.ErrAlreadyCanceled,
		},
		{
			"the intent is in between",
			coded("payment_intent_unexpected_state", `,"payment_intent":{"id":"pi_1","status":"processing"}`),
			nil,
		},
		{"the intent is not told", coded("payment_intent_unexpected_state", ""), nil},
		{"balance, by the code of payouts", coded("balance_insufficient", ""), payment.ErrBalance},
		{"balance, by another", coded("insufficient_funds", ""), payment.ErrBalance},
		{
			"balance, in words alone",
			sandbox.Outcome{
				Status: 400,
				Body:   `{"error":{"type":"invalid_request_error","message":"Insufficient funds in your Stripe balance to refund this amount."}}`,
			},
			payment.ErrBalance,
		},
		{
			"a card without money",
			sandbox.Outcome{
				Status: 402,
				Body:   `{"error":{"type":"card_error","code":"insufficient_funds","message":"no"}}`,
			},
			nil,
		},
		{"another refusal", coded("amount_too_large", ""), nil},
	}
	for _, row := range rows {
		synctest.Test(t, func(t *testing.T) {
			s := newStripeTest(t)
			s.Next(fixture.CreateRefund, row.answer)
			_, err := s.refund(t, "pi_1", 350, 1)
			fixture.Meant(t, row.name, err, upstream.Rejected)
			for _, reason := range []error{payment.ErrAlreadyRefunded, payment.ErrAlreadyCaptured, payment.ErrAlreadyCanceled, payment.ErrDisputed, payment.ErrBalance} {
				if errors.Is(err, reason) != (reason == row.want) {
					t.Errorf("%s: %v is %v: %v", row.name, err, reason, errors.Is(err, reason))
				}
			}
			// A reply that is no refusal is none of them, whatever it quotes.
			answer := row.answer
			answer.Status = http.StatusInternalServerError
			s.Next(fixture.CreateRefund, answer)
			_, err = s.refund(t, "pi_2", 350, 2)
			fixture.Meant(t, row.name+" under 500", err, upstream.Unknown)
			if row.want != nil && errors.Is(err, row.want) {
				t.Errorf("%s under 500: %v; want no reason", row.name, err)
			}
		})
	}
}

func TestA500IsAnsweredAgainUnderTheSameNumberAndSaysNothing(t *testing.T) {
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

func TestRefundsOfTheDashboardAreNobodysOrder(t *testing.T) {
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
		if credit, number := Order(metadata); credit != "" || number != 0 {
			t.Errorf("%s: order %q, %d; want none", name, credit, number)
		}
	}
}

func TestMoneyDoesNotWaitForThePaceItWasClaimedBy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		s.client.Limiter = upstream.NewLimiter(1, 1)
		s.client.Limiter.Use(time.Now())
		began := time.Now()
		sold := s.hold(t)
		fixture.Meant(t, "capture", s.client.Capture(t.Context(), sold.PaymentIntent, "key"), upstream.OK)
		_, err := s.refund(t, sold.PaymentIntent, 350, 1)
		fixture.Meant(t, "refund", err, upstream.OK)
		_, err = s.client.Refunds(t.Context(), sold.PaymentIntent)
		fixture.Meant(t, "refunds", err, upstream.OK)
		fixture.Meant(t, "release", s.client.Release(t.Context(), s.hold(t).PaymentIntent, "key-2"), upstream.OK)
		if took := time.Since(began); took != 0 {
			t.Errorf("they waited %v; want none to wait", took)
		}
		_, _, _, err = s.client.Events(t.Context(), began, "")
		fixture.Meant(t, "events", err, upstream.OK)
		if took := time.Since(began); took < time.Minute {
			t.Errorf("the list of events waited %v; want it to wait for its slot", took)
		}
	})
}
