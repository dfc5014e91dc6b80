package stripeapi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/fixture"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

// testStripe is a simulated Stripe with the client under test.
type testStripe struct {
	*sandbox.Stripe
	client *Client
}

func stripeSettings(base string) Config {
	return Config{
		Key:         fixture.TestKey,
		Project:     fixture.Project,
		APIURL:      base,
		EventTypes:  ListedEventTypes(),
		DecodeEvent: DecodeListedEvent,
	}
}

// newStripeTest is for tests within a bubble of time: there is no socket.
func newStripeTest(t *testing.T) *testStripe {
	t.Helper()
	s := &testStripe{
		Stripe: sandbox.NewStripe(
			sandbox.StripeConfig{Key: fixture.TestKey, Report: t, CheckoutURL: "https://buy.test"},
		),
	}
	c := stripeSettings("http://stripe.test")
	c.Transport = sandbox.InProcess(s)
	s.client = New(c)
	s.AddPrice(sandbox.Price{ID: fixture.Warm, Name: "Warm wash", Currency: "eur", Amount: 350, Active: true})
	return s
}

func (s *testStripe) plan() error {
	_, err := s.client.Offer(context.Background(), fixture.Warm)
	return err
}

// create makes a link for the washer and the warm wash.
func (s *testStripe) create(key string) (ledger.Link, error) {
	return s.client.CreateLink(context.Background(), fleet.NewLink{
		Device:         ledger.Device{UID: fixture.Washer, Name: "Washer 3"},
		Plan:           payment.Offer{PriceID: fixture.Warm, Name: "Warm wash"},
		SignedBy:       "process",
		IdempotencyKey: key,
	})
}

