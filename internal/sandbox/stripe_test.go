package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const createLink = "POST /v1/payment_links"

// newStripe returns an account that sells one wash for 3.50 EUR.
func newStripe(t *testing.T, c StripeConfig) *Stripe {
	t.Helper()
	if c.CheckoutURL == "" {
		c.CheckoutURL = "http://pay.example"
	}
	s := NewStripe(c)
	t.Cleanup(s.Close)
	s.AddPrice(Price{
		ID:       "price_wash",
		Name:     "Warm wash",
		Currency: "eur",
		Amount:   350,
		Active:   true,
		Metadata: map[string]string{"duration": "30m"},
	})
	return s
}

// stripeCall makes one call and returns the decoded response. Parameters are "name=value" pairs
// joined with &.
func stripeCall(t *testing.T, s *Stripe, operation, params string, header ...string) (int, object, http.Header) {
	t.Helper()
	method, path, _ := strings.Cut(operation, " ")
	values, err := url.ParseQuery(params)
	if err != nil {
		t.Fatal(err)
	}
	body := ""
	if method == http.MethodPost {
		body = values.Encode()
	} else if params != "" {
		path += "?" + values.Encode()
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://stripe.example"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer sk_test_1")
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := InProcess(s).RoundTrip(r)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, nil, nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var decoded object
	if err := json.NewDecoder(answer.Body).Decode(&decoded); err != nil {
		t.Fatalf("%s answered no JSON: %v", operation, err)
	}
	return answer.StatusCode, decoded, answer.Header
}

// at returns a value inside a response by its dotted path, as text.
func at(o object, path string) string {
	var value any = o
	for name := range strings.SplitSeq(path, ".") {
		switch inner := value.(type) {
		case object:
			value = inner[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(inner) {
				return "nothing"
			}
			value = inner[i]
		default:
			return "nothing"
		}
	}
	return fmt.Sprint(value)
}

const wash = "line_items[0][price]=price_wash&line_items[0][quantity]=1"

func TestCreateLinkKeepsItsParameters(t *testing.T) {
	t.Parallel()
	s := newStripe(t, StripeConfig{Report: t})
	status, link, header := stripeCall(t, s, createLink, wash+"&metadata[device_uid]=dev:1&metadata[app]=notepay"+
		"&payment_intent_data[metadata][device_uid]=dev:1&payment_intent_data[capture_method]=manual"+
		"&payment_method_types[0]=card"+
		"&after_completion[type]=redirect"+
		"&after_completion[redirect][url]=https://pay.example/s?id={CHECKOUT_SESSION_ID}"+
		"&restrictions[completed_sessions][limit]=3&custom_text[submit][message]=hello"+
		"&inactive_message=gone&submit_type=pay",
		"Stripe-Version", "2025-08-27.basil")
	if status != http.StatusOK || !strings.HasPrefix(header.Get("Request-Id"), "req_") {
		t.Fatalf("got %d %v %v; want a link with a request id", status, link, header)
	}
	for path, want := range map[string]string{
		"object":              "payment_link",
		"active":              "true",
		"currency":            "eur",
		"metadata.device_uid": "dev:1",
		"metadata.app":        "notepay",
		"payment_intent_data.metadata.device_uid": "dev:1",
		"payment_intent_data.capture_method":      "manual",
		"after_completion.redirect.url":           "https://pay.example/s?id={CHECKOUT_SESSION_ID}",
		"restrictions.completed_sessions.limit":   "3",
		"custom_text.submit.message":              "hello",
		"inactive_message":                        "gone",
		"submit_type":                             "pay",
		"payment_method_types.0":                  "card",
		"created":                                 "<nil>",
		"line_items":                              "<nil>",
		"url":                                     "http://pay.example/c/" + at(link, "id"),
	} {
		if got := at(link, path); got != want {
			t.Errorf("%s: got %s; want %s", path, got, want)
		}
	}
	id := at(link, "id")
	_, changed, _ := stripeCall(t, s, createLink+"/"+id,
		"active=false&metadata[app]=&metadata[new]=1&payment_intent_data[metadata][other]=2&expand[0]=line_items")
	for path, want := range map[string]string{
		"active":                       "false",
		"metadata":                     "map[device_uid:dev:1 new:1]",
		"payment_intent_data.metadata": "map[other:2]",
		"line_items.data.0.price.id":   "price_wash",
		"inactive_message":             "gone",
	} {
		if got := at(changed, path); got != want {
			t.Errorf("after the update %s: got %s; want %s", path, got, want)
		}
	}
	links := s.Links()
	if len(links) != 1 || links[0].ID != id || links[0].DeviceUID != "dev:1" || links[0].PriceID != "price_wash" ||
		links[0].Active || links[0].CaptureMethod != "manual" ||
		!strings.HasPrefix(links[0].ReturnURL, "https://pay.example/s") {
		t.Errorf("got %+v; want the same link", links)
	}
	_, items, _ := stripeCall(t, s, "GET /v1/payment_links/"+id+"/line_items", "limit=5")
	if got := at(items, "data.0.amount_total"); got != "350" {
		t.Errorf("got amount %s; want 350", got)
	}
}

func TestStripeErrors(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 501)
	tooSoon := strconv.FormatInt(time.Now().Add(time.Minute).Unix(), 10)
	rows := []struct {
		name, operation, params, code, param string
		status                               int
		reported                             bool
	}{
		{"an unknown path", "GET /v1/nowhere", "", "", "", 404, true},
		{"an unknown method", "PUT /v1/payment_links", "", "", "", 404, true},
		{"an unknown parameter", createLink, wash + "&color=red", "parameter_unknown", "color", 400, true},
		{"a long description", createLink, wash + "&payment_intent_data[description]=" + strings.Repeat("x", 1001), "",
			"payment_intent_data[description]", 400, true},
		{"a long message", createLink, wash + "&inactive_message=" + strings.Repeat("x", 501), "",
			"inactive_message", 400, true},
		{"a long suffix", createLink, wash + "&payment_intent_data[statement_descriptor_suffix]=" +
			strings.Repeat("x", 23), "", "payment_intent_data[statement_descriptor_suffix]", 400, true},
		{"a suffix of digits", createLink, wash + "&payment_intent_data[statement_descriptor_suffix]=123", "",
			"payment_intent_data[statement_descriptor_suffix]", 400, true},
		{"a suffix with a star", createLink, wash + "&payment_intent_data[statement_descriptor_suffix]=A*B", "",
			"payment_intent_data[statement_descriptor_suffix]", 400, true},
		{"a parameter that cannot be changed", createLink + "/plink_1", "line_items[0][price]=price_wash",
			"parameter_unknown", "line_items[0][price]", 400, true},
		{"an unknown property to expand", "GET /v1/prices/price_wash", "expand[]=color", "", "expand[]", 400, true},
		{"no line items", createLink, "metadata[a]=b", "parameter_missing", "line_items", 400, true},
		{"no quantity", createLink, "line_items[0][price]=price_wash", "", "line_items[0][quantity]", 400, true},
		{"a price that does not exist", createLink, "line_items[0][price]=price_0&line_items[0][quantity]=1",
			"resource_missing", "line_items[0][price]", 400, false},
		{"an inactive price", createLink, "line_items[0][price]=price_old&line_items[0][quantity]=1", "",
			"line_items[0][price]", 400, false},
		{"a subscription", createLink, "line_items[0][price]=price_monthly&line_items[0][quantity]=1", "",
			"line_items[0][price]", 400, false},
		{"too small an amount", createLink, "line_items[0][price]=price_small&line_items[0][quantity]=1",
			"amount_too_small", "", 400, false},
		{"too long a metadata value", createLink, wash + "&metadata[a]=" + long, "", "metadata[a]", 400, true},
		{"too long a metadata key", createLink, wash + "&metadata[" + long[:41] + "]=1", "",
			"metadata[" + long[:41] + "]", 400, true},
		{"a redirect to nowhere", createLink, wash + "&after_completion[type]=redirect", "",
			"after_completion", 400, true},
		{"a redirect to no address", createLink,
			wash + "&after_completion[type]=redirect&after_completion[redirect][url]=here", "url_invalid",
			"after_completion[redirect][url]", 400, true},
		{"no boolean", createLink + "/plink_1", "active=maybe", "", "active", 400, true},
		{"an unknown link", "GET /v1/payment_links/plink_0", "", "resource_missing", "id", 404, false},
		{"an unknown price", "GET /v1/prices/price_0", "", "resource_missing", "id", 404, false},
		{"an unknown session", "GET /v1/checkout/sessions/cs_0", "", "resource_missing", "id", 404, false},
		{"too large a page", "GET /v1/payment_links", "limit=101", "", "limit", 400, true},
		{"a page after nothing", "GET /v1/payment_links", "starting_after=plink_0", "resource_missing",
			"starting_after", 400, false},
		{"a session without a mode", "POST /v1/checkout/sessions", wash + "&success_url=https://a.example",
			"", "mode", 400, true},
		{"a session that expires too soon", "POST /v1/checkout/sessions",
			wash + "&mode=payment&success_url=https://a.example&expires_at=" + tooSoon, "", "expires_at", 400, true},
		{"a refund of nothing", "POST /v1/refunds", "", "", "", 400, true},
		{"a refund of an unknown intent", "POST /v1/refunds", "payment_intent=pi_0", "resource_missing",
			"payment_intent", 400, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			said := &reports{}
			s := newStripe(t, StripeConfig{Report: said})
			s.AddPrice(Price{ID: "price_old", Currency: "eur", Amount: 350})
			s.AddPrice(Price{ID: "price_monthly", Currency: "eur", Amount: 350, Active: true, Recurring: true})
			s.AddPrice(Price{ID: "price_small", Currency: "usd", Amount: 49, Active: true})
			s.AddLink(Link{ID: "plink_1", PriceID: "price_wash", Active: true})
			status, answer, _ := stripeCall(t, s, row.operation, row.params)
			code := strings.ReplaceAll(at(answer, "error.code"), "<nil>", "")
			param := strings.ReplaceAll(at(answer, "error.param"), "<nil>", "")
			if status != row.status || code != row.code || param != row.param ||
				at(answer, "error.type") != "invalid_request_error" {
				t.Errorf("got %d %v; want %d %s %s", status, answer, row.status, row.code, row.param)
			}
			if (said.count() > 0) != row.reported {
				t.Errorf("got reports %v; want reported %t", said.said, row.reported)
			}
			if links := s.Links(); len(links) != 1 || !links[0].Active {
				t.Errorf("got links %+v; want the one that was there, unchanged", links)
			}
		})
	}
	many := wash
	for i := range 51 {
		many += fmt.Sprintf("&metadata[k%d]=v", i)
	}
	said := &reports{}
	if status, _, _ := stripeCall(t, newStripe(t, StripeConfig{Report: said}), createLink, many); status != 400 ||
		said.count() != 1 {
		t.Errorf("51 metadata keys: got %d and %d reports; want 400 and 1", status, said.count())
	}
	status, _, _ := stripeCall(t, newStripe(t, StripeConfig{Report: said}), createLink, wash,
		"Content-Type", "application/json")
	if status != 400 || said.count() != 2 {
		t.Errorf("a JSON body: got %d and %d reports; want 400 and 2", status, said.count())
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, header string
		config       StripeConfig
		status       int
	}{
		{"any test key", "Bearer sk_test_1", StripeConfig{}, 200},
		{"any restricted test key", "Bearer rk_test_1", StripeConfig{}, 200},
		{"a key without a suffix", "Bearer sk_test_", StripeConfig{}, 401},
		{"a live key in test mode", "Bearer sk_live_1", StripeConfig{}, 401},
		{"a live key in live mode", "Bearer sk_live_1", StripeConfig{Livemode: true}, 200},
		{"the right key", "Bearer sk_test_right", StripeConfig{Key: "sk_test_right"}, 200},
		{"a wrong key", "Bearer sk_test_wrong", StripeConfig{Key: "sk_test_right"}, 401},
		{"basic authentication", "Basic c2tfdGVzdF8xOg==", StripeConfig{}, 200},
		{"no key", "", StripeConfig{}, 401},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			row.config.Report = t
			status, answer, _ := stripeCall(t, newStripe(t, row.config), "GET /v1/balance", "",
				"Authorization", row.header)
			if status != row.status || strings.Contains(fmt.Sprint(answer), "wrong") {
				t.Errorf("got %d %v; want %d and no key shown", status, answer, row.status)
			}
		})
	}
}

