package stripeapi

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/bridge"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

// told returns the last event of a type that the sandbox made, decoded as from a webhook.
func (s *testStripe) told(t *testing.T, kind string) bridge.Event {
	t.Helper()
	for _, e := range slices.Backward(s.Stripe.Events()) {
		if e.Type == kind {
			event, err := decodeEvent(e.Body, false)
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			return event
		}
	}
	t.Fatalf("there is no event of type %s", kind)
	return bridge.Event{}
}

func TestEventsAboutRefundsAndDisputes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		sold := s.sell(t, "", sandbox.PayOptions{})
		intent := sold.PaymentIntent
		if e := s.told(t, "checkout.session.completed"); e.Intent != intent || e.Refund != nil || e.Dispute != "" {
			t.Errorf("completed: %+v; want the intent alone", e)
		}
		if e := s.told(t, "payment_intent.succeeded"); e.Intent != intent || e.ObjectID != intent {
			t.Errorf("succeeded: %+v; want the intent's own id", e)
		}
		s.Stripe.Refund(sold.ID, 100)
		s.SetRefunds(sandbox.RefundsPend)
		ours, err := s.refund(t, intent, 250, 2)
		fixture.Meant(t, "refund", err, upstream.OK)
		if e := s.told(t, "charge.refunded"); e.Intent != intent || e.Refunded != 350 || e.Refund != nil {
			t.Errorf("charge: %+v; want 350 given back of the intent", e)
		}
		if e := s.told(t, "refund.created"); e.Refund == nil || *e.Refund != ours || e.Intent != intent ||
			ours.Status != "pending" ||
			ours.Credit != "cr_1" {
			t.Errorf("created: %+v; want our order %+v", e.Refund, ours)
		}
		s.SettleRefund(sold.ID, false)
		ours.Status = "failed"
		for _, kind := range []string{"refund.updated", "charge.refund.updated", "refund.failed"} {
			if e := s.told(t, kind); e.Refund == nil || *e.Refund != ours || e.Intent != intent || e.Refunded != 0 {
				t.Errorf("%s: %+v; want our order, failed", kind, e.Refund)
			}
		}
		s.Dispute(sold.ID)
		if e := s.told(t, "charge.dispute.created"); e.Intent != intent || e.Dispute != "needs_response" ||
			e.DisputeAmount == 0 ||
			e.DisputeCurrency != "eur" ||
			e.Refundable ||
			strings.Contains(e.Body, "Casey") {
			t.Errorf("dispute: %+v; want its status, and not who paid", e)
		}
		s.CloseDispute(sold.ID, false)
		if e := s.told(t, "charge.dispute.closed"); e.Intent != intent || e.Dispute != "lost" {
			t.Errorf("dispute: %+v; want it lost", e)
		}
		held := s.hold(t)
		if e := s.told(t, "payment_intent.amount_capturable_updated"); e.Intent != held.PaymentIntent {
			t.Errorf("held: %+v; want the intent's own id", e)
		}
		s.ExpireAuthorization(held.ID)
		if e := s.told(t, "payment_intent.canceled"); e.Intent != held.PaymentIntent {
			t.Errorf("canceled: %+v; want the intent's own id", e)
		}
	})
}

func TestEventsAboutMoneyMayBeMalformed(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name, kind, fields string
		ok                 bool
	}{
		{"an amount in words", "charge.refunded", `,"amount_refunded":"all"`, false},
		{"an intent that is a number", "charge.refunded", `,"payment_intent":5`, false},
		{"another event of a charge is not our concern", "charge.updated", `,"payment_intent":5`, true},
		{"a status that is a number", "refund.updated", `,"status":5`, false},
		{"by its older name", "charge.refund.updated", `,"status":5`, false},
		{"metadata that is a list", "refund.created", `,"metadata":[]`, false},
		{"a refund without an intent", "refund.created", `,"amount":350,"status":null,"payment_intent":null`, true},
		{"a dispute in another shape", "charge.dispute.created", `,"status":{}`, false},
		{"a dispute", "charge.dispute.funds_withdrawn", `,"status":"needs_response"`, true},
	}
	for _, row := range rows {
		if _, err := decodeEvent([]byte(fixture.SessionEvent(row.kind, row.fields)), false); row.ok != (err == nil) ||
			!row.ok && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v; want it read: %v", row.name, err, row.ok)
		}
	}
}

