package sandbox

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// payable returns an account whose webhooks go to an inbox, and a link.
func payable(t *testing.T, c StripeConfig) (*Stripe, *inbox, Link) {
	t.Helper()
	got := &inbox{}
	c.Report, c.Client = t, &http.Client{Transport: InProcess(got)}
	s := newStripe(t, c)
	s.SetEndpoint("http://bridge.example/webhook/stripe", "whsec_1")
	link := s.AddLink(Link{
		PriceID:        "price_wash",
		Active:         true,
		ReturnURL:      "https://bridge.example/payment/success?session_id={CHECKOUT_SESSION_ID}",
		Metadata:       map[string]string{"device_uid": machine1},
		IntentMetadata: map[string]string{"device_uid": machine1},
	})
	return s, got, link
}

func TestPayMakesASessionAnIntentAndEvents(t *testing.T) {
	t.Parallel()
	const completed, charged, succeeded = "checkout.session.completed", "charge.succeeded", "payment_intent.succeeded"
	for _, row := range []struct {
		name           string
		options        PayOptions
		status, intent string
		amount         string
		events, sent   string
	}{
		{"a card", PayOptions{}, "paid", "succeeded", "350", completed + " " + charged + " " + succeeded,
			completed + " " + succeeded},
		{"the intent's event first", PayOptions{EventsFirst: "intent"}, "paid", "succeeded", "350",
			succeeded + " " + charged + " " + completed, succeeded + " " + completed},
		{"only the session's event", PayOptions{EventsFirst: "only-session"}, "paid", "succeeded", "350",
			completed + " " + charged + " " + succeeded, completed},
		{"only the intent's event", PayOptions{EventsFirst: "only-intent"}, "paid", "succeeded", "350",
			completed + " " + charged + " " + succeeded, succeeded},
		{"no webhook", PayOptions{NoWebhook: true}, "paid", "succeeded", "350",
			completed + " " + charged + " " + succeeded, ""},
		{"a delayed method", PayOptions{Unpaid: true}, "unpaid", "processing", "350",
			completed + " payment_intent.processing", completed + " payment_intent.processing"},
		{"a full discount", PayOptions{Free: true}, "no_payment_required", "", "0", completed, completed},
		{"another amount", PayOptions{Amount: 500}, "paid", "succeeded", "500",
			completed + " " + charged + " " + succeeded, completed + " " + succeeded},
		{"another currency shown", PayOptions{Presentment: "usd"}, "paid", "succeeded", "350",
			completed + " " + charged + " " + succeeded, completed + " " + succeeded},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, got, link := payable(t, StripeConfig{})
				paid, err := s.Pay(link.URL, row.options)
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				_, session, _ := stripeCall(t, s, "GET /v1/checkout/sessions/"+paid.ID,
					"expand[]=payment_intent.latest_charge&expand[]=line_items")
				intent := strings.NewReplacer("<nil>", "", "nothing", "").Replace(at(session, "payment_intent.status"))
				if at(session, "payment_status") != row.status || at(session, "status") != "complete" ||
					at(session, "amount_total") != row.amount || intent != row.intent {
					t.Errorf("got %v; want %s for %s, intent %q", session, row.status, row.amount, row.intent)
				}
				for path, want := range map[string]string{
					"metadata.device_uid":        machine1,
					"payment_link":               link.ID,
					"currency":                   "eur",
					"livemode":                   "false",
					"customer_details.email":     "casey@example.com",
					"url":                        "<nil>",
					"line_items.data.0.price.id": "price_wash",
				} {
					if got := at(session, path); got != want {
						t.Errorf("%s: got %s; want %s", path, got, want)
					}
				}
				if row.intent == "succeeded" {
					for _, path := range []string{"payment_intent.metadata.device_uid",
						"payment_intent.latest_charge.metadata.device_uid"} {
						if got := at(session, path); got != machine1 {
							t.Errorf("%s: got %s; want %s", path, got, machine1)
						}
					}
				}
				var events []string
				for _, e := range s.Events() {
					events = append(events, e.Type)
				}
				if fmt.Sprint(events) != fmt.Sprint(strings.Fields(row.events)) ||
					fmt.Sprint(got.seen()) != fmt.Sprint(strings.Fields(row.sent)) {
					t.Errorf("got events %v, sent %v; want %s, sent %s", events, got.seen(), row.events, row.sent)
				}
				if !s.Settled() {
					t.Error("a delivery is outstanding; want none")
				}
			})
		})
	}
}