func TestIdempotencyKeys(t *testing.T) {
	t.Parallel()
	type step struct {
		key, params string
		status      int
		replayed    bool
	}
	again := step{"k", wash, 200, true}
	for _, row := range []struct {
		name     string
		outcomes []Outcome
		steps    []step
		links    int
		reported bool
	}{
		{"a repeat is answered from memory", nil, []step{{"k", wash, 200, false}, again, again}, 1, false},
		{"two keys make two links", nil, []step{{"k", wash, 200, false}, {"l", wash, 200, false}}, 2, false},
		{"without a key each makes a link", nil, []step{{"", wash, 200, false}, {"", wash, 200, false}}, 2, false},
		{"the same key with other parameters is refused", nil,
			[]step{{"k", wash, 200, false}, {"k", wash + "&active=true", 400, false}, again}, 1, true},
		{"a validation error is not stored", nil, []step{{"k", "line_items[0][price]=price_0&line_items[0][quantity]=1",
			400, false}, {"k", wash, 200, false}}, 1, false},
		{"a lost reply is replayed", []Outcome{{Applied: true}}, []step{{"k", wash, 0, false}, again}, 1, false},
		{"a request that never arrived is executed later", []Outcome{{}},
			[]step{{"k", wash, 0, false}, {"k", wash, 200, false}}, 1, false},
		{"a 429 comes before the key is looked at", []Outcome{{Status: 429}},
			[]step{{"k", wash, 429, false}, {"k", wash, 200, false}}, 1, false},
		{"a 500 without effect is stored", []Outcome{{Status: 500}},
			[]step{{"k", wash, 500, false}, {"k", wash, 500, true}, {"l", wash, 200, false}}, 1, false},
		{"a 500 with effect is stored too", []Outcome{{Applied: true, Status: 500}},
			[]step{{"k", wash, 500, false}, {"k", wash, 500, true}}, 1, false},
		{"a gateway's 502 hides a success", []Outcome{{Applied: true, Status: 502}},
			[]step{{"k", wash, 502, false}, again}, 1, false},
		{"a gateway's 502 in front of nothing is not stored", []Outcome{{Status: 502}},
			[]step{{"k", wash, 502, false}, {"k", wash, 200, false}}, 1, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			said := &reports{}
			s := newStripe(t, StripeConfig{Report: said})
			s.Next(createLink, row.outcomes...)
			for i, step := range row.steps {
				status, answer, header := stripeCall(t, s, createLink, step.params, "Idempotency-Key", step.key)
				if status != step.status || (header.Get("Idempotent-Replayed") == "true") != step.replayed {
					t.Errorf("step %d: got %d %v %v; want %d, replayed %t", i, status, answer, header,
						step.status, step.replayed)
				}
			}
			applied := 0
			for _, r := range s.Requests(createLink) {
				if r.Applied {
					applied++
				}
			}
			if got := len(s.Links()); got != row.links || applied != row.links {
				t.Errorf("got %d links by %d requests; want %d", got, applied, row.links)
			}
			if (said.count() > 0) != row.reported {
				t.Errorf("got reports %v; want reported %t", said.said, row.reported)
			}
		})
	}
}

