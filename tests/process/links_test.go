package process

import (
	"net/http"
	"strings"
	"testing"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

func TestDevicesComeAndGo(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	s := w.Start()
	s.Selling(fixture.Washer)
	refresh := func() string {
		status, _, text := s.Do(http.MethodPost, "/refresh-devices", "", "Authorization", "Bearer operator-token-1234")
		if status != http.StatusOK {
			t.Fatalf("refresh answers %d: %s", status, text)
		}
		return strings.TrimSpace(text)
	}
	w.Notehub.AddDevice(sandbox.Device{UID: "dev:dryer1"})
	if got, want := refresh(), `{"devices":2,"added":1,"removed":0,"links_created":1}`; got != want {
		t.Errorf("refresh: %s; want %s", got, want)
	}
	s.Selling("dev:dryer1")
	w.Notehub.RemoveDevice(fixture.Washer)
	if got, want := refresh(), `{"devices":1,"added":0,"removed":1,"links_created":0}`; got != want {
		t.Errorf("refresh: %s; want %s", got, want)
	}
	if status, _, _ := s.Get("/pay?device=" + fixture.Washer); status != http.StatusNotFound {
		t.Errorf("a removed device answers %d; want 404", status)
	}
	w.ActiveLinks(map[string]string{"dev:dryer1": fixture.Warm})
	// A failed page of the list removes no device.
	w.Notehub.Next("GET /v1/projects/{project}/devices", sandbox.Outcome{Status: 500})
	status, _, _ := s.Do(http.MethodPost, "/refresh-devices", "", "Authorization", "Bearer "+apptest.OperatorToken)
	if status != http.StatusBadGateway {
		t.Errorf("a failed refresh answers %d; want 502", status)
	}
	s.Selling("dev:dryer1")
	// The device returns. Its old link is activated again, and no second link is created.
	w.Notehub.AddDevice(sandbox.Device{UID: fixture.Washer, Name: "Washer 3"})
	if got, want := refresh(), `{"devices":2,"added":1,"removed":0,"links_created":0}`; got != want {
		t.Errorf("refresh: %s; want %s", got, want)
	}
	s.Selling(fixture.Washer)
	if n := len(w.Stripe.Links()); n != 2 {
		t.Errorf("%d links at Stripe; want 2", n)
	}
}

func TestChangedPriceReplacesTheLinkAndTheOldOneIsHonored(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	w.Stripe.AddPrice(
		sandbox.Price{
			ID:       "price_hot",
			Name:     "Hot wash",
			Currency: "eur",
			Amount:   450,
			Active:   true,
			Metadata: map[string]string{"duration": "75m", "delayed_start": "5m"},
		},
	)
	first := w.Start()
	first.Selling(fixture.Washer)
	open, err := w.Stripe.Open(w.Stripe.Links()[0].ID) // a customer has Stripe's page open while the price changes
	if err != nil {
		t.Fatal(err)
	}
	w.Stopped(first)
	w.Set("STRIPE_PRICE_ID", "price_hot")
	second := w.Start()
	second.Selling(fixture.Washer)
	w.Until("the old link is deactivated", func() bool { return !w.Stripe.Links()[0].Active })
	w.ActiveLinks(map[string]string{fixture.Washer: "price_hot"})
	old := w.Pay(open.ID, sandbox.PayOptions{})
	text := second.Payment(old.ID, "sent", apptest.Has(`"machine":"sent"`))
	for _, want := range []string{
		`"price_id":"` + fixture.Warm + `"`, `"plan":"Warm wash"`, `"amount":350`, `"needs_attention":false`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the payment lacks %s: %s", want, text)
		}
	}
	w.Pay(second.Selling(fixture.Washer), sandbox.PayOptions{})
	note := w.Sent(fixture.Washer, 2)[1]
	if note.Body["duration_s"] != float64(75*60) || note.Body["delayed_start_s"] != float64(5*60) {
		t.Errorf(
			"the note's duration is %v, its delay %v; want 4500 and 300",
			note.Body["duration_s"],
			note.Body["delayed_start_s"],
		)
	}
}

func TestDuplicateLinksAreDeactivatedAndForeignOnesLeftAlone(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	mine := map[string]string{
		"app":        "notepay",
		"project":    fixture.Project,
		"device_uid": fixture.Washer,
		"price_id":   fixture.Warm,
	}
	first := w.Stripe.AddLink(
		sandbox.Link{DeviceUID: fixture.Washer, PriceID: fixture.Warm, Active: true, Metadata: mine},
	)
	second := w.Stripe.AddLink(
		sandbox.Link{DeviceUID: fixture.Washer, PriceID: fixture.Warm, Active: true, Metadata: mine},
	)
	other := w.Stripe.AddLink(
		sandbox.Link{
			DeviceUID: fixture.Washer,
			PriceID:   fixture.Warm,
			Active:    true,
			Metadata: map[string]string{
				"app":        "notepay",
				"project":    "app:other",
				"device_uid": fixture.Washer,
				"price_id":   fixture.Warm,
			},
		},
	)
	s := w.Start()
	w.Until("the duplicate is deactivated", func() bool {
		for _, l := range w.Stripe.Links() {
			if l.ID == second.ID {
				return !l.Active
			}
		}
		return false
	})
	if got := s.Selling(fixture.Washer); got != first.URL {
		t.Errorf("sold through %q; want the first, %q", got, first.URL)
	}
	w.Until(
		"the return URL is set",
		func() bool { return strings.Contains(w.Stripe.Links()[0].ReturnURL, "{CHECKOUT_SESSION_ID}") },
	)
	w.Stopped(s)
	for _, l := range w.Stripe.Links() {
		if l.ID == other.ID && !l.Active {
			t.Error("another project's link was deactivated")
		}
	}
	if n := len(w.Stripe.Links()); n != 3 {
		t.Errorf("%d links; want the three that were there", n)
	}
}

func TestLinkWhoseReplyWasLostIsNotCreatedTwice(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	w.Stripe.Next("POST /v1/payment_links", sandbox.Outcome{Applied: true})
	s := w.Start()
	s.Selling(fixture.Washer)
	w.Stopped(s)
	if n := len(w.Stripe.Links()); n != 1 {
		t.Errorf("%d links; want 1", n)
	}
}

func TestPlanPageOffersTwoPlans(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t).Set("STRIPE_PRICE_ID", fixture.Warm+",price_hot")
	w.Stripe.AddPrice(sandbox.Price{ID: "price_hot", Name: "Hot wash", Currency: "jpy", Amount: 450, Active: true})
	s := w.Start()
	var page string
	w.Until("both plans are there", func() bool {
		_, _, page = s.Get("/pay?device="+fixture.Washer, "Accept", "text/html")
		return strings.Contains(page, "Warm wash") && strings.Contains(page, "Hot wash")
	})
	for _, want := range []string{"€3.50", "¥450", "Washer 3"} {
		if !strings.Contains(page, want) {
			t.Errorf("the plan page lacks %q:\n%s", want, page)
		}
	}
}
