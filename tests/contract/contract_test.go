package contract

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"notepay/internal/sandbox"
)

const returnURL = "https://pay.example.com/payment/success?session_id={CHECKOUT_SESSION_ID}"

// scenario makes notepay send certain calls.
type scenario struct {
	name string
	run  func(*world)
}

func scenarios() []scenario {
	sent := `"machine":"sent"`
	return []scenario{
		{"a first start makes a link, and a payment at it becomes a note", func(w *world) {
			p := w.start()
			session := w.buy(w.selling(p, washer), sandbox.PayOptions{})
			p.payment(session.ID, sent, `"money":"paid"`)
		}},
		{"two prices make two links for a device", func(w *world) {
			w.start("STRIPE_PRICE_ID", warm+","+cold)
			w.links(washer, warm+" "+returnURL, cold+" "+returnURL)
		}},
		{"a restart with another price makes a new link and deactivates the old one", func(w *world) {
			p := w.start()
			w.selling(p, washer)
			p.stop()
			w.start("STRIPE_PRICE_ID", cold)
			w.links(washer, cold+" "+returnURL)
		}},
		{"a link that was deactivated in the Dashboard while notepay was stopped stays deactivated", func(w *world) {
			p := w.start()
			w.selling(p, washer)
			p.stop()
			w.stripe.SetLink(w.stripe.Links()[0].ID, false, 0)
			w.start()
			w.until(w.T, "it is read", func() bool { return w.stripe.Count("GET /v1/payment_links/{id}") > 0 })
			w.links(washer)
		}},
		{"a restart with another PUBLIC_URL changes where the link leads afterwards", func(w *world) {
			p := w.start()
			w.selling(p, washer)
			p.stop()
			w.start("PUBLIC_URL", "https://other.example.com")
			w.links(washer, warm+" https://other.example.com/payment/success?session_id={CHECKOUT_SESSION_ID}")
		}},
		{"a restart without PUBLIC_URL leaves customers on Stripe's own page", func(w *world) {
			p := w.start()
			w.selling(p, washer)
			p.stop()
			w.start("PUBLIC_URL", "")
			w.links(washer, warm)
		}},
		{"a device that was removed has its link deactivated, and activated when it is back", func(w *world) {
			w.notehub.AddDevice(sandbox.Device{UID: charger, Name: "Charger A"})
			p := w.start()
			w.selling(p, washer)
			w.notehub.RemoveDevice(washer)
			refresh(w, p)
			w.links(washer)
			w.notehub.AddDevice(sandbox.Device{UID: washer, Name: "Washer 3"})
			refresh(w, p)
			w.links(washer, warm+" "+returnURL)
		}},
		{
			"of two links for one device the second is deactivated, among pages of links that are not ours",
			func(w *world) {
				metadata := map[string]string{
					"app":        "notepay",
					"project":    project,
					"device_uid": washer,
					"price_id":   warm,
				}
				add := func() {
					w.stripe.AddLink(sandbox.Link{PriceID: warm, ReturnURL: returnURL,
						Active: true, Metadata: metadata})
				}
				add()
				for range 150 {
					w.stripe.AddLink(sandbox.Link{PriceID: cold, Active: true})
				}
				add()
				w.start()
				w.links(washer, warm+" "+returnURL)
			},
		},
		{"the success page asks Stripe for a session of which no webhook came", func(w *world) {
			p := w.start()
			session := w.buy(w.selling(p, washer), sandbox.PayOptions{NoWebhook: true})
			status, location, body := p.get("/payment/success?session_id=" + session.ID)
			if status != http.StatusSeeOther || !strings.HasPrefix(location, "/session/") {
				w.Errorf("the success page answered %d to %q: %s; want 303 to the live page", status, location, body)
			}
			p.payment(session.ID, sent)
		}},
		{"a session that completed without money is looked at, and paid for later", func(w *world) {
			p := w.start()
			session := w.buy(w.selling(p, washer), sandbox.PayOptions{Unpaid: true})
			w.until(w.T, "the session is read",
				func() bool { return w.stripe.Count("GET /v1/checkout/sessions/{id}") > 0 })
			w.stripe.Succeed(session.ID)
			p.payment(session.ID, sent)
		}},
		{"an event of the payment intent alone makes its session be looked up", func(w *world) {
			p := w.start()
			session := w.buy(w.selling(p, washer), sandbox.PayOptions{EventsFirst: "only-intent"})
			p.payment(session.ID, sent)
		}},
		{"only the devices of one fleet are listed", func(w *world) {
			w.notehub.AddDevice(sandbox.Device{UID: charger, Name: "Charger A"})
			p := w.start("NOTEHUB_FLEET_UID", fleet)
			w.selling(p, washer)
			w.links(charger)
		}},
		{"a scan of a device that was added just now makes it be looked up", func(w *world) {
			p := w.start("NOTEHUB_CLIENT_ID", "", "NOTEHUB_CLIENT_SECRET", "", "NOTEHUB_TOKEN", accessToken)
			w.selling(p, washer)
			w.notehub.AddDevice(sandbox.Device{UID: charger, Name: "Charger A"})
			w.selling(p, charger)
		}},
		{"after an unclear note, the pending notes are read first", func(w *world) {
			w.notehub.Next(postNote, sandbox.Outcome{Applied: true, Status: http.StatusInternalServerError})
			p := w.start()
			session := w.buy(w.selling(p, washer), sandbox.PayOptions{})
			p.payment(session.ID, sent, `"action":"check_pending"`)
			if n := len(w.notehub.Notes(washer)); n != 1 {
				w.Errorf("the machine has %d notes; want 1", n)
			}
		}},
		{"a token that died is replaced, and a full quota is waited for", func(w *world) {
			p := w.start()
			link := w.selling(p, washer)
			w.notehub.RevokeTokens()
			w.notehub.Next(postNote, sandbox.Outcome{Status: http.StatusTooManyRequests,
				Header: http.Header{"Retry-After": {"1"}}})
			session := w.buy(link, sandbox.PayOptions{})
			p.payment(session.ID, sent)
		}},
		{"a note is signed and encrypted with the public key of its Notecard", func(w *world) {
			p := w.start("ENCRYPT_NOTES", "experimental", "NOTE_SIGN_KEY", strings.Repeat("0f", 32),
				"CONFIRM_WITHIN", "90s")
			session := w.buy(w.selling(p, washer), sandbox.PayOptions{})
			p.payment(session.ID, sent)
			for _, note := range w.notehub.Notes(washer) {
				read := w.notehub.Decrypted(note).Body
				if note.Body["session_id"] != nil || read["session_id"] != session.ID || read["sig"] == nil {
					w.Errorf("the note %v is read as %v; want the session and a signature, encrypted", note.Body, read)
				}
			}
		}},
		{"a session is made for a purchase, given out again, and paid", func(w *world) {
			p := w.start("CHECKOUT", "session")
			browser := []string{"Cookie", "notepay_browser=ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
			var pays string
			press := func() {
				w.Helper()
				w.until(w.T, "the button leads to a session", func() bool {
					var status int
					status, pays, _ = p.post("/use/"+washer, "price_id="+warm, browser...)
					return status == http.StatusSeeOther && strings.Contains(pays, "/c/pay/cs_")
				})
			}
			press()
			if first := pays; first != "" {
				if press(); pays != first {
					w.Errorf("the second time the button led to %s; want %s again", pays, first)
				}
			}
			session := w.buy(pays, sandbox.PayOptions{})
			p.payment(session.ID, sent, `"plan":"Warm wash"`)
		}},
		{"a session that only holds the money ends when its machine is paused", func(w *world) {
			p := w.start("CHECKOUT", "session", "CAPTURE", "on_start", "CONFIRM_WITHIN", "2m")
			var pays string
			w.until(w.T, "the button leads to a session", func() bool {
				_, pays, _ = p.post("/use/"+washer, "price_id="+warm)
				return strings.Contains(pays, "/c/pay/cs_")
			})
			p.post("/api/devices/"+washer+"/pause", "", "Authorization", "Bearer "+operatorToken)
			w.until(w.T, "the session has ended", func() bool {
				session, _ := w.stripe.Session(pays[strings.LastIndex(pays, "/")+1:])
				return session.Status == "expired"
			})
			w.until(w.T, "what machines answered is read",
				func() bool { return w.notehub.Count("GET /v1/projects/{project}/events-cursor") > 0 })
		}},
		{"an account is set up, cut off once, and everything in it is checked with a restricted key", func(w *world) {
			w.stripe.Next("POST /v1/webhook_endpoints",
				sandbox.Outcome{Applied: true, Status: http.StatusInternalServerError})
			w.command(1, "Warm wash\neur\n3.50\n", "setup")
			if out := w.command(0, "", "setup"); !strings.Contains(out, "exists already") {
				w.Errorf("setup says %s; want that price and endpoint are there", out)
			}
			w.notehub.SetRoute("https://pay.example.com/webhook/notehub", webhookSecret)
			// The exit code is 1 because pay.example.com does not exist.
			out := w.command(1, "", "check", "STRIPE_SECRET_KEY", "rk_test_0123456789", "CONFIRM_WITHIN", "90s",
				"NOTEHUB_ROUTE_TOKEN", webhookSecret)
			for _, line := range []string{"Stripe key permissions", "Default price", "Webhook delivery",
				"Device connections", "Confirmation route"} {
				if !strings.Contains(out, "ok       "+line+": ") {
					w.Errorf("check does not say ok of %q: %s", line, out)
				}
			}
		}},
	}
}

// refresh makes notepay list the devices again.
func refresh(w *world, p *program) {
	w.Helper()
	if status, _, body := p.get("/refresh-devices", "Authorization", "Bearer "+operatorToken); status != http.StatusOK {
		w.Fatalf("refresh answered %d %s; want 200", status, body)
	}
}

// usedOfStripe and usedOfNotehub return all operations that notepay uses. An operation that no
// scenario reaches fails the test too, because it would not be checked.
func usedOfStripe() []string {
	return []string{
		"GET /v1/balance_transactions", "GET /v1/checkout/sessions", "GET /v1/checkout/sessions/{id}",
		"GET /v1/disputes", "GET /v1/events", "GET /v1/payouts",
		"GET /v1/payment_links", "GET /v1/payment_links/{id}", "GET /v1/prices", "GET /v1/prices/{id}",
		"GET /v1/products", "GET /v1/webhook_endpoints", "POST /v1/checkout/sessions",
		"POST /v1/checkout/sessions/{id}/expire", "POST /v1/payment_intents/{id}/cancel", "POST /v1/payment_links",
		"POST /v1/payment_links/{id}", "POST /v1/prices", "POST /v1/products", "POST /v1/refunds",
		"POST /v1/webhook_endpoints",
	}
}

func usedOfNotehub() []string {
	return []string{
		"AddQiNote", "GetDevice", "GetDeviceEnvironmentVariables", "GetDevicePublicKeys", "GetDeviceSessions",
		"GetDevices",
		"GetEventsByCursor", "GetFleetDevices", "GetFleets", "GetNotefile", "GetProject",
		"GetProjectEnvironmentVariables", "GetRoute", "GetRoutes", "ListNotefiles",
		"OAuth2ClientCredentials",
	}
}

// TestContract makes notepay send each of its calls, and checks each against what its vendor
// publishes.
func TestContract(t *testing.T) {
	t.Parallel()
	stripe, notehub := newStripeMock(t), &notehubAPI{}
	var notehubProxy proxy
	if os.Getenv("NOTEHUB_OPENAPI") != "" {
		notehub = newNotehubAPI(t)
		notehubProxy = notehub.proxy
	}
	t.Run("when", func(t *testing.T) {
		for _, s := range scenarios() {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				s.run(newWorld(t, stripe.proxy, notehubProxy))
			})
		}
	})
	t.Run("every call to Stripe was checked", func(t *testing.T) {
		stripe.report(t, "stripe-mock", usedOfStripe())
	})
	t.Run("every call to Notehub was checked", func(t *testing.T) {
		if notehub.router == nil {
			newNotehubAPI(t) // skips or fails with the reason
		}
		notehub.report(t, "Notehub's description", usedOfNotehub())
	})
}

// report logs how many calls were checked, and compares their operations with the expected ones.
func (c *calls) report(t *testing.T, against string, used []string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	sum, list := 0, []string{}
	for _, operation := range slices.Sorted(maps.Keys(c.seen)) {
		sum += c.seen[operation]
		list = append(list, fmt.Sprintf("%s %d", operation, c.seen[operation]))
		if !slices.Contains(used, operation) {
			t.Errorf("%s was called and is not among the operations that notepay is said to use", operation)
		}
	}
	for _, operation := range used {
		if c.seen[operation] == 0 {
			t.Errorf("%s was never called: it is not checked", operation)
		}
	}
	t.Logf("contract: %d calls checked against %s: %s", sum, against, strings.Join(list, ", "))
}
