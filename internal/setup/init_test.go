package setup_test

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

// beginner is an operator with a Stripe account and a Notehub project, and no settings.
type beginner struct {
	*account
	notehub *sandbox.Notehub
}

func newBeginner(t *testing.T) *beginner {
	t.Helper()
	b := &beginner{account: newAccount(t)}
	b.notehub = sandbox.NewNotehub(sandbox.NotehubConfig{
		ClientID:     "client",
		ClientSecret: "secret-of-client",
		Token:        fixture.HubToken,
		Project:      fixture.Project,
		Report:       t,
	})
	server := httptest.NewServer(b.notehub)
	t.Cleanup(func() { b.notehub.Close(); server.Close() })
	b.notehub.AddDevice(sandbox.Device{UID: fixture.Washer, Name: "Washer 3", LastActivity: time.Now()})
	b.env = map[string]string{
		"STRIPE_API_URL":   b.env["STRIPE_API_URL"],
		"NOTEHUB_API_URL":  server.URL,
		"NOTEHUB_AUTH_URL": server.URL + "/oauth2/token",
	}
	return b
}

// begin runs `notepay init` with these answers and then the end of the input.
func (b *beginner) begin(answers ...string) (out string, code int) {
	b.Helper()
	cmd := apptest.Invoked(b.T, filepath.Dir(b.file), b.env, "init")
	var text strings.Builder
	cmd.Stdin = strings.NewReader(strings.Join(append(slices.Clip(answers), ""), "\n"))
	cmd.Stdout, cmd.Stderr = &text, &text
	code = apptest.ExitCodeOf(b.T, cmd)
	b.Logf("answers %q:\n%s", answers, text.String())
	return text.String(), code
}

// values returns the settings file.
func (b *beginner) values() map[string]string {
	b.Helper()
	values, err := config.ReadFile(b.file)
	if err != nil {
		b.Fatal(err)
	}
	return values
}

// usual are the answers of an operator with firmware that confirms.
func usual() []string {
	return []string{
		"pay.example.com", "n",
		fixture.TestKey,
		"", "Warm wash", "eur", "3.50", "45m", "n", // makes a price
		fixture.Project, "y", "client", "secret-of-client",
		"y",
		"help@example.com", "",
	}
}

func TestInit(t *testing.T) {
	t.Parallel()
	b := newBeginner(t)
	out, code := b.begin(usual()...)
	if code != 0 || b.made() != [3]int{1, 1, 1} {
		t.Fatalf("exit code %d, made %v; want product, price and endpoint", code, b.made())
	}
	values := b.values()
	for name, want := range map[string]string{
		"PUBLIC_URL":          "https://pay.example.com",
		"STRIPE_SECRET_KEY":   fixture.TestKey,
		"NOTEHUB_CLIENT_ID":   "client",
		"NOTEHUB_PROJECT_UID": fixture.Project,
		"CONFIRM_WITHIN":      "2m",
		"SUPPORT_CONTACT":     "help@example.com",
	} {
		if values[name] != want {
			t.Errorf("%s is %q; want %q", name, values[name], want)
		}
	}
	if len(values["OPERATOR_TOKEN"]) < 32 || b.notehub.RouteToken() != values["NOTEHUB_ROUTE_TOKEN"] ||
		values["NOTEHUB_ROUTE_TOKEN"] == "" {
		t.Errorf("the tokens are %q and %q, and the route's is %q", values["OPERATOR_TOKEN"],
			values["NOTEHUB_ROUTE_TOKEN"], b.notehub.RouteToken())
	}
	if info, err := os.Stat(b.file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v; want a file for its owner alone", info, err)
	}
	for _, secret := range []string{fixture.TestKey, "secret-of-client", values["OPERATOR_TOKEN"],
		values["NOTEHUB_ROUTE_TOKEN"]} {
		if strings.Contains(out, secret) {
			t.Errorf("the output holds %q", secret)
		}
	}
	price, err := b.client().V1Prices.Retrieve(t.Context(), values["STRIPE_PRICE_ID"], nil)
	if err != nil || price.UnitAmount != 350 || price.Metadata["duration"] != "45m" {
		t.Errorf("the price is %+v, %v", price, err)
	}
	// what init wrote is all that serve needs
	if _, err := config.Load(b.file, func(name string) string { return b.env[name] }); err != nil {
		t.Error(err)
	}

	// Enter keeps everything, and nothing is made twice.
	before := b.read()
	if _, code := b.begin("", "", "", "", "", "", "", "", "", "", ""); code != 0 || b.read() != before ||
		b.made() != [3]int{1, 1, 1} || b.applied("POST /v1/payment_links") != 0 {
		t.Errorf("exit code %d, made %v; want nothing to change:\n%s", code, b.made(), b.read())
	}
}