func TestWhatAPriceMakesOfAPlan(t *testing.T) {
	t.Parallel()
	metadata := func(pairs ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	good := sandbox.Price{ID: "price_1", Name: "Warm wash", Currency: "eur", Amount: 350, Active: true}
	with := func(change func(*sandbox.Price)) sandbox.Price {
		p := good
		change(&p)
		return p
	}
	plan := payment.Offer{PriceID: "price_1", Name: "Warm wash", Amount: 350, Currency: "eur"}
	timed := func(duration, delayed time.Duration) payment.Offer {
		p := plan
		p.Duration, p.DelayedStart = duration, delayed
		return p
	}
	rows := []struct {
		name  string
		price sandbox.Price
		want  payment.Offer // the zero plan: refused
	}{
		{"a one-time price", good, plan},
		{
			"of no money",
			with(func(p *sandbox.Price) { p.Amount = 0 }),
			payment.Offer{PriceID: "price_1", Name: "Warm wash", Currency: "eur"},
		},
		{
			"with a duration",
			with(func(p *sandbox.Price) { p.Metadata = metadata("duration", " 1h30m ", "delayed_start", "5m") }),
			timed(90*time.Minute, 5*time.Minute),
		},
		{
			"with empty durations",
			with(func(p *sandbox.Price) { p.Metadata = metadata("duration", " ", "delayed_start", "") }),
			plan,
		},
		{
			"with parts of seconds, which are rounded",
			with(func(p *sandbox.Price) { p.Metadata = metadata("duration", "1500ms") }),
			timed(2*time.Second, 0),
		},
		{
			"with the longest duration",
			with(func(p *sandbox.Price) { p.Metadata = metadata("duration", "720h") }),
			timed(720*time.Hour, 0),
		},
		{
			"with a longer one",
			with(func(p *sandbox.Price) { p.Metadata = metadata("duration", "720h1s") }),
			payment.Offer{},
		},
		{
			"with a bare number",
			with(func(p *sandbox.Price) { p.Metadata = metadata("duration", "30") }),
			payment.Offer{},
		},
		{
			"with words",
			with(func(p *sandbox.Price) { p.Metadata = metadata("duration", "half an hour") }),
			payment.Offer{},
		},
		{
			"with less than nothing",
			with(func(p *sandbox.Price) { p.Metadata = metadata("delayed_start", "-5m") }),
			payment.Offer{},
		},
		{"inactive", with(func(p *sandbox.Price) { p.Active = false }), payment.Offer{}},
		{"recurring", with(func(p *sandbox.Price) { p.Recurring = true }), payment.Offer{}},
		{"missing", with(func(p *sandbox.Price) { p.ID = "price_2" }), payment.Offer{}},
	}
	for _, row := range rows {
		synctest.Test(t, func(t *testing.T) {
			s := newStripeTest(t)
			s.AddPrice(row.price)
			got, err := s.client.Offer(t.Context(), "price_1")
			if row.want == (payment.Offer{}) {
				fixture.Meant(t, row.name, err, upstream.Rejected)
			} else {
				fixture.Meant(t, row.name, err, upstream.OK)
			}
			if got != row.want {
				t.Errorf("%s: %+v; want %+v", row.name, got, row.want)
			}
		})
	}
}

func TestAPriceWithoutAFixedAmountIsRefused(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"tiered":                `"billing_scheme":"tiered"`,
		"the customer's choice": `"billing_scheme":"per_unit","custom_unit_amount":{"minimum":100}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStripeTest(t)
			s.Next(
				fixture.ReadPrice,
				sandbox.Outcome{
					Status: 200,
					Body:   `{"id":"price_1","object":"price","active":true,"currency":"eur",` + body + `}`,
				},
			)
			fixture.Meant(t, name, s.plan(), upstream.Rejected)
		})
	}
}

func TestALinkIsMadeWithExactlyTheseParameters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		const returnURL = "https://pay.example.com/payment/success?session_id={CHECKOUT_SESSION_ID}"
		plan := payment.Offer{
			PriceID:  fixture.Warm,
			Name:     "Warm wash",
			Amount:   350,
			Currency: "eur",
			Duration: time.Hour,
		}
		link, err := s.client.CreateLink(t.Context(), fleet.NewLink{
			Device:         ledger.Device{UID: fixture.Washer, Name: "Washer 3"},
			Plan:           plan,
			ReturnURL:      returnURL,
			SignedBy:       "process",
			IdempotencyKey: "link:1",
		})
		fixture.Meant(t, "link", err, upstream.OK)
		if link.ID == "" || link.URL != "https://buy.test/c/"+link.ID || link.DeviceUID != fixture.Washer ||
			link.Plan != plan ||
			link.ReturnURL != returnURL ||
			!link.Active ||
			link.Livemode {
			t.Errorf("link %+v; want that of washer and plan", link)
		}
		seen := s.Requests(fixture.CreateLink)[0]
		if key := seen.Header.Get("Idempotency-Key"); key != "link:1" {
			t.Errorf("idempotency key %q; want link:1", key)
		}
		got, err := url.ParseQuery(string(seen.Body))
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"line_items[0][price]": fixture.Warm, "line_items[0][quantity]": "1", "payment_method_types[0]": "card",
			"after_completion[type]": "redirect", "after_completion[redirect][url]": returnURL,
			"payment_intent_data[description]": "Washer 3: Warm wash", "payment_intent_data[statement_descriptor_suffix]": "WASHER 3",
			"inactive_message": "This machine is not for sale through this link any more. Please scan the sticker on the machine again.",
		}
		for key, value := range map[string]string{"app": "notepay", "project": fixture.Project, "device_uid": fixture.Washer, "price_id": fixture.Warm} {
			want["metadata["+key+"]"], want["payment_intent_data[metadata]["+key+"]"] = value, value
		}
		want["metadata[installation]"] = "process" // who made it is no concern of its payments
		flat := map[string]string{}
		for name, values := range got {
			flat[name] = strings.Join(values, "|")
		}
		if !maps.Equal(flat, want) {
			t.Errorf("parameters %v; want %v", flat, want)
		}
	})
}

func TestALinkThatOnlyHoldsTheMoneySaysSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		plain, err := s.create("key-1")
		fixture.Meant(t, "link", err, upstream.OK)
		s.client.Manual = true
		manual, err := s.create("key-2")
		fixture.Meant(t, "manual link", err, upstream.OK)
		if plain.Manual || !manual.Manual {
			t.Errorf("manual: %v, %v; want it of the second link alone", plain.Manual, manual.Manual)
		}
		seen := s.Stripe.Links()
		if seen[0].CaptureMethod == "manual" || seen[1].CaptureMethod != "manual" ||
			seen[1].Metadata["capture"] != "manual" ||
			seen[1].IntentMetadata["capture"] != "manual" {
			t.Errorf("links %+v; want the second made with manual capture, and its metadata to say so", seen)
		}
		listed, err := s.client.Links(t.Context())
		fixture.Meant(t, "links", err, upstream.OK)
		if len(listed) != 2 || listed[0].Manual || !listed[1].Manual {
			t.Errorf("listed %+v; want the second to be manual", listed)
		}
	})
}

func TestALinkWithoutReturnURLLeavesTheCustomerAtStripe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		link, err := s.client.CreateLink(t.Context(), fleet.NewLink{
			Device:         ledger.Device{UID: fixture.Washer},
			Plan:           payment.Offer{PriceID: fixture.Warm},
			SignedBy:       "process",
			IdempotencyKey: "link:1",
		})
		fixture.Meant(t, "link", err, upstream.OK)
		body, _ := url.QueryUnescape(string(s.Requests(fixture.CreateLink)[0].Body))
		if strings.Contains(body, "after_completion") ||
			!strings.Contains(body, "[description]="+fixture.Washer+": "+fixture.Warm) {
			t.Errorf("parameters %s; want no after_completion, and the UIDs where there is no name", body)
		}
		if link.ReturnURL != "" {
			t.Errorf("return URL %q; want none", link.ReturnURL)
		}
	})
}

func TestTheSameKeyMakesOneLink(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		s.Next(fixture.CreateLink, sandbox.Outcome{Applied: true}) // made, and the reply lost
		_, err := s.create("key-1")
		fixture.Meant(t, "cut", err, upstream.Unknown)
		second, err := s.create("key-1")
		fixture.Meant(t, "again", err, upstream.OK)
		third, err := s.create("key-2")
		fixture.Meant(t, "another key", err, upstream.OK)
		if links := s.Links(); len(links) != 2 || links[0].ID != second.ID || links[1].ID != third.ID {
			t.Errorf("%d links; want one for each key", len(links))
		}
	})
}

func TestALinkThatCannotBeSoldIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		s.SetPrice(fixture.Warm, func(p *sandbox.Price) { p.Active = false })
		link, err := s.create("key")
		fixture.Meant(t, "inactive price", err, upstream.Rejected)
		if link != (ledger.Link{}) {
			t.Errorf("link %+v beside the error; want none", link)
		}
	})
}

func TestOurActiveLinksAreListedOldestFirst(t *testing.T) {
	t.Parallel()
	for _, count := range []int{0, 1, 99, 100, 101, 200, 250} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStripeTest(t)
				ours := map[string]string{"app": App, "project": fixture.Project, "price_id": fixture.Warm}
				var want []string
				for i := range count {
					l := s.AddLink(
						sandbox.Link{
							Active:    true,
							PriceID:   fixture.Warm,
							DeviceUID: fmt.Sprint("dev:", i),
							Metadata:  ours,
							ReturnURL: "https://pay.example.com/",
						},
					)
					want = append(want, l.ID)
				}
				links, err := s.client.Links(t.Context())
				fixture.Meant(t, "links", err, upstream.OK)
				if len(links) != count {
					t.Fatalf("%d links; want %d", len(links), count)
				}
				for i, l := range links {
					if l.ID != want[i] || l.DeviceUID != fmt.Sprint("dev:", i) || l.Plan.PriceID != fixture.Warm ||
						!l.Active ||
						l.ReturnURL != "https://pay.example.com/" {
						t.Fatalf("link %d is %+v; want %s", i, l, want[i])
					}
				}
				if n, pages := s.Count(fixture.ListLinks), max((count+99)/100, 1); n != pages {
					t.Errorf("%d calls; want %d", n, pages)
				}
			})
		})
	}
}

func TestLinksOfOthersAreNotOurs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		for _, l := range []sandbox.Link{
			{Active: true, Metadata: map[string]string{}},
			{Active: true, Metadata: map[string]string{"app": App, "project": "app:another", "device_uid": fixture.Washer}},
			{Active: true, Metadata: map[string]string{"app": App, "project": fixture.Project}},
			{Active: true, Metadata: map[string]string{"project": fixture.Project, "device_uid": fixture.Washer}},
			{Active: false, Metadata: map[string]string{"app": App, "project": fixture.Project, "device_uid": fixture.Washer}},
		} {
			l.PriceID = fixture.Warm
			s.AddLink(l)
		}
		links, err := s.client.Links(t.Context())
		fixture.Meant(t, "links", err, upstream.OK)
		if len(links) != 0 {
			t.Errorf("links %+v; want none of others, of none, and none that is inactive", links)
		}
	})
}

func TestAListOfLinksThatBreaksOffIsNone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		for i := range 150 {
			s.AddLink(
				sandbox.Link{
					Active:    true,
					PriceID:   fixture.Warm,
					DeviceUID: fmt.Sprint("dev:", i),
					Metadata:  map[string]string{"app": App, "project": fixture.Project},
				},
			)
		}
		s.Next(fixture.ListLinks, sandbox.Outcome{Applied: true, Status: 200}, sandbox.Outcome{Status: 500})
		links, err := s.client.Links(t.Context())
		if got := upstream.OutcomeOf(err); got != upstream.Unknown || len(links) != 0 {
			t.Errorf("%d links and %v; want none and the error", len(links), err)
		}
		if !strings.Contains(fmt.Sprint(err), `page after "plink_`) {
			t.Errorf("error %v; want it to say which page", err)
		}
	})
}