func TestIdempotencyKeyInUseIsAConflict(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripe(t, StripeConfig{Report: t})
		s.Next(createLink, Outcome{Applied: true, Status: 200, Delay: time.Minute})
		done := make(chan object)
		go func() {
			_, answer, _ := stripeCall(t, s, createLink, wash, "Idempotency-Key", "k")
			done <- answer
		}()
		synctest.Wait()
		status, answer, _ := stripeCall(t, s, createLink, wash, "Idempotency-Key", "k")
		if status != http.StatusConflict || at(answer, "error.code") != "idempotency_key_in_use" {
			t.Errorf("got %d %v; want 409 idempotency_key_in_use", status, answer)
		}
		first := at(<-done, "id")
		if _, answer, _ := stripeCall(t, s, createLink, wash, "Idempotency-Key", "k"); at(answer, "id") != first {
			t.Errorf("got link %s; want %s again", at(answer, "id"), first)
		}
		time.Sleep(25 * time.Hour)
		if _, answer, _ := stripeCall(t, s, createLink, wash, "Idempotency-Key", "k"); at(answer, "id") == first {
			t.Error("a day later the same link was answered; want a new one")
		}
	})
}

func TestStripeLimitPerEndpoint(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripe(t, StripeConfig{PerSecond: 2, Report: t})
		var got []int
		reason := ""
		for _, operation := range []string{createLink, createLink, createLink, "GET /v1/payment_links",
			"GET /v1/prices/price_wash", "GET /v1/prices/price_wash", "GET /v1/prices/price_0"} {
			params := ""
			if operation == createLink {
				params = wash
			}
			status, _, header := stripeCall(t, s, operation, params)
			reason += header.Get("Stripe-Rate-Limited-Reason")
			got = append(got, status)
		}
		time.Sleep(time.Second)
		status, _, _ := stripeCall(t, s, createLink, wash)
		got = append(got, status)
		if want := []int{200, 200, 429, 200, 200, 200, 429, 200}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v; want %v", got, want)
		}
		if reason != "endpoint-rateendpoint-rate" {
			t.Errorf("got reason %q; want endpoint-rate twice", reason)
		}
	})
}