// withoutBody formats an event without its body, because Stripe lists an event with another count of
// pending webhooks than it sent.
func withoutBody(e bridge.Event) string {
	e.Body, e.Pending, e.Listed = "", 0, false
	session, refund := e.Session, e.Refund
	e.Session, e.Refund = nil, nil
	return fmt.Sprintf("%+v %+v %+v", e, session, refund)
}

func TestEventsEqualTheWebhooks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		began := time.Now()
		sold := s.sell(t, "", sandbox.PayOptions{})
		s.Stripe.Refund(sold.ID, 100)
		s.SetRefunds(sandbox.RefundsPend)
		_, err := s.refund(t, sold.PaymentIntent, 100, 1)
		fixture.Meant(t, "refund", err, upstream.OK)
		s.SettleRefund(sold.ID, false)
		s.Dispute(sold.ID)
		held := s.hold(t)
		fixture.Meant(t, "capture", s.client.Capture(t.Context(), held.PaymentIntent, "key"), upstream.OK)
		s.ExpireAuthorization(s.hold(t).ID)
		events, last, more, err := s.client.Events(t.Context(), began, "")
		if err != nil || more {
			t.Fatalf("events: more %v, %v; want one page", more, err)
		}
		var got, want []string
		for _, e := range events {
			got = append(got, withoutBody(e))
			if !strings.Contains(e.Body, `"data":{"object":{`) || strings.Contains(e.Body, "Casey") {
				t.Errorf("body %s; want the object, and not who paid", e.Body)
			}
		}
		for _, e := range slices.Backward(s.Stripe.Events()) {
			if event, err := decodeEvent(e.Body, false); err != nil {
				t.Error(err)
			} else if slices.Contains(listedEventTypes(), e.Type) {
				want = append(want, withoutBody(event))
			}
		}
		if !slices.Equal(got, want) || len(got) < 12 {
			t.Errorf("listed:\n%s\nsent:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if last != events[len(events)-1].ID {
			t.Errorf("last %s; want the oldest", last)
		}
	})
}

func TestEventsKeepTextExactly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		sent := fixture.SessionEvent(
			"checkout.session.completed",
			`,"metadata":{"name":"Ben & Jo <3"},"amount_total":9007199254740993`,
		)
		s.Next(
			fixture.ListEvents,
			sandbox.Outcome{Status: 200, Body: `{"object":"list","has_more":false,"data":[` + sent + `]}`},
		)
		events, _, _, err := s.client.Events(t.Context(), time.Now(), "")
		if err != nil || len(events) != 1 {
			t.Fatalf("events %+v, %v; want one", events, err)
		}
		_, object, _ := strings.Cut(sent, `"data":`)
		if !strings.Contains(events[0].Body, strings.TrimSuffix(object, "}")) {
			t.Errorf("listed %s\nsent %s", events[0].Body, sent)
		}
	})
}

func TestEventsReadsPageByPage(t *testing.T) {
	t.Parallel()
	for _, count := range []int{0, 1, 99, 100, 101, 200, 250} {
		synctest.Test(t, func(t *testing.T) {
			s := newStripeTest(t)
			s.sell(t, "", sandbox.PayOptions{}) // too long ago
			time.Sleep(time.Minute)
			began := time.Now()
			for range count {
				s.PaySession(nil, 350, "eur", sandbox.PayOptions{Free: true}) // an event each, and a session
			}
			pages := max((count+99)/100, 1)
			var ids []string
			read, after, more := 0, "", true
			for more {
				var events []bridge.Event
				var err error
				events, after, more, err = s.client.Events(t.Context(), began, after)
				fixture.Meant(t, "events", err, upstream.OK)
				for _, e := range events {
					ids = append(ids, e.ObjectID)
				}
				read++
			}
			if len(ids) != count || read != pages || s.Count(fixture.ListEvents) != pages {
				t.Errorf("%d events in %d pages; want %d in %d", len(ids), read, count, pages)
			}
			var sessions []string
			read, after, more = 0, "", true
			for more {
				var page []payment.CheckoutSession
				var err error
				page, _, after, more, err = s.client.Sessions(t.Context(), began, after)
				fixture.Meant(t, "sessions", err, upstream.OK)
				for _, one := range page {
					sessions = append(sessions, one.ID)
				}
				read++
			}
			if !slices.Equal(sessions, ids) || read != pages || s.Count(fixture.ListSessions) != pages {
				t.Errorf("%d sessions in %d pages; want the %d of the events in %d", len(sessions), read, count, pages)
			}
		})
	}
}