func TestIDsLookReal(t *testing.T) {
	t.Parallel()
	s, _, link := payable(t, StripeConfig{})
	paid, err := s.Pay(link.ID, PayOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for id, shape := range map[string]string{
		paid.ID: `^cs_test_[0-9A-Za-z]{58}$`, paid.PaymentIntent: `^pi_3[0-9A-Za-z]{23}$`,
		link.ID:          `^plink_1[0-9A-Za-z]{23}$`,
		s.Events()[0].ID: `^evt_1[0-9A-Za-z]{23}$`,
	} {
		if !regexp.MustCompile(shape).MatchString(id) {
			t.Errorf("got id %s; want %s", id, shape)
		}
	}
}

func TestPayErrors(t *testing.T) {
	t.Parallel()
	s, _, link := payable(t, StripeConfig{})
	stripeCall(t, s, createLink+"/"+link.ID, "restrictions[completed_sessions][limit]=1")
	early, err := s.Open(link.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Pay("plink_0", PayOptions{}); err == nil {
		t.Error("an unknown link was paid; want an error")
	}
	if x, err := s.Pay(link.URL, PayOptions{Method: "4000000000000002"}); err == nil || x.Status != "open" ||
		x.PaymentIntent == "" {
		t.Errorf("got %+v, %v with a declined card; want an error, a session that is open, and its intent", x, err)
	}
	if _, err := s.Pay(link.URL, PayOptions{}); err != nil {
		t.Errorf("got %v; want it paid", err)
	}
	if _, err := s.Pay(link.URL, PayOptions{}); err == nil {
		t.Error("a link past its limit was paid; want an error")
	}
	stripeCall(t, s, createLink+"/"+link.ID, "active=false")
	if _, err := s.Pay(early.ID, PayOptions{}); err != nil {
		t.Errorf("got %v for a session opened before its link was closed; want it paid", err)
	}
	if _, err := s.Pay(early.ID, PayOptions{}); err == nil {
		t.Error("a session was paid twice; want an error")
	}
}

func TestSucceedAndFailSettleAnUnpaidSession(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, status, intent, events string
		settle                       func(*Stripe, string)
	}{
		{"the money arrives", "paid", "succeeded",
			"checkout.session.async_payment_succeeded payment_intent.succeeded", (*Stripe).Succeed},
		{"the money never arrives", "unpaid", "requires_payment_method",
			"checkout.session.async_payment_failed payment_intent.payment_failed", (*Stripe).Fail},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, got, _ := payable(t, StripeConfig{})
				x := s.PaySession(map[string]string{"device_uid": machine1}, 3000, "usd", PayOptions{Unpaid: true})
				if !x.PaidAt.IsZero() || x.PaymentLink != "" || x.Amount != 3000 {
					t.Errorf("got %+v; want 3000 not paid yet, without a link", x)
				}
				row.settle(s, x.ID)
				row.settle(s, x.ID) // a second time changes nothing
				synctest.Wait()
				x, _ = s.Session(x.ID)
				_, intent, _ := stripeCall(t, s, "GET /v1/payment_intents/"+x.PaymentIntent, "")
				if x.PaymentStatus != row.status || at(intent, "status") != row.intent {
					t.Errorf("got %s, intent %s; want %s, %s", x.PaymentStatus, at(intent, "status"),
						row.status, row.intent)
				}
				types := got.seen()
				slices.Sort(types)
				want := append(strings.Fields(row.events), "checkout.session.completed", "payment_intent.processing")
				slices.Sort(want)
				if fmt.Sprint(types) != fmt.Sprint(want) {
					t.Errorf("got events %v; want %v", types, want)
				}
			})
		})
	}
}