func TestPaging(t *testing.T) {
	t.Parallel()
	s := newStripe(t, StripeConfig{Report: t})
	for i := range 25 {
		s.AddLink(Link{ID: fmt.Sprintf("plink_%02d", i), PriceID: "price_wash", Active: i%5 != 0})
	}
	for _, row := range []struct {
		params      string
		count       int
		first, last string
		more        bool
	}{
		{"", 10, "plink_24", "plink_15", true},
		{"limit=100", 25, "plink_24", "plink_00", false},
		{"limit=20&active=true", 20, "plink_24", "plink_01", false},
		{"limit=19&active=true", 19, "plink_24", "plink_02", true},
		{"active=false", 5, "plink_20", "plink_00", false},
		{"limit=10&starting_after=plink_15", 10, "plink_14", "plink_05", true},
		{"limit=10&starting_after=plink_05", 5, "plink_04", "plink_00", false},
		{"limit=3&ending_before=plink_10", 3, "plink_13", "plink_11", true},
		{"limit=3&ending_before=plink_21", 3, "plink_24", "plink_22", false},
	} {
		_, answer, _ := stripeCall(t, s, "GET /v1/payment_links", row.params)
		data, _ := answer["data"].([]any)
		last := fmt.Sprintf("data.%d.id", len(data)-1)
		if len(data) != row.count || at(answer, "data.0.id") != row.first || at(answer, last) != row.last ||
			answer["has_more"] != row.more {
			t.Errorf("%q: got %d from %s to %s, has_more %v; want %+v", row.params, len(data), at(answer, "data.0.id"),
				at(answer, last), answer["has_more"], row)
		}
	}
}