func TestEventsKeepsTheOthersBesideAnOddEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		event := func(id, object string) string {
			return fmt.Sprintf(
				`{"id":%q,"object":"event","created":5,"type":"checkout.session.completed","data":%s}`,
				id,
				object,
			)
		}
		s.Next(fixture.ListEvents, listOf(
			event("evt_4", `{"object":{"id":"cs_4","amount_total":"all"}}`),
			event("evt_3", `{"object":{"id":"cs_3"}}`), event("evt_2", `{"object":{}}`), event("evt_1", `null`),
		))
		events, last, more, err := s.client.Events(t.Context(), time.Unix(0, 0), "")
		fixture.Meant(t, "events", err, upstream.OK)
		if len(events) != 4 || last != "evt_1" || more {
			t.Fatalf(
				"events %+v, last %q, more %v; want all four, and the page to end with the first", events, last,
				more,
			)
		}
		for _, e := range events {
			if (e.Odd == "") != (e.ID == "evt_3") || e.Odd != "" && !strings.Contains(e.Odd, e.ID) {
				t.Errorf(
					"%s is odd because of %q; want only the third to be read, and the others to be named",
					e.ID,
					e.Odd,
				)
			}
		}
		if s.client.Limiter.Unreachable() != "" || s.client.Limiter.Delay(time.Now()) != 0 {
			t.Error("Stripe answered; want nothing held")
		}
	})
}

func TestEventsAndSessionsFail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		sold := s.sell(t, "", sandbox.PayOptions{})
		s.Stripe.Refund(sold.ID, 0)
		for _, pattern := range []string{fixture.ListEvents, fixture.ListSessions, fixture.ListRefunds} {
			s.Next(pattern, sandbox.Outcome{Applied: true, Status: 500})
		}
		events, last, more, err := s.client.Events(t.Context(), time.Unix(0, 0), "")
		fixture.Meant(t, "events", err, upstream.Unknown)
		sessions, _, lastSession, moreSessions, err := s.client.Sessions(t.Context(), time.Unix(0, 0), "")
		fixture.Meant(t, "sessions", err, upstream.Unknown)
		refunds, err := s.client.Refunds(t.Context(), sold.PaymentIntent)
		fixture.Meant(t, "refunds", err, upstream.Unknown)
		if events != nil || sessions != nil || refunds != nil || last+lastSession != "" || more || moreSessions {
			t.Errorf("%v, %v, %v beside the errors; want nothing", events, sessions, refunds)
		}
		// An answered call ends a series of failures, even if it lists nothing.
		tomorrow := time.Now().Add(24 * time.Hour)
		for name, list := range map[string]func() error{
			"events":   func() error { _, _, _, err := s.client.Events(t.Context(), tomorrow, ""); return err },
			"sessions": func() error { _, _, _, _, err := s.client.Sessions(t.Context(), tomorrow, ""); return err },
			"refunds":  func() error { _, err := s.client.Refunds(t.Context(), "pi_none"); return err },
		} {
			for range 3 {
				s.client.Limiter.Observe(time.Now(), &upstream.Error{Outcome: upstream.Retryable})
			}
			fixture.Meant(t, name, list(), upstream.OK)
			if why := s.client.Limiter.Unreachable(); why != "" {
				t.Errorf("%s: Stripe is taken for unreachable: %s; want its answer to count", name, why)
			}
		}
	})
}
