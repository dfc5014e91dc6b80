package stripeapi

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
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

func TestCreateLinkSendsExactlyTheseParameters(t *testing.T) {
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
			"payment_intent_data[description]":                 "Washer 3: Warm wash",
			"payment_intent_data[statement_descriptor_suffix]": "WASHER 3",
			"inactive_message": "This machine is not for sale through this link any more. Please scan the sticker " +
				"on the machine again.",
		}
		for key, value := range map[string]string{
			"app": "notepay", "project": fixture.Project, "device_uid": fixture.Washer, "price_id": fixture.Warm,
		} {
			want["metadata["+key+"]"], want["payment_intent_data[metadata]["+key+"]"] = value, value
		}
		want["metadata[installation]"] = "process" // not on its payments
		flat := map[string]string{}
		for name, values := range got {
			flat[name] = strings.Join(values, "|")
		}
		if !maps.Equal(flat, want) {
			t.Errorf("parameters %v; want %v", flat, want)
		}
	})
}

func TestCreateLinkWithManualCapture(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		plain, err := s.create("key-1")
		fixture.Meant(t, "link", err, upstream.OK)
		s.client.config.Manual = true
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

func TestCreateLinkWithoutReturnURL(t *testing.T) {
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

func TestCreateLinkOncePerKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		s.Next(fixture.CreateLink, sandbox.Outcome{Applied: true}) // created, and the reply is lost
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

func TestCreateLinkRejectsAnInactivePrice(t *testing.T) {
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

func TestLinksListsOurActiveLinksOldestFirst(t *testing.T) {
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

func TestLinksSkipsOtherProjects(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		for _, l := range []sandbox.Link{
			{Active: true, Metadata: map[string]string{}},
			{
				Active:   true,
				Metadata: map[string]string{"app": App, "project": "app:another", "device_uid": fixture.Washer},
			},
			{Active: true, Metadata: map[string]string{"app": App, "project": fixture.Project}},
			{Active: true, Metadata: map[string]string{"project": fixture.Project, "device_uid": fixture.Washer}},
			{
				Active:   false,
				Metadata: map[string]string{"app": App, "project": fixture.Project, "device_uid": fixture.Washer},
			},
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

func TestLinksFailsUnlessTheListIsComplete(t *testing.T) {
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

// update updates a link and returns only the error.
func (s *testStripe) update(ctx context.Context, link ledger.Link, text string) error {
	_, err := s.client.UpdateLink(ctx, link, text)
	return err
}

func TestUpdateLink(t *testing.T) {
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
			{
				"deactivated, it keeps the rest", ledger.Link{ID: link.ID, ReturnURL: "https://new.example.com/"},
				"https://old.example.com/",
			},
			{
				"activated, with a new return URL",
				ledger.Link{ID: link.ID, Active: true, ReturnURL: "https://new.example.com/"},
				"https://new.example.com/",
			},
			{"without a return URL", ledger.Link{ID: link.ID, Active: true}, ""},
		} {
			fixture.Meant(t, row.name, s.update(t.Context(), row.change, ""), upstream.OK)
			if got := s.Links()[0]; got.Active != row.change.Active || got.ReturnURL != row.want {
				t.Errorf(
					"%s: active %v, return URL %q; want %v, %q", row.name, got.Active, got.ReturnURL,
					row.change.Active, row.want,
				)
			}
		}
		text := func() string {
			body, err := s.client.get(t.Context(), "/v1/payment_links/"+link.ID, nil)
			fixture.Meant(t, "read", err, upstream.OK)
			var got struct {
				Text struct {
					Submit struct{ Message string } `json:"submit"`
				} `json:"custom_text"`
			}
			if err := json.Unmarshal(body, &got); err != nil {
				t.Fatal(err)
			}
			return got.Text.Submit.Message
		}
		active := ledger.Link{ID: link.ID, Active: true}
		for _, given := range []string{"You pay for it.", ""} { // without a text, the old one stays
			fixture.Meant(t, "text", s.update(t.Context(), active, given), upstream.OK)
			if got := text(); got != "You pay for it." {
				t.Errorf("after %q the text is %q", given, got)
			}
		}
		address, err := s.client.UpdateLink(t.Context(), active, "")
		fixture.Meant(t, "address", err, upstream.OK)
		if want := s.Links()[0].URL; address != want {
			t.Errorf("the address is %q; want %q", address, want)
		}
		s.Next("POST /v1/payment_links/{link}", sandbox.Outcome{
			Applied: true,
			Status:  200,
			Body:    `{"id":"plink_1","object":"payment_link"}`,
		})
		if address, err = s.client.UpdateLink(t.Context(), active, ""); err != nil || address != "" {
			t.Errorf("an odd reply: %q, %v; want no address", address, err)
		}
		fixture.Meant(
			t, "no such link", s.update(t.Context(), ledger.Link{ID: "plink_none"}, ""),
			upstream.Rejected,
		)
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
			t, "deactivate", s.update(t.Context(), ledger.Link{ID: made.ID, SignedBy: "a third"}, ""),
			upstream.OK,
		)
		signed("deactivated", made.ID, "a third")
		fixture.Meant(t, "no such link", s.client.SignLink(t.Context(), "plink_none", "process"), upstream.Rejected)
	})
}

func TestRejectedTextStopsNoSale(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		rejected := sandbox.Outcome{Status: 400, Body: `{"error":{"type":"invalid_request_error",
			"param":"custom_text[submit][message]","message":"This text cannot be used."}}`}
		s.Next(fixture.CreateLink, rejected)
		link, err := s.client.CreateLink(t.Context(), fleet.NewLink{
			Device:         ledger.Device{UID: fixture.Washer},
			Plan:           payment.Offer{PriceID: fixture.Warm},
			Text:           "You pay for Washer 3.",
			IdempotencyKey: "link:1",
		})
		fixture.Meant(t, "link", err, upstream.OK)
		sent := s.Requests(fixture.CreateLink)
		if len(sent) != 2 || strings.Contains(string(sent[1].Body), "custom_text") ||
			sent[1].Header.Get("Idempotency-Key") == sent[0].Header.Get("Idempotency-Key") {
			t.Errorf("%d calls; want a second one without the text, under a key of its own", len(sent))
		}
		if link.TextSum != ledger.SumText("You pay for Washer 3.") {
			t.Error("the text would be tried again for ever")
		}
		const update = "POST /v1/payment_links/{id}"
		s.Next(update, rejected)
		fixture.Meant(t, "update", s.update(t.Context(), link, "You pay for Washer 3."), upstream.OK)
		if n := s.Count(update); n != 2 {
			t.Errorf("%d updates; want a second one without the text", n)
		}
	})
}

func TestLinkTakesPromotionCodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		link, err := s.client.CreateLink(t.Context(), fleet.NewLink{
			Device:         ledger.Device{UID: fixture.Washer},
			Plan:           payment.Offer{PriceID: fixture.Warm},
			PromotionCodes: true,
			IdempotencyKey: "link:1",
		})
		fixture.Meant(t, "link", err, upstream.OK)
		for _, codes := range []bool{true, false, true} {
			link.PromotionCodes = codes
			fixture.Meant(t, "update", s.update(t.Context(), link, ""), upstream.OK)
			read, err := s.client.Link(t.Context(), link.ID)
			fixture.Meant(t, "read", err, upstream.OK)
			if read.PromotionCodes != codes || s.Stripe.Links()[0].PromotionCodes != codes {
				t.Errorf("promotion codes %v; want %v", read.PromotionCodes, codes)
			}
		}
		link.Active = false // an inactive link keeps its switch
		link.PromotionCodes = false
		fixture.Meant(t, "deactivate", s.update(t.Context(), link, ""), upstream.OK)
		if !s.Stripe.Links()[0].PromotionCodes {
			t.Error("a link was changed that is not sold")
		}
	})
}