func TestIntentIsCapturedCanceledAndRefunded(t *testing.T) {
	t.Parallel()
	type step struct {
		operation, params, status string // status of the object, or the error's code
	}
	capture := step{"POST /v1/payment_intents/PI/capture", "", "succeeded"}
	cancel := step{"POST /v1/payment_intents/PI/cancel", "", "canceled"}
	refund := func(amount, status string) step {
		return step{"POST /v1/refunds", "payment_intent=PI" + amount, status}
	}
	for _, row := range []struct {
		name     string
		manual   bool
		steps    []step
		refunded int64
	}{
		{"captured and refunded", true, []step{capture, refund("", "succeeded")}, 350},
		{"released", true, []step{cancel}, 350},
		{"captured twice", true, []step{capture, {capture.operation, "", "payment_intent_unexpected_state"}}, 0},
		{"released twice", true, []step{cancel, {cancel.operation, "", "payment_intent_unexpected_state"}}, 350},
		{"released after the capture", true,
			[]step{capture, {cancel.operation, "", "payment_intent_unexpected_state"}}, 0},
		{"refunded while authorized", true, []step{refund("", "invalid_request_error")}, 0},
		{"refunded twice", false, []step{refund("", "succeeded"), refund("", "charge_already_refunded")}, 350},
		{"refunded in parts", false, []step{refund("&amount=100", "succeeded"),
			refund("&amount=300", "invalid_request_error"), refund("", "succeeded")}, 350},
		{"refunded in part", false, []step{refund("&amount=100", "succeeded")}, 100},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s, _, link := payable(t, StripeConfig{})
			if row.manual {
				link = s.AddLink(Link{PriceID: "price_wash", Active: true, CaptureMethod: "manual"})
			}
			x, err := s.Pay(link.ID, PayOptions{})
			if err != nil || row.manual != (x.PaymentStatus == "unpaid") {
				t.Fatalf("got %+v, %v; want it paid, or unpaid while held", x, err)
			}
			for i, step := range row.steps {
				_, answer, _ := stripeCall(t, s, strings.ReplaceAll(step.operation, "PI", x.PaymentIntent),
					strings.ReplaceAll(step.params, "PI", x.PaymentIntent))
				got := []string{at(answer, "status"), at(answer, "error.code"), at(answer, "error.type")}
				if !slices.Contains(got, step.status) {
					t.Errorf("step %d: got %v; want %s", i, answer, step.status)
				}
			}
			if got := s.Refunded(x.ID); got != row.refunded {
				t.Errorf("got %d refunded; want %d", got, row.refunded)
			}
		})
	}
}