func TestInitAsksAgainForWhatTheVendorsRefuse(t *testing.T) {
	t.Parallel()
	b := newBeginner(t)
	out, code := b.begin(
		"http://", "http://pay.example.com/path", "pay.example.com", "n",
		"pk_test_1", "sk_test_anothers1", fixture.TestKey,
		"price_unknown1", "", "Locker", "eur", "350", "2.00", "long", "", "y",
		"app:another", "y", "client", "secret-of-another", "", "secret-of-client", fixture.Project, "", "",
		"maybe", "n",
		"help@example.com",
		"https://push.example.com hunter2", "ntfy://ntfy.sh/laundry-k8x2vq7m4t",
	)
	if code != 0 {
		t.Fatalf("exit code %d", code)
	}
	for _, want := range []string{
		"must not have a path", "publishable key", "Invalid API Key", "No such price", "written like 3.50",
		"a duration such as 90s", "client authentication failed", "does not exist", "Enter y or n",
		"number 1: ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("nothing says %q", want)
		}
	}
	values := b.values()
	price, err := b.client().V1Prices.Retrieve(t.Context(), values["STRIPE_PRICE_ID"], nil)
	if err != nil || price.Metadata["access_code"] != "true" || price.Metadata["duration"] != "" {
		t.Errorf("the price is %+v, %v; want one with a code and no duration", price, err)
	}
	if values["ALERT_URLS"] != "ntfy://ntfy.sh/laundry-k8x2vq7m4t" || strings.Contains(out, "hunter2") {
		t.Errorf("ALERT_URLS is %q; want the recipient that the setting's rule takes", values["ALERT_URLS"])
	}
	if values["CONFIRM_WITHIN"] != "0" || values["NOTEHUB_ROUTE_TOKEN"] != "" || b.notehub.RouteToken() != "" {
		t.Errorf("settings %v; want no route", values)
	}
}

func TestInitContinuesAfterAnInterruption(t *testing.T) {
	t.Parallel()
	b := newBeginner(t)
	answers := usual()
	if out, code := b.begin(); code != 1 || !strings.Contains(out, "no answer") {
		t.Fatalf("exit code %d without an answer; want 1", code)
	}
	if _, code := b.begin(answers[:9]...); code != 1 {
		t.Fatalf("exit code %d; want 1", code)
	}
	secret := b.values()["STRIPE_WEBHOOK_SECRET"]
	if secret == "" {
		t.Fatal("the webhook's secret, which Stripe shows once, is not in the file")
	}
	rest := append([]string{"", "", "", "", ""}, answers[9:]...) // Enter keeps address, proxy, key, price and secret
	if _, code := b.begin(rest...); code != 0 || b.values()["STRIPE_WEBHOOK_SECRET"] != secret ||
		b.made() != [3]int{1, 1, 1} {
		t.Errorf("exit code %d, made %v; want the first run continued", code, b.made())
	}
}

func TestInitWithAPersonalAccessTokenAndNoDevice(t *testing.T) {
	t.Parallel()
	b := newBeginner(t)
	b.notehub.RemoveDevice(fixture.Washer)
	out, code := b.begin("http://localhost:3000", fixture.TestKey, "", "Wash", "eur", "3.50", "", "", "off",
		fixture.Project, "n", "wrong-token", fixture.HubToken, "y", "help@example.com", "")
	values := b.values()
	if code != 0 || values["NOTEHUB_TOKEN"] != fixture.HubToken || values["STRIPE_WEBHOOK_SECRET"] != "off" ||
		values["NOTEHUB_ROUTE_TOKEN"] != "" || b.notehub.RouteToken() != "" {
		t.Errorf("exit code %d, settings %v; want no route to this host", code, values)
	}
	if !strings.Contains(out, "Connect a Notecard") {
		t.Error("nothing says that a device is left to do")
	}
	if values["CONFIRM_WITHIN"] != "10m" {
		t.Errorf("CONFIRM_WITHIN is %q; want the 10m until a payment is seen", values["CONFIRM_WITHIN"])
	}
	if _, err := config.Load(b.file, func(name string) string { return b.env[name] }); err != nil {
		t.Errorf("what init wrote cannot be loaded: %v", err)
	}
}