func TestSignLink(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		made, err := s.create("key")
		fixture.Meant(t, "link", err, upstream.OK)
		byHand := s.AddLink(sandbox.Link{PriceID: fixture.Warm, DeviceUID: fixture.Washer})
		before := []sandbox.Link{s.Links()[0], byHand}
		signed := func(when, id, want string) {
			t.Helper()
			link, err := s.client.Link(t.Context(), id)
			fixture.Meant(t, when, err, upstream.OK)
			if link.SignedBy != want {
				t.Errorf("%s: signed by %q; want %q", when, link.SignedBy, want)
			}
		}
		signed("made", made.ID, "process")
		signed("made by hand", byHand.ID, ledger.Unsigned)
		for i, link := range before {
			fixture.Meant(t, "sign", s.client.SignLink(t.Context(), link.ID, "another"), upstream.OK)
			signed("signed again", link.ID, "another")
			link.Metadata["installation"] = "another"
			if got := s.Links()[i]; !reflect.DeepEqual(got, link) {
				t.Errorf("link %+v; want %+v", got, link)
			}
		}
		fixture.Meant(
			t,
			"deactivate",
			s.client.UpdateLink(t.Context(), ledger.Link{ID: made.ID, SignedBy: "a third"}),
			upstream.OK,
		)
		signed("deactivated", made.ID, "a third")
		fixture.Meant(t, "no such link", s.client.SignLink(t.Context(), "plink_none", "process"), upstream.Rejected)
	})
}