func TestRefundIsListedAndSent(t *testing.T) {
	t.Parallel()
	s, _, link := payable(t, StripeConfig{})
	x, err := s.Pay(link.ID, PayOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Refund(x.ID, 351) || !s.Refund(x.ID, 100) {
		t.Error("351 of 350 was refunded, or 100 was not")
	}
	_, made, _ := stripeCall(t, s, "POST /v1/refunds",
		"payment_intent="+x.PaymentIntent+"&metadata[credit]=cr_1&reason=requested_by_customer")
	_, list, _ := stripeCall(t, s, "GET /v1/refunds", "payment_intent="+x.PaymentIntent)
	if at(list, "data.0.id") != at(made, "id") || at(list, "data.0.amount") != "250" ||
		at(list, "data.1.amount") != "100" || at(list, "data.0.metadata.credit") != "cr_1" {
		t.Errorf("got %v; want 250 and 100", list)
	}
	_, charge, _ := stripeCall(t, s, "GET /v1/charges/"+at(made, "charge"), "")
	if at(charge, "refunded") != "true" || at(charge, "amount_refunded") != "350" {
		t.Errorf("got %v; want it refunded", charge)
	}
	_, events, _ := stripeCall(t, s, "GET /v1/events", "types[]=charge.refunded")
	var partial []string
	for i := range 2 {
		partial = append(partial, at(events, fmt.Sprintf("data.%d.data.object.amount_refunded", i)))
	}
	if fmt.Sprint(partial) != "[350 100]" {
		t.Errorf("got charge.refunded with %v; want 350 and, as it was then, 100", partial)
	}
}

func TestListSessionsWithFilters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _, link := payable(t, StripeConfig{})
		old, err := s.Pay(link.ID, PayOptions{SessionAge: 23 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		open, err := s.Open(link.ID)
		if err != nil {
			t.Fatal(err)
		}
		other := s.PaySession(nil, 100, "usd", PayOptions{})
		for params, want := range map[string][]string{
			"":                                    {other.ID, open.ID, old.ID},
			"status=complete":                     {other.ID, old.ID},
			"status=open":                         {open.ID},
			"payment_link=" + link.ID:             {open.ID, old.ID},
			"payment_intent=" + old.PaymentIntent: {old.ID},
			"created[gte]=" + fmt.Sprint(time.Now().Add(-time.Hour).Unix()):                        {other.ID, open.ID},
			"created[lt]=" + fmt.Sprint(time.Now().Add(-time.Hour).Unix()):                         {old.ID},
			"status=complete&created[gte]=" + fmt.Sprint(time.Now().Add(-24*time.Hour).Unix()):     {other.ID, old.ID},
			"status=complete&limit=1&starting_after=" + other.ID + "&expand[]=data.payment_intent": {old.ID},
		} {
			_, answer, _ := stripeCall(t, s, "GET /v1/checkout/sessions", params)
			data, _ := answer["data"].([]any)
			got := make([]string, len(data))
			for i := range data {
				got[i] = at(answer, fmt.Sprintf("data.%d.id", i))
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%q: got %v; want %v", params, got, want)
			}
		}
		time.Sleep(24 * time.Hour)
		if x, _ := s.Session(open.ID); x.Status != "expired" {
			t.Errorf("a day later the session is %s; want expired", x.Status)
		}
	})
}

func TestCreateSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, got, _ := payable(t, StripeConfig{})
		create := func() object {
			_, made, _ := stripeCall(t, s, "POST /v1/checkout/sessions",
				wash+"&mode=payment&success_url=https://a.example/s?id={CHECKOUT_SESSION_ID}"+
					"&cancel_url=https://a.example/c&metadata[device_uid]=dev:1"+
					"&payment_intent_data[metadata][device_uid]=dev:1&client_reference_id=scan-1"+
					"&expires_at="+fmt.Sprint(time.Now().Add(30*time.Minute).Unix()))
			return made
		}
		made := create()
		for path, want := range map[string]string{
			"status":              "open",
			"payment_status":      "unpaid",
			"payment_link":        "<nil>",
			"payment_intent":      "<nil>",
			"client_reference_id": "scan-1",
			"url":                 "http://pay.example/c/pay/" + at(made, "id"),
			"cancel_url":          "https://a.example/c",
			"amount_total":        "350",
		} {
			if got := at(made, path); got != want {
				t.Errorf("%s: got %s; want %s", path, got, want)
			}
		}
		if x, err := s.Pay(at(made, "url"), PayOptions{}); err != nil || x.ID != at(made, "id") ||
			x.DeviceUID != "dev:1" {
			t.Errorf("got %+v, %v; want the session paid", x, err)
		}
		late, expired := create(), create()
		status, answer, _ := stripeCall(t, s, "POST /v1/checkout/sessions/"+at(expired, "id")+"/expire", "")
		if status != 200 || at(answer, "status") != "expired" {
			t.Errorf("got %d %v; want it expired", status, answer)
		}
		status, _, _ = stripeCall(t, s, "POST /v1/checkout/sessions/"+at(expired, "id")+"/expire", "")
		if status != 400 {
			t.Errorf("got %d; want 400 for a session that is not open", status)
		}
		time.Sleep(30 * time.Minute)
		if _, err := s.Pay(at(late, "url"), PayOptions{}); err == nil {
			t.Error("a session was paid after its time; want an error")
		}
		if !slices.Contains(got.seen(), "checkout.session.expired") {
			t.Errorf("got events %v; want checkout.session.expired", got.seen())
		}
	})
}
