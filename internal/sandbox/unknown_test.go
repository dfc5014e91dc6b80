package sandbox

import (
	"fmt"
	"net/http"
	"testing"
)

func TestStripeUnknown(t *testing.T) {
	t.Parallel()
	for _, other := range []bool{false, true} {
		t.Run(fmt.Sprintf("the other way %t", other), func(t *testing.T) {
			t.Parallel()
			s, _, link := payable(t, StripeConfig{Unknown: StripeUnknown{
				ClosedLinkEndsSessions: other,
				PresentmentCharged:     other,
				ManualIsPaid:           other,
				BalanceCode:            map[bool]string{true: "balance_insufficient"}[other],
			}})
			shown, err := s.Pay(link.ID, PayOptions{Presentment: "usd"})
			if err != nil {
				t.Fatal(err)
			}
			_, session, _ := stripeCall(t, s, "GET /v1/checkout/sessions/"+shown.ID, "")
			if got := at(session, "currency"); (got == "usd") != other {
				t.Errorf("got currency %s under Adaptive Pricing", got)
			}
			if got := at(session, "presentment_details.presentment_currency"); got != "usd" {
				t.Errorf("got presentment currency %s; want usd", got)
			}
			manual := s.AddLink(Link{PriceID: "price_wash", Active: true, CaptureMethod: "manual"})
			held, err := s.Pay(manual.ID, PayOptions{})
			if err != nil || (held.PaymentStatus == "paid") != other || !held.PaidAt.IsZero() {
				t.Errorf("got %+v, %v while the money is held", held, err)
			}
			capturable := false
			for _, e := range s.Events() {
				capturable = capturable || e.Type == "payment_intent.amount_capturable_updated"
			}
			if capturable == other {
				t.Errorf("got an event of the intent while the money is held: %v", capturable)
			}
			s.SetRefunds(RefundsLackBalance)
			_, refusal, _ := stripeCall(t, s, "POST /v1/refunds", "payment_intent="+shown.PaymentIntent)
			if got := at(refusal, "error.code"); (got == "balance_insufficient") != other {
				t.Errorf("got %v for a refund that the balance does not cover", refusal)
			}
			open, err := s.Open(link.ID)
			if err != nil {
				t.Fatal(err)
			}
			stripeCall(t, s, createLink+"/"+link.ID, "active=false")
			if _, err := s.Pay(open.ID, PayOptions{}); (err != nil) != other {
				t.Errorf("got %v for a session opened before its link was closed", err)
			}
		})
	}
}

func TestNotehubUnknown(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name                                  string
		unknown                               NotehubUnknown
		device, project, disabled, full, free int
		gone                                  int
		variable                              string
	}{
		{"as assumed", NotehubUnknown{}, 404, 404, 200, 400, 429, 404, "first"},
		{"the other way", NotehubUnknown{
			TokenCallFree:   true,
			UnknownDevice:   403,
			OtherProject:    403,
			DisabledRefused: true,
			Full:            429,
			LastFleetWins:   true,
			GoneDeleted:     true,
		}, 403, 403, 403, 429, 200, 200, "last"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			config := NotehubConfig{
				Token:        "pat",
				ClientID:     "client",
				ClientSecret: "secret",
				Project:      project,
				MaxPending:   1,
				Report:       t,
				Unknown:      row.unknown,
			}
			n := NewNotehub(config)
			n.AddFleet("fleet:1", "", map[string]string{"v": "first"})
			n.AddFleet("fleet:2", "", map[string]string{"v": "last"})
			n.AddDevice(Device{UID: machine1, Fleets: []string{"fleet:1", "fleet:2"}})
			path := "/devices/" + machine1
			status := func(method, path, body string) int {
				status, _ := hubCall(t, n, method, path, body)
				return status
			}
			if got := status("GET", "/devices/dev:0", ""); got != row.device {
				t.Errorf("an unknown device: got %d; want %d", got, row.device)
			}
			if got, _, _ := hubRequest(t, n, "GET", "/v1/projects/app:0", "pat", ""); got != row.project {
				t.Errorf("another project: got %d; want %d", got, row.project)
			}
			status("POST", path+"/notes/payment.qi", `{"body":{}}`)
			if got := status("POST", path+"/notes/payment.qi", `{"body":{}}`); got != row.full {
				t.Errorf("too many pending: got %d; want %d", got, row.full)
			}
			if got := status("DELETE", path+"/notes/payment.qi/1:1", ""); got != row.gone {
				t.Errorf("deleting a note that is gone: got %d; want %d", got, row.gone)
			}
			_, answer := hubCall(t, n, "GET", path+"/environment_variables", "")
			if at(answer, "environment_variables_effective.v") != row.variable {
				t.Errorf("two fleets: got %v; want %s", answer, row.variable)
			}
			n.SetDevice(machine1, func(d *Device) { d.Disabled = true })
			if got := status("POST", path+"/notes/other.qi", `{"body":{}}`); got != row.disabled {
				t.Errorf("a disabled device: got %d; want %d", got, row.disabled)
			}
			config.PerMinute = 1
			n = NewNotehub(config)
			hubToken(t, n)
			if got, _, _ := hubRequest(t, n, "GET", "/v1/projects/"+project, "pat", ""); got != row.free {
				t.Errorf("after the token call: got %d; want %d", got, row.free)
			}
		})
	}
}

func TestRetrieveEveryObject(t *testing.T) {
	t.Parallel()
	s, _, link := payable(t, StripeConfig{})
	paid, err := s.Pay(link.ID, PayOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, refund, _ := stripeCall(t, s, "POST /v1/refunds", "payment_intent="+paid.PaymentIntent)
	_, made, _ := stripeCall(t, s, "POST /v1/webhook_endpoints", "url=http://bridge.example/&enabled_events[]=*")
	for path, kind := range map[string]string{
		"/payment_links/" + link.ID: "payment_link", "/checkout/sessions/" + paid.ID: "checkout.session",
		"/checkout/sessions/" + paid.ID + "/line_items": "list",
		"/payment_intents/" + paid.PaymentIntent:        "payment_intent",
		"/charges/" + at(refund, "charge"):              "charge", "/refunds/" + at(refund, "id"): "refund",
		"/events/" + s.Events()[0].ID:          "event",
		"/webhook_endpoints/" + at(made, "id"): "webhook_endpoint", "/webhook_endpoints": "list", "/prices": "list",
		"/balance": "balance",
		"/account": "account",
		"/events":  "list",
		"/refunds": "list",
	} {
		if status, answer, _ := stripeCall(t, s, "GET /v1"+path, ""); status != http.StatusOK ||
			at(answer, "object") != kind {
			t.Errorf("%s: got %d %v; want a %s", path, status, answer, kind)
		}
	}
}
