package sandbox

import (
	"net/http"
	"testing"
)

// triggered makes the objects that `stripe trigger checkout.session.completed` makes before it
// pays. It returns the session's id.
func triggered(t *testing.T, s *Stripe) string {
	t.Helper()
	_, product, _ := stripeCall(t, s, "POST /v1/products", "name=myproduct&description=made+by+hand")
	_, price, _ := stripeCall(t, s, "POST /v1/prices", "product="+at(product, "id")+"&unit_amount=1500&currency=usd")
	status, session, _ := stripeCall(t, s, "POST /v1/checkout/sessions",
		"mode=payment&success_url=https://example.com&line_items[0][price]="+at(price, "id")+
			"&line_items[0][quantity]=2&metadata[device_uid]=dev:1&payment_intent_data[shipping][name]=Jenny")
	if status != http.StatusOK || at(session, "amount_total") != "3000" {
		t.Fatalf("got %d %v; want a session over 3000", status, session)
	}
	if _, read, _ := stripeCall(t, s, "GET /v1/products/"+at(product, "id"), ""); at(read, "name") != "myproduct" {
		t.Errorf("got product %v; want myproduct", read)
	}
	return at(session, "id")
}

func TestTriggerPaysTheSession(t *testing.T) {
	t.Parallel()
	s := newStripe(t, StripeConfig{})
	id := triggered(t, s)
	if status, page, _ := stripeCall(t, s, "GET /v1/payment_pages/"+id, ""); status != http.StatusOK ||
		at(page, "status") != "open" {
		t.Errorf("got %d %v; want an open page", status, page)
	}
	_, method, _ := stripeCall(t, s, "POST /v1/payment_methods",
		"type=card&card[token]=tok_visa&billing_details[email]=a@example.com")
	confirm := "POST /v1/payment_pages/" + id + "/confirm"
	status, page, _ := stripeCall(t, s, confirm, "expected_amount=3000&payment_method="+at(method, "id"))
	if status != http.StatusOK || at(page, "payment_status") != "paid" {
		t.Errorf("got %d %v; want it paid", status, page)
	}
	if x, _ := s.Session(id); x.PaymentStatus != "paid" || x.PaymentLink != "" || x.DeviceUID != "dev:1" ||
		x.Amount != 3000 {
		t.Errorf("got session %+v; want 3000 paid for dev:1 without a link", x)
	}
	status, answer, _ := stripeCall(t, s, confirm, "expected_amount=3000&payment_method="+at(method, "id"))
	if status != http.StatusBadRequest {
		t.Errorf("paying twice got %d %v; want 400", status, answer)
	}
}

func TestTriggerErrors(t *testing.T) {
	t.Parallel()
	s := newStripe(t, StripeConfig{})
	id := triggered(t, s)
	_, visa, _ := stripeCall(t, s, "POST /v1/payment_methods", "type=card&card[token]=tok_visa")
	_, bad, _ := stripeCall(t, s, "POST /v1/payment_methods", "type=card&card[token]=tok_chargeDeclined")
	for _, c := range []struct {
		name, operation, params string
		status                  int
	}{
		{"a product without a name", "POST /v1/products", "description=x", 400},
		{"a price of no product", "POST /v1/prices", "product=prod_1&unit_amount=1&currency=usd", 400},
		{"an unknown parameter", "POST /v1/products", "name=x&color=red", 400},
		{"a method that is no card", "POST /v1/payment_methods", "type=iban", 400},
		{"an unknown token", "POST /v1/payment_methods", "type=card&card[token]=tok_1", 400},
		{"the page of no session", "GET /v1/payment_pages/cs_test_1", "", 404},
		{"another amount", "POST /v1/payment_pages/" + id + "/confirm",
			"expected_amount=1&payment_method=" + at(visa, "id"), 400},
		{"an unknown method", "POST /v1/payment_pages/" + id + "/confirm",
			"expected_amount=3000&payment_method=pm_1", 400},
		{"a card that is declined", "POST /v1/payment_pages/" + id + "/confirm",
			"expected_amount=3000&payment_method=" + at(bad, "id"), 402},
	} {
		if status, answer, _ := stripeCall(t, s, c.operation, c.params); status != c.status {
			t.Errorf("%s: got %d %v; want %d", c.name, status, answer, c.status)
		}
	}
	if x, _ := s.Session(id); x.Status != "open" {
		t.Errorf("the session is %s; want open", x.Status)
	}
}