func TestALinkIsChanged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		link := s.AddLink(
			sandbox.Link{
				Active:    true,
				PriceID:   fixture.Warm,
				DeviceUID: fixture.Washer,
				ReturnURL: "https://old.example.com/",
			},
		)
		for _, row := range []struct {
			name   string
			change ledger.Link
			want   string // the return URL afterwards
		}{
			{"deactivated, it keeps the rest", ledger.Link{ID: link.ID, ReturnURL: "https://new.example.com/"}, "https://old.example.com/"},
			{"activated, with a new return URL", ledger.Link{ID: link.ID, Active: true, ReturnURL: "https://new.example.com/"}, "https://new.example.com/"},
			{"without a return URL", ledger.Link{ID: link.ID, Active: true}, ""},
		} {
			fixture.Meant(t, row.name, s.client.UpdateLink(t.Context(), row.change), upstream.OK)
			if got := s.Links()[0]; got.Active != row.change.Active || got.ReturnURL != row.want {
				t.Errorf(
					"%s: active %v, return URL %q; want %v, %q",
					row.name,
					got.Active,
					got.ReturnURL,
					row.change.Active,
					row.want,
				)
			}
		}
		fixture.Meant(
			t,
			"no such link",
			s.client.UpdateLink(t.Context(), ledger.Link{ID: "plink_none"}),
			upstream.Rejected,
		)
	})
}