func TestPriceHasAProduct(t *testing.T) {
	t.Parallel()
	s := newStripe(t, StripeConfig{Report: t})
	_, price, _ := stripeCall(t, s, "GET /v1/prices/price_wash", "expand[0]=product")
	for path, want := range map[string]string{"unit_amount": "350", "active": "true", "metadata.duration": "30m",
		"product.name": "Warm wash",
		"type":         "one_time"} {
		if got := at(price, path); got != want {
			t.Errorf("%s: got %s; want %s", path, got, want)
		}
	}
	_, product, _ := stripeCall(t, s, "GET /v1/products/"+at(price, "product.id"), "")
	if at(product, "name") != "Warm wash" {
		t.Errorf("got product %v; want Warm wash", product)
	}
	s.SetPrice("price_wash", func(p *Price) { p.Active, p.Amount = false, 400 })
	if _, price, _ := stripeCall(t, s, "GET /v1/prices/price_wash", ""); at(price, "unit_amount") != "400" ||
		at(price, "active") != "false" {
		t.Errorf("got %v; want 400, inactive", price)
	}
}

func TestMoneyFormat(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		amount         int64
		currency, want string
	}{{350, "eur", "3.50 EUR"}, {5, "usd", "0.05 USD"}, {500, "jpy", "500 JPY"}, {1234, "kwd", "1.234 KWD"}} {
		if got := money(row.amount, row.currency); got != row.want {
			t.Errorf("got %s; want %s", got, row.want)
		}
	}
}
