package check_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/apptest"
	"notepay/internal/check"
	"notepay/internal/fixture"
	"notepay/internal/message"
	"notepay/internal/sandbox"
)

func TestRunNamesEachFaultOnce(t *testing.T) {
	t.Parallel()
	set := func(pairs ...string) func(*checked) {
		return func(c *checked) {
			for i := 0; i < len(pairs); i += 2 {
				c.env[pairs[i]] = pairs[i+1]
			}
		}
	}
	encrypting := set(
		"NOTE_SIGN_KEY", strings.Repeat("0a", 32), "CONFIRM_WITHIN", "2m", "ENCRYPT_NOTES", "experimental")
	restricted := set("STRIPE_SECRET_KEY", "rk_test_0123456789")
	nowhere := httptest.NewServer(nil)
	nowhere.Close()
	answers := func(status int, body string) func(*checked) {
		return func(c *checked) {
			c.health = func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body)
			}
		}
	}
	wrongClock := func(by time.Duration) func(*checked) {
		return func(c *checked) {
			o := sandbox.Outcome{
				Applied: true,
				Status:  200,
				Header:  http.Header{"Date": {time.Now().Add(by).UTC().Format(http.TimeFormat)}},
			}
			c.stripe.Always("{any} /{all...}", o)
			c.notehub.Always("{any} /{all...}", o)
		}
	}
	const mayNot = "The provided key 'rk_test_***' does not have the required permissions for this endpoint. " +
		"Having the 'rak_refund_write' permission would allow this request."
	const otherMode = "No such price: 'price_warm'; a similar object exists in live mode, " +
		"but a test mode key was used to make this request."
	device := func(change func(*sandbox.Device)) func(*checked) {
		return func(c *checked) { c.notehub.SetDevice(fixture.Washer, change) }
	}
	price := func(change func(*sandbox.Price)) func(*checked) {
		return func(c *checked) { c.stripe.SetPrice(fixture.Warm, change) }
	}
	failed := func(name, detail, remedy string) check.Result {
		return check.Result{Name: name, State: check.Failed, Detail: message.New(detail), Remedy: message.New(remedy)}
	}
	warned := func(name, detail, remedy string) check.Result {
		return check.Result{Name: name, State: check.Warned, Detail: message.New(detail), Remedy: message.New(remedy)}
	}
	for name, f := range map[string]struct {
		live  bool
		fault func(*checked)
		want  check.Result // with a part of the detail and of the remedy
	}{
		"a key with a bracket": {
			fault: set("STRIPE_SECRET_KEY", `sk_test_0123456789>`),
			want:  failed("Secret format", "STRIPE_SECRET_KEY", "copy the value again"),
		},
		"a secret with a bracket": {
			fault: set("NOTEHUB_CLIENT_SECRET", "secret-of-client>"),
			want:  failed("Secret format", "NOTEHUB_CLIENT_SECRET", "copy the value again"),
		},
		"a key that Stripe does not know": {
			fault: func(c *checked) {
				c.stripe.Always("{any} /v1/{all...}", says(401, "", "Invalid API Key provided: sk_test_****"))
			},
			want: failed("Stripe connection", "Invalid API Key", "dashboard.stripe.com/apikeys"),
		},
		"a Stripe that is not reached": {
			fault: set("STRIPE_API_URL", nowhere.URL),
			want:  failed("Stripe connection", "not reached", "firewall"),
		},
		"a restricted key that may not refund": {
			fault: func(c *checked) {
				restricted(c)
				c.stripe.Always("POST /v1/refunds", says(403, "more_permissions_required", mayNot))
			},
			want: failed("Stripe key permissions", "Having the 'rak_refund_write' permission", "give the key"),
		},
		"a restricted key that may not see prices": {
			fault: func(c *checked) {
				restricted(c)
				c.stripe.Always("GET /v1/prices", says(403, "", mayNot))
				c.stripe.Always("GET /v1/prices/{id}", says(403, "", mayNot))
			},
			want: failed("Stripe key permissions", "read Prices", "give the key"),
		},
		"a restricted key that may not see fees": {
			fault: func(c *checked) {
				restricted(c)
				c.stripe.Always("GET /v1/balance_transactions", says(403, "", mayNot))
			},
			want: warned("Stripe key permissions", "read Balance transactions", "for fees and payouts"),
		},
		"a restricted key that may list no link, to which Stripe answers 401": {
			fault: func(c *checked) {
				restricted(c)
				c.stripe.Always("{any} /v1/payment_links", says(401, "", mayNot))
				c.stripe.Always("{any} /v1/payment_links/{id}", says(401, "", mayNot))
			},
			want: failed("Stripe key permissions", "write Payment Links", "give the key"),
		},
		"a test key and a live price": {
			fault: func(c *checked) {
				c.stripe.Always("GET /v1/prices/{id}", says(404, "resource_missing", otherMode))
			},
			want: failed("Test and live mode", "is a live price", "same mode"),
		},
		"a live key without https": {
			live: true,
			fault: func(c *checked) {
				set("PUBLIC_URL", "http://192.168.1.7")(c)
				c.notehub.SetRoute("http://192.168.1.7/webhook/notehub", apptest.RouteToken)
				c.register("http://192.168.1.7/webhook/stripe", stripe.APIVersion, "*")
				c.public = &http.Client{Transport: sandbox.InProcess(c.health)}
			},
			want: failed("Test and live mode", "http://192.168.1.7", "https://"),
		},
		"a price that is not there": {
			fault: set("STRIPE_PRICE_ID", "price_gone"),
			want:  failed("Default price", "No such price", "active one-time"),
		},
		"a price that is put away": {
			fault: price(func(p *sandbox.Price) { p.Active = false }),
			want:  failed("Default price", "not active", "active one-time"),
		},
		"a price that recurs": {
			fault: price(func(p *sandbox.Price) { p.Recurring = true }),
			want:  failed("Default price", "recurring", "active one-time"),
		},
		"a price of five cents": {
			fault: price(func(p *sandbox.Price) { p.Amount = 5 }),
			want:  failed("Default price", "below the 50", "active one-time"),
		},
		"no webhooks": {
			fault: set("STRIPE_WEBHOOK_SECRET", "off", "CONFIRM_WITHIN", "10m"),
			want:  warned("Webhook secret", "5m", "STRIPE_WEBHOOK_SECRET"),
		},
		"no endpoint": {
			fault: func(c *checked) { c.change(nil) },
			want:  failed("Webhook delivery", webhookURL, "notepay setup"),
		},
		"an endpoint at another address": {
			fault: set("PUBLIC_URL", "https://www.example.com", "NOTEHUB_ROUTE_TOKEN", ""),
			want:  failed("Webhook delivery", "https://www.example.com/webhook/stripe", "notepay setup"),
		},
		"an endpoint that Stripe turned off": {
			fault: func(c *checked) { c.change(&stripe.WebhookEndpointUpdateParams{Disabled: stripe.Bool(true)}) },
			want:  failed("Webhook delivery", "disabled", "enable"),
		},
		"an endpoint that lacks an event": {
			fault: func(c *checked) {
				events := []string{"checkout.session.completed", "charge.refunded"}
				c.change(&stripe.WebhookEndpointUpdateParams{EnabledEvents: stripe.StringSlice(events)})
			},
			want: failed("Webhook delivery", "charge.dispute.created", "add them"),
		},
		"an endpoint of another version": {
			fault: func(c *checked) { c.change(nil); c.register(webhookURL, "2024-06-20", "*") },
			want:  warned("Webhook API version", "2024-06-20", "make another"),
		},
		"a wrong secret for Notehub": {
			fault: set("NOTEHUB_CLIENT_SECRET", "another"),
			want:  failed("Notehub sign-in", "client authentication failed", "OAuth client"),
		},
		"a token that has expired": {
			fault: set("NOTEHUB_CLIENT_ID", "", "NOTEHUB_CLIENT_SECRET", "", "NOTEHUB_TOKEN", "expired-token"),
			want:  failed("Notehub sign-in", "does not accept the token", "expire"),
		},
		"a Notehub that is not reached": {
			fault: set("NOTEHUB_API_URL", nowhere.URL, "NOTEHUB_AUTH_URL", nowhere.URL),
			want:  failed("Notehub sign-in", "not reached", "firewall"),
		},
		"another project": {
			fault: set("NOTEHUB_PROJECT_UID", "app:other"),
			want:  failed("Notehub project", "app:other", "NOTEHUB_PROJECT_UID"),
		},
		"no device": {
			fault: func(c *checked) { c.notehub.RemoveDevice(fixture.Washer) },
			want:  failed("Notehub devices", "no device", "hub.set"),
		},
		"another fleet": {
			fault: set("NOTEHUB_FLEET_UID", "fleet:2"),
			want:  failed("Notehub devices", "fleet:2", "NOTEHUB_FLEET_UID"),
		},
		"all devices disabled": {
			fault: device(func(d *sandbox.Device) { d.Disabled = true }),
			want:  failed("Notehub devices", "disabled", "enable"),
		},
		"a device that connects from time to time": {
			fault: device(func(d *sandbox.Device) { d.Periodic = true }),
			want:  warned("Device connections", fixture.Washer, "continuous"),
		},
		"a device that was never there": {
			fault: device(func(d *sandbox.Device) { d.LastActivity = time.Time{} }),
			want:  warned("Device connections", "never connected", "continuous"),
		},
		"a project that names a price that is not there": {
			fault: func(c *checked) {
				c.notehub.SetProjectVariables(map[string]string{"stripe_price_id": fixture.Warm + ", price_gone"})
			},
			want: failed("Notehub variables", "the project names price_gone", "stripe_price_id"),
		},
		"a fleet that does": {
			fault: func(c *checked) {
				c.notehub.AddFleet("fleet:1", "", map[string]string{"STRIPE_PRICE_ID": "price_gone"})
			},
			want: failed("Notehub variables", "fleet fleet:1 names price_gone", "stripe_price_id"),
		},
		"a fleet whose variables are none": {
			fault: func(c *checked) {
				c.notehub.Always(fixture.HubFleets, sandbox.Outcome{
					Status: 200,
					Body:   `{"fleets":[{"uid":"fleet:1","environment_variables":[]}]}`,
				})
			},
			want: warned("Notehub variables", "fleet fleet:1: environment_variables", "Notehub"),
		},
		"a fleet without a UID": {
			fault: func(c *checked) {
				c.notehub.Always(fixture.HubFleets, sandbox.Outcome{Status: 200, Body: `{"fleets":[{"label":"x"}]}`})
			},
			want: warned("Notehub variables", "the list of fleets: a record has no uid", "Notehub"),
		},
		"a device that does": {
			fault: device(func(d *sandbox.Device) { d.Variables = map[string]string{"stripe_price_id": "price_gone"} }),
			want:  failed("Notehub variables", "device "+fixture.Washer+" names price_gone", "stripe_price_id"),
		},
		"a device with a lifetime that cannot be": {
			fault: device(func(d *sandbox.Device) { d.Variables = map[string]string{"credit_lifetime": "1s"} }),
			want: failed("Notehub variables", "device "+fixture.Washer+`: credit_lifetime: "1s": at least 10s`,
				"credit_lifetime"),
		},
		"no route": {
			fault: func(c *checked) { c.notehub.SetRoute("", "") },
			want:  failed("Confirmation route", "of 0 routes", "payment_ack.qo"),
		},
		"a route to another place": {
			fault: func(c *checked) {
				c.notehub.SetRoute("https://old.example.com/webhook/notehub", apptest.RouteToken)
			},
			want: failed("Confirmation route", "of 1 routes", "payment_ack.qo"),
		},
		"a route that is disabled": {
			fault: func(c *checked) {
				c.notehub.Always("GET /v1/projects/{p}/routes", sandbox.Outcome{
					Applied: true,
					Status:  200,
					Body:    `[{"uid":"route:1","type":"http","disabled":true}]`,
				})
			},
			want: failed("Confirmation route", "of 1 routes", "payment_ack.qo"),
		},
		"a route to another place, behind an odd one": {
			fault: func(c *checked) {
				c.notehub.Always("GET /v1/projects/{p}/routes", sandbox.Outcome{
					Applied: true,
					Status:  200,
					Body:    `[{"uid":"route:1","type":"http","disabled":true},{"uid":"route:2","type":"mqtt","x":[]}]`,
				})
			},
			want: failed("Confirmation route", "of 2 routes", "payment_ack.qo"),
		},
		"a route for another notefile": {
			fault: set("ACK_FILE", "washers_ack.qos"),
			want:  failed("Confirmation route", "not for washers_ack.qos", "washers_ack.qos"),
		},
		"a payment that waits in another notefile": {
			fault: func(c *checked) {
				set("NOTE_FILE", "washers.qis")(c)
				c.notehub.Always("GET /v1/projects/{p}/devices/{d}/files", sandbox.Outcome{
					Applied: true,
					Status:  200,
					Body: `[{"id":"washers.qis","notes":[{"id":"1:1","body":{"credit_id":"cr_1"}}]},` +
						`{"id":"other.qi","notes":[{"id":"1:1","body":{"text":"cr_1"}},{"body":{"credit_id":5}},7,` +
						`{"body":"odd"},{"body":{"alg":{}}}]},{"id":7},null,{"id":"more.qi","notes":"none"},` +
						`{"id":"payment.qi","notes":[{"id":"1:2","body":{"credit_id":"cr_2"}}]}]`,
				})
			},
			want: warned("Notefiles", "1 in payment.qi of "+fixture.Washer, "recalls"),
		},
		"notes that are encrypted": {
			fault: encrypting,
			want:  warned("Note encryption", "experimental: all 1 devices", "U18"),
		},
		"notes that are encrypted, and no key": {
			fault: func(c *checked) { encrypting(c); c.notehub.SetPublicKey(fixture.Washer, "") },
			want: failed("Note encryption",
				"no device has a public key, so none is sold: "+fixture.Washer, "ENCRYPT_NOTES=off"),
		},
		"notes that are encrypted, and a device without key": {
			fault: func(c *checked) {
				encrypting(c)
				c.notehub.AddDevice(sandbox.Device{UID: "dev:12", LastActivity: time.Now()})
				c.notehub.SetPublicKey("dev:12", "none")
			},
			want: warned("Note encryption", "1 of 2 devices have no public key", "ENCRYPT_NOTES=off"),
		},
		"notes that are encrypted, and keys that cannot be read": {
			fault: func(c *checked) {
				encrypting(c)
				c.notehub.Always("GET /v1/projects/{p}/devices/public-keys", sandbox.Outcome{Status: 403})
			},
			want: failed("Note encryption", "could not be read", "ENCRYPT_NOTES=off"),
		},
		"no directory for the ledger": {
			fault: set("DATABASE_URL", filepath.Join(t.TempDir(), "no", "notepay.db")),
			want:  failed("Ledger access", "no such file", "DATABASE_URL"),
		},
		"a ledger on a network disk": {
			fault: func(c *checked) { c.disk = "nfs" },
			want:  failed("Ledger disk", "nfs", "local disk"),
		},
		"no backups": {
			fault: set("BACKUP_DIR", ""),
			want:  warned("Backups", "no backups are made", "another disk"),
		},
		"no backup yet": {
			fault: set("BACKUP_DIR", t.TempDir()),
			want:  warned("Backups", "holds no backup yet", "start notepay"),
		},
		"an old backup": {
			fault: set("BACKUP_DIR", directoryWith(t, "notepay-20200101T000000Z.db")),
			want:  warned("Backups", "old", "check that notepay runs"),
		},
		"a disk that is nearly full": {
			fault: func(c *checked) { c.free = 10 << 20 },
			want:  failed("Disk space", "10 MB are free", "enlarge"),
		},
		"a disk that fills up": {
			fault: func(c *checked) { c.free = 100 << 20 },
			want:  warned("Disk space", "sales stop when 17 MB", "enlarge"),
		},
		"a clock that is behind": {
			fault: wrongClock(time.Minute),
			want:  failed("Clock", "behind", "NTP"),
		},
		"a clock that is ahead": {
			fault: wrongClock(-time.Minute),
			want:  failed("Clock", "ahead", "NTP"),
		},
		"an address that does not answer": {
			fault: func(c *checked) {
				c.health = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
			},
			want: failed("Public address", "does not answer", "firewall"),
		},
		"an address that leads on": {
			fault: func(c *checked) {
				c.health = http.RedirectHandler("https://www.example.com/", http.StatusMovedPermanently).ServeHTTP
			},
			want: failed("Public address", "www.example.com", "redirect"),
		},
		"an address at which something else is": {
			fault: answers(404, "no such page"),
			want:  failed("Public address", "something else", "PUBLIC_URL"),
		},
		"a proxy with nothing behind it": {
			fault: answers(502, "bad gateway"),
			want:  warned("Public address", "502", "start notepay"),
		},
		"a notepay that cannot record": {
			fault: answers(503, `{"status":"unavailable","version":"v1"}`),
			want:  warned("Public address", "unavailable", "log"),
		},
		"a certificate that no authority has signed": {
			fault: func(c *checked) { c.public = untrusting(c.public) },
			want:  failed("Certificate", "unknown authority", "renew"),
		},
		"an operator without a token": {
			fault: set("OPERATOR_TOKEN", ""),
			want:  warned("Operator token", "OPERATOR_TOKEN is not set", "16 characters"),
		},
		"customers without a contact": {
			fault: set("SUPPORT_CONTACT", ""),
			want:  warned("Support contact", "SUPPORT_CONTACT is not set", "e-mail address"),
		},
		"an operator who is not told": {
			fault: set("ALERT_URLS", ""),
			want:  warned("Alerts", "ALERT_URLS is not set", "set ALERT_URLS"),
		},
		"no public address": {
			fault: set("PUBLIC_URL", "", "NOTEHUB_ROUTE_TOKEN", ""),
			want:  warned("Public address", "PUBLIC_URL is not set", "set PUBLIC_URL"),
		},
		"machines that do not confirm": {
			fault: set("CONFIRM_WITHIN", "0"),
			want:  warned("Machine confirmations", "counts as delivered", "set CONFIRM_WITHIN, such as 2m"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newChecked(t, f.live)
			f.fault(c)
			found := false
			for _, r := range c.run() {
				switch {
				case r.Name == f.want.Name:
					found = true
					if r.State != f.want.State || !strings.Contains(r.Detail.String(), f.want.Detail.String()) ||
						!strings.Contains(r.Remedy.String(), f.want.Remedy.String()) {
						t.Errorf("%+v; want %+v", r, f.want)
					}
				case r.State != check.OK && r.State != check.Skipped:
					t.Errorf("%+v; want only %q", r, f.want.Name)
				}
				for _, secret := range []string{
					c.env["STRIPE_SECRET_KEY"], fixture.TestSecret, "secret-of-client",
					apptest.RouteToken, c.env["OPERATOR_TOKEN"],
				} {
					if secret != "" && strings.Contains(r.Detail.String()+r.Remedy.String(), secret) {
						t.Errorf("%+v shows a secret", r)
					}
				}
			}
			if !found {
				t.Errorf("no check is named %q", f.want.Name)
			}
		})
	}
}

// untrusting returns a client that reaches the same server but does not trust its certificate.
func untrusting(of *http.Client) *http.Client {
	transport := of.Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.RootCAs = nil
	return &http.Client{Transport: transport}
}

// directoryWith returns a new directory with an empty file.
func directoryWith(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