func TestWhatASessionSays(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name, capture          string
		options                sandbox.PayOptions
		status, intent, charge string
	}{
		{"paid", "", sandbox.PayOptions{}, "paid", "succeeded", "now"},
		{
			"paid long after it was opened",
			"",
			sandbox.PayOptions{SessionAge: 3 * time.Hour},
			"paid",
			"succeeded",
			"now",
		},
		{"free", "", sandbox.PayOptions{Free: true}, "no_payment_required", "", "none"},
		{"paid with money that comes later", "", sandbox.PayOptions{Unpaid: true}, "unpaid", "processing", "none"},
		{"held", "manual", sandbox.PayOptions{}, "unpaid", "requires_capture", "now"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStripeTest(t)
				link := s.AddLink(
					sandbox.Link{
						Active:        true,
						PriceID:       fixture.Warm,
						DeviceUID:     fixture.Washer,
						CaptureMethod: row.capture,
					},
				)
				time.Sleep(time.Hour)
				sold, err := s.Pay(link.ID, row.options)
				if err != nil {
					t.Fatal(err)
				}
				got, err := s.client.Session(t.Context(), sold.ID)
				fixture.Meant(t, "session", err, upstream.OK)
				if got.ID != sold.ID || got.PaymentStatus != row.status || got.IntentStatus != row.intent ||
					got.PaymentIntent != sold.PaymentIntent ||
					got.PaymentLink != link.ID ||
					got.Amount != sold.Amount ||
					got.Currency != "eur" ||
					got.Livemode ||
					got.Metadata["device_uid"] != fixture.Washer {
					t.Errorf("session %+v; want what was sold: %+v", got, sold)
				}
				var want time.Time // without a charge Stripe does not tell
				if row.charge == "now" {
					want = time.Now().Truncate(time.Second)
				}
				if !got.PaidAt.Equal(want) || !got.Created.Equal(sold.Created.Truncate(time.Second)) {
					t.Errorf("paid at %v, created at %v; want %v, %v", got.PaidAt, got.Created, want, sold.Created)
				}
				if sold.PaymentIntent == "" {
					return
				}
				byIntent, err := s.client.Session(t.Context(), sold.PaymentIntent)
				fixture.Meant(t, "by the payment intent", err, upstream.OK)
				if fmt.Sprint(byIntent) != fmt.Sprint(got) {
					t.Errorf("by the payment intent %+v; want the same: %+v", byIntent, got)
				}
			})
		})
	}
}

func TestASessionThatNobodyPaid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		link := s.AddLink(sandbox.Link{Active: true, PriceID: fixture.Warm, DeviceUID: fixture.Washer})
		open, err := s.Open(link.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, state := range []string{"open", "expired"} {
			got, err := s.client.Session(t.Context(), open.ID)
			fixture.Meant(t, state, err, upstream.OK)
			if got.PaymentStatus != "unpaid" || got.IntentStatus != "" {
				t.Errorf("%s: %+v; want unpaid", state, got)
			}
			time.Sleep(25 * time.Hour)
		}
		// Whatever an unfinished session claims, nobody has paid it.
		s.Next(
			fixture.ReadSession,
			sandbox.Outcome{
				Status: 200,
				Body:   `{"id":"cs_test_1","object":"checkout.session","status":"open","payment_status":"paid","payment_intent":{"id":"pi_1","status":"succeeded"}}`,
			},
		)
		got, err := s.client.Session(t.Context(), "cs_test_1")
		fixture.Meant(t, "a contradiction", err, upstream.OK)
		if got.PaymentStatus != "unpaid" || got.IntentStatus != "" {
			t.Errorf("a contradiction: %+v; want unpaid", got)
		}
		_, err = s.client.Session(t.Context(), "cs_test_none")
		fixture.Meant(t, "no such session", err, upstream.Rejected)
		_, err = s.client.Session(t.Context(), "pi_none")
		fixture.Meant(t, "no session of the intent", err, upstream.Rejected)
	})
}