// A file that once had webhooks keeps its CONFIRM_WITHIN until init finds it too short.
func TestInitRaisesAConfirmationTimeThatIsTooShort(t *testing.T) {
	t.Parallel()
	b := newBeginner(t)
	if _, code := b.begin(usual()...); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	b.env["STRIPE_WEBHOOK_SECRET"] = "off"
	out, code := b.begin("", "", "", "", "", "", "", "", "", "", "")
	now := b.values()["CONFIRM_WITHIN"]
	if code != 0 || now != "10m" || !strings.Contains(out, "CONFIRM_WITHIN") {
		t.Errorf("exit code %d, CONFIRM_WITHIN is %q; want 10m, and said so", code, now)
	}
}

func TestInitWithARouteThatNotehubRefuses(t *testing.T) {
	t.Parallel()
	b := newBeginner(t)
	b.notehub.Always("POST /v1/projects/{project}/routes", sandbox.Outcome{Status: 403})
	out, code := b.begin(usual()...)
	if code != 0 || !strings.Contains(out, "Make a General HTTP/HTTPS route for payment_ack.qo to "+
		"https://pay.example.com/webhook/notehub") {
		t.Errorf("exit code %d; want the way by hand", code)
	}
	b.notehub.Clear("POST /v1/projects/{project}/routes")
	if _, code := b.begin("", "", "", "", "", "", "", "", "", "", ""); code != 0 ||
		b.notehub.RouteToken() != b.values()["NOTEHUB_ROUTE_TOKEN"] {
		t.Errorf("exit code %d; want the next run to make the route", code)
	}
}

// A route of an earlier installation has a secret that Notehub does not show.
func TestInitWithARouteThatExists(t *testing.T) {
	t.Parallel()
	b := newBeginner(t)
	b.notehub.SetRoute("https://pay.example.com/webhook/notehub", "the-secret-of-earlier")
	answers := usual()
	answers = append(answers[:len(answers)-2], "the-secret-of-earlier", "help@example.com", "")
	if _, code := b.begin(answers...); code != 0 || b.values()["NOTEHUB_ROUTE_TOKEN"] != "the-secret-of-earlier" {
		t.Errorf("exit code %d, %v; want the route's secret", code, b.values())
	}
}

func TestInitAsksWhoSpeaksHTTPS(t *testing.T) {
	t.Parallel()
	b := newBeginner(t)
	answers := usual()
	answers[1] = "" // the first time, Enter means that notepay does
	if err := os.WriteFile(b.file, []byte("LISTEN_ADDR=127.0.0.1:3000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, code := b.begin(answers...)
	values := b.values()
	if code != 0 || values["TLS_DOMAINS"] != "pay.example.com" || values["LISTEN_ADDR"] != "" ||
		!strings.Contains(out, "Domain names: ") {
		t.Errorf("exit code %d, %v; want notepay's own HTTPS at its own port, and the DNS checked", code, values)
	}
	for _, run := range []struct {
		answer, want string
	}{{"", "pay.example.com"}, {"n", ""}, {"", ""}, {"y", "pay.example.com"}} {
		out, code := b.begin("", run.answer, "", "", "", "", "", "", "", "", "")
		if got := b.values()["TLS_DOMAINS"]; code != 0 || got != run.want ||
			strings.Contains(out, "docs/proxies.md") != (run.want == "") {
			t.Errorf("after %q: exit code %d, TLS_DOMAINS %q; want %q", run.answer, code, got, run.want)
		}
	}
	// Another address takes the certificate with it, and localhost needs none.
	for address, want := range map[string]string{"shop.example.com": "shop.example.com", "http://localhost:3000": ""} {
		answers := []string{address, "", "", "", "", "", "", "", "", "", "", ""}
		if want != "" {
			answers[1] = "y"
		}
		if b.begin(answers...); b.values()["TLS_DOMAINS"] != want {
			t.Errorf("%s: TLS_DOMAINS %q; want %q", address, b.values()["TLS_DOMAINS"], want)
		}
	}
}
