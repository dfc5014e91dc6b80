package sandbox

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// browser is a customer at the hosted checkout, over a real socket.
type browser struct {
	t      *testing.T
	client *http.Client
	base   string
}

func newBrowser(t *testing.T, s *Stripe) *browser {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.SetBaseURL(server.URL)
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{t, client, server.URL}
}

// read returns the status, the page and the redirect's location.
func (b *browser) read(answer *http.Response, err error) (int, string, string) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer.StatusCode, string(text), answer.Header.Get("Location")
}

// open opens a link and returns the address of its form.
func (b *browser) open(link string) (page, action string) {
	b.t.Helper()
	_, page, _ = b.read(b.client.Get(link))
	if found := regexp.MustCompile(`action="([^"]+)"`).FindStringSubmatch(page); found != nil {
		action = b.base + found[1]
	}
	return page, action
}

func (b *browser) post(address, field, value string) (int, string, string) {
	b.t.Helper()
	return b.read(b.client.PostForm(address, url.Values{field: {value}}))
}

func TestCheckoutForm(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, card, text string
		status           int
		paid             bool
		event            string
	}{
		{"a card that pays", "4242 4242 4242 4242", "", 303, true, "payment_intent.succeeded"},
		{"a card that is declined", "4000000000000002", "Your card was declined.", 200, false,
			"payment_intent.payment_failed"},
		{"a card without funds", "4000 0000 0000 9995", "Your card has insufficient funds.", 200, false,
			"payment_intent.payment_failed"},
		{"a blocked card", "4100000000000019", "Your card was declined.", 200, false, "payment_intent.payment_failed"},
		{"a real card", "4111111111111111", "Use one of the test cards.", 200, false, "payment_intent.payment_failed"},
		{"no card", "", "Your card number is incomplete.", 200, false, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s, _, link := payable(t, StripeConfig{})
			b := newBrowser(t, s)
			link = s.Links()[0]
			page, action := b.open(link.URL)
			for _, want := range []string{"SIMULATED CHECKOUT, NO REAL MONEY", "Warm wash", "3.50 EUR", machine1,
				"4242 4242 4242 4242"} {
				if !strings.Contains(page, want) {
					t.Errorf("the page does not say %q", want)
				}
			}
			status, page, redirect := b.post(action, "card", row.card)
			if status != row.status || !strings.Contains(page, row.text) {
				t.Errorf("got %d %s; want %d with %q", status, page, row.status, row.text)
			}
			x := s.Sessions()[0]
			if want := "https://bridge.example/payment/success?session_id=" + x.ID; row.paid && redirect != want {
				t.Errorf("got a redirect to %q; want %q", redirect, want)
			}
			if paid := x.PaymentStatus == "paid"; paid != row.paid || (x.Status == "open") == row.paid {
				t.Errorf("got %+v; want paid %t", x, row.paid)
			}
			events := s.Events()
			if row.event == "" && len(events) > 0 || row.event != "" && events[len(events)-1].Type != row.event {
				t.Errorf("got events %+v; want %s last", events, row.event)
			}
			for _, r := range s.Requests("POST /c/{all...}") {
				if digits := strings.ReplaceAll(row.card, " ", ""); digits != "" &&
					strings.Contains(string(r.Body), digits[:4]) {
					t.Errorf("got %s remembered; want no card number", r.Body)
				}
			}
			if status, _, _ := b.post(action, "card", "4242424242424242"); status != 303 {
				t.Errorf("then with a good card, or pressed twice: got %d; want 303", status)
			}
			if got := len(s.Sessions()); got != 1 {
				t.Errorf("got %d sessions; want 1", got)
			}
		})
	}
}

func TestCheckoutAsksForAuthentication(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{"complete": "complete", "fail": "open"} {
		t.Run(answer, func(t *testing.T) {
			t.Parallel()
			s, _, _ := payable(t, StripeConfig{})
			b := newBrowser(t, s)
			_, action := b.open(s.Links()[0].URL)
			_, page, _ := b.post(action, "card", cardToConfirm)
			if !strings.Contains(page, "Complete") || !strings.Contains(page, "Fail") ||
				s.Sessions()[0].Status != "open" {
				t.Errorf("got %s; want to be asked first", page)
			}
			b.post(action, "confirm", answer)
			if got := s.Sessions()[0].Status; got != want {
				t.Errorf("got a session that is %s; want %s", got, want)
			}
		})
	}
}

func TestCheckoutWithNothingToPay(t *testing.T) {
	t.Parallel()
	s, _, _ := payable(t, StripeConfig{})
	b := newBrowser(t, s)
	plain := s.AddLink(Link{PriceID: "price_wash", Active: true, DeviceUID: "<script>"})
	closed := s.AddLink(Link{PriceID: "price_wash"})
	stripeCall(t, s, createLink+"/"+closed.ID, "inactive_message=Out of order until Monday")
	page, action := b.open(plain.URL)
	if strings.Contains(page, "<script>") {
		t.Error("the page shows what it was given unescaped")
	}
	if _, page, redirect := b.post(action, "card", "4242424242424242"); redirect != "" ||
		!strings.Contains(page, "Thanks for your payment") {
		t.Errorf("got %q and a redirect to %q; want a confirmation", page, redirect)
	}
	if page, _ := b.open(closed.URL); !strings.Contains(page, "no longer active") ||
		!strings.Contains(page, "Out of order until Monday") {
		t.Errorf("got %s; want it to say that the link is inactive", page)
	}
	if status, _, _ := b.read(b.client.Get(b.base + "/c/plink_0")); status != http.StatusNotFound {
		t.Errorf("got %d for an unknown link; want 404", status)
	}
}

func TestCheckoutWaitsForTheWebhook(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name     string
		delivery Delivery
		unknown  StripeUnknown
		want     time.Duration
	}{
		{"the answer comes after 3 s", Delivery{Late: 3 * time.Second}, StripeUnknown{}, 3 * time.Second},
		{"the answer comes too late", Delivery{Late: time.Minute}, StripeUnknown{}, 10 * time.Second},
		{"nothing is sent", Delivery{Lost: true}, StripeUnknown{}, 0},
		{"links do not wait", Delivery{Late: 3 * time.Second}, StripeUnknown{LinksDoNotWait: true}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, _, link := payable(t, StripeConfig{Unknown: row.unknown})
				s.SetDelivery(row.delivery)
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, link.URL,
					strings.NewReader("card=4242424242424242"))
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				answer, err := InProcess(s).RoundTrip(r)
				if err != nil || answer.StatusCode != http.StatusSeeOther || time.Since(began) != row.want {
					t.Errorf("got %+v, %v after %v; want 303 after %v", answer, err, time.Since(began), row.want)
				}
			})
		})
	}
}