func TestWhatStripesErrorsMean(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name   string
		answer sandbox.Outcome
		want   upstream.Outcome
		wait   time.Duration
	}{
		{"401", sandbox.Outcome{Status: 401}, upstream.Misconfigured, 0},
		{"403", sandbox.Outcome{Status: 403}, upstream.Misconfigured, 0},
		{"400", sandbox.Outcome{Status: 400}, upstream.Rejected, 0},
		{"402", sandbox.Outcome{Status: 402}, upstream.Rejected, 0},
		{
			"404 of an object",
			sandbox.Outcome{
				Status: 404,
				Body:   `{"error":{"type":"invalid_request_error","code":"resource_missing","message":"No such price"}}`,
			},
			upstream.Rejected,
			0,
		},
		{
			"404 of an address",
			sandbox.Outcome{
				Status: 404,
				Body:   `{"error":{"type":"invalid_request_error","message":"Unrecognized request URL"}}`,
			},
			upstream.Misconfigured,
			0,
		},
		{"404 of a proxy", sandbox.Outcome{Status: 404, Body: fixture.ProxyPage}, upstream.Unknown, 0},
		{"409", sandbox.Outcome{Status: 409}, upstream.Retryable, 0},
		{"429 that does not say how long", sandbox.Outcome{Status: 429}, upstream.RateLimited, 0},
		{
			"429 that does",
			sandbox.Outcome{Status: 429, Header: http.Header{"Retry-After": {"3"}}},
			upstream.RateLimited,
			3 * time.Second,
		},
		{"500", sandbox.Outcome{Status: 500}, upstream.Unknown, 0},
		{"500 after the effect", sandbox.Outcome{Applied: true, Status: 500}, upstream.Unknown, 0},
		{"502 of a proxy", sandbox.Outcome{Status: 502, Body: fixture.ProxyPage}, upstream.Unknown, 0},
		{"503 without an error", sandbox.Outcome{Status: 503, Body: `{}`}, upstream.Unknown, 0},
		{"a proxy's page as a yes", sandbox.Outcome{Status: 200, Body: fixture.ProxyPage}, upstream.Unknown, 0},
		{"cut", sandbox.Outcome{}, upstream.Unknown, 0},
		{"cut after the effect", sandbox.Outcome{Applied: true}, upstream.Unknown, 0},
		{"too slow", sandbox.Outcome{Applied: true, Status: 200, Delay: time.Hour}, upstream.Unknown, 0},
	}
	calls := map[string]func(*testStripe) error{
		fixture.ReadPrice:  (*testStripe).plan,
		fixture.CreateLink: func(s *testStripe) error { _, err := s.create("key"); return err },
		fixture.ListLinks:  func(s *testStripe) error { _, err := s.client.Links(context.Background()); return err },
		"POST /v1/payment_links/{id}": func(s *testStripe) error {
			return s.client.UpdateLink(context.Background(), ledger.Link{ID: "plink_1"})
		},
		fixture.ReadSession:   func(s *testStripe) error { _, err := s.client.Session(context.Background(), "cs_test_1"); return err },
		fixture.CaptureIntent: func(s *testStripe) error { return s.client.Capture(context.Background(), "pi_1", "capture:cr_1") },
		fixture.CancelIntent:  func(s *testStripe) error { return s.client.Release(context.Background(), "pi_1", "release:cr_1") },
		fixture.CreateRefund: func(s *testStripe) error {
			_, err := s.client.Refund(
				context.Background(),
				payment.RefundOrder{Intent: "pi_1", Amount: 350, Credit: "cr_1", Number: 1},
			)
			return err
		},
		fixture.ListRefunds: func(s *testStripe) error { _, err := s.client.Refunds(context.Background(), "pi_1"); return err },
		fixture.ListEvents: func(s *testStripe) error {
			_, _, _, err := s.client.Events(context.Background(), time.Now(), "")
			return err
		},
		"GET /v1/checkout/sessions": func(s *testStripe) error { _, err := s.client.Session(context.Background(), "pi_1"); return err },
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			for pattern, call := range calls {
				synctest.Test(t, func(t *testing.T) {
					s := newStripeTest(t)
					s.Next(pattern, row.answer)
					began := time.Now()
					err := call(s)
					fixture.Meant(t, pattern, err, row.want)
					if e, ok := errors.AsType[*upstream.Error](err); ok && e.RetryAfter != row.wait {
						t.Errorf("%s: to wait %v; want %v", pattern, e.RetryAfter, row.wait)
					}
					if d := s.client.Limiter.Delay(time.Now()); (d > 0) != (row.want == upstream.RateLimited) {
						t.Errorf("%s: all calls are held for %v", pattern, d)
					}
					if took := time.Since(began); took > CallTimeout {
						t.Errorf("%s: took %v; want at most %v", pattern, took, CallTimeout)
					}
					if n := s.Count(pattern); n != 1 {
						t.Errorf("%s: %d attempts; want one", pattern, n)
					}
					if err != nil && strings.Contains(err.Error(), fixture.TestKey) {
						t.Errorf("%s: the error tells the key: %v", pattern, err)
					}
				})
			}
		})
	}
}

func TestWhenStripeCannotBeReachedNothingWasDone(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	s := New(stripeSettings(gone.URL))
	_, err := s.Offer(t.Context(), fixture.Warm)
	fixture.Meant(t, "price", err, upstream.Retryable)
	_, err = s.CreateLink(t.Context(), fleet.NewLink{
		Device:         ledger.Device{UID: fixture.Washer},
		Plan:           payment.Offer{PriceID: fixture.Warm},
		SignedBy:       "process",
		IdempotencyKey: "key",
	})
	fixture.Meant(t, "link", err, upstream.Retryable)
}
