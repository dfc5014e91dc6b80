package setup_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
	"notepay/internal/setup"
	"notepay/internal/stripeapi"
)

const webhookURL = "https://pay.example.com/webhook/stripe"

// account is an empty Stripe account with the settings of an operator who sets it up.
type account struct {
	*testing.T
	stripe *sandbox.Stripe
	env    map[string]string
	file   string // .env
}

func newAccount(t *testing.T) *account {
	t.Helper()
	a := &account{
		T:      t,
		stripe: sandbox.NewStripe(sandbox.StripeConfig{Key: fixture.TestKey, Report: t}),
		file:   filepath.Join(t.TempDir(), ".env"),
	}
	server := httptest.NewServer(a.stripe)
	t.Cleanup(func() { a.stripe.Close(); server.Close() })
	a.env = map[string]string{
		"STRIPE_SECRET_KEY": fixture.TestKey,
		"PUBLIC_URL":        "https://pay.example.com",
		"STRIPE_API_URL":    server.URL,
	}
	return a
}

// setUp runs `notepay setup` with these answers and then the end of the input.
func (a *account) setUp(answers ...string) (out string, code int) {
	a.Helper()
	cmd := apptest.Invoked(a.T, filepath.Dir(a.file), a.env, "setup")
	var text strings.Builder
	cmd.Stdin = strings.NewReader(strings.Join(append(answers, ""), "\n"))
	cmd.Stdout, cmd.Stderr = &text, &text
	code = apptest.ExitCodeOf(a.T, cmd)
	a.Logf("answers %q:\n%s", answers, text.String())
	return text.String(), code
}

// made returns how many products, prices and endpoints were created.
func (a *account) made() [3]int {
	return [3]int{a.applied("POST /v1/products"), a.applied("POST /v1/prices"), a.applied("POST /v1/webhook_endpoints")}
}

func (a *account) applied(pattern string) (n int) {
	for _, r := range a.stripe.Requests(pattern) {
		if r.Applied {
			n++
		}
	}
	return n
}

func (a *account) read() string {
	a.Helper()
	text, err := os.ReadFile(a.file)
	if err != nil {
		a.Fatal(err)
	}
	return string(text)
}

var (
	madePrice  = regexp.MustCompile(`price_[0-9A-Za-z]+`)
	toldSecret = regexp.MustCompile(`STRIPE_WEBHOOK_SECRET=(whsec_[0-9A-Za-z]+)`)
)

func TestSetupCreatesWhatIsMissingOnce(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	out, code := a.setUp("Warm wash", "EUR", "3.50", "y")
	price, secret := madePrice.FindString(out), toldSecret.FindStringSubmatch(out)
	if code != 0 || price == "" || secret == nil || a.made() != [3]int{1, 1, 1} {
		t.Fatalf("exit code %d, made %v; want one of each, and the secret shown", code, a.made())
	}
	if want := "STRIPE_PRICE_ID=" + price + "\nSTRIPE_WEBHOOK_SECRET=" + secret[1] + "\n"; a.read() != want {
		t.Errorf(".env is %q; want %q", a.read(), want)
	}
	if info, err := os.Stat(a.file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v; want a file for its owner alone", info.Mode(), err)
	}
	out, code = a.setUp()
	if code != 0 || a.made() != [3]int{1, 1, 1} || toldSecret.MatchString(out) || !strings.Contains(out, price) {
		t.Errorf("exit code %d, made %v in two runs; want nothing more, and no secret again", code, a.made())
	}
	for e, err := range a.client().V1WebhookEndpoints.List(t.Context(), &stripe.WebhookEndpointListParams{}) {
		if err != nil || e.URL != webhookURL || e.APIVersion != stripe.APIVersion ||
			len(e.EnabledEvents) != len(stripeapi.EventTypes()) ||
			e.Metadata["app"] != "notepay" {
			t.Errorf("the endpoint is %+v, %v", e, err)
		}
	}
}

// client returns a client of the account beside setup's.
func (a *account) client() *stripe.Client {
	a.Helper()
	s, err := config.LoadOnly(a.file, func(name string) string { return a.env[name] })
	if err != nil {
		a.Fatal(err)
	}
	return apptest.StripeOf(s, nil).Library()
}

func TestSetupContinuesAfterAnInterruption(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	a.stripe.Next("POST /v1/prices", sandbox.Outcome{Status: 500})
	if out, code := a.setUp("Warm wash", "eur", "3.50"); code != 1 ||
		!strings.Contains(out, "create the price: Stripe says") {
		t.Errorf("exit code %d; want 1 and what could not be made", code)
	}
	a.stripe.Next("POST /v1/webhook_endpoints", sandbox.Outcome{Applied: true, Status: 500})
	if _, code := a.setUp("eur", "3.50"); code != 1 {
		t.Errorf("exit code %d; want 1", code)
	}
	if out, code := a.setUp(); code != 0 || a.made() != [3]int{1, 1, 1} ||
		!strings.Contains(out, "dashboard.stripe.com/webhooks") {
		t.Errorf("exit code %d, made %v in three runs; want one of each, and where the secret is", code, a.made())
	}
}

func TestSetupWithoutAnswers(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	if out, code := a.setUp(); code != 1 || a.made() != [3]int{} || !strings.Contains(out, "no answer") {
		t.Errorf("exit code %d, made %v; want nothing", code, a.made())
	}
	out, code := a.setUp("Warm wash", "eur", "3.50")
	if code != 0 || !strings.Contains(out, "STRIPE_PRICE_ID=price_") || !toldSecret.MatchString(out) {
		t.Errorf("exit code %d; want everything shown, and no answer to mean no", code)
	}
	if _, err := os.Stat(a.file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v; want no .env", err)
	}
}

func TestSetupReplacesNoSettingUnasked(t *testing.T) {
	t.Parallel()
	const before = "# ours\nSTRIPE_PRICE_ID=price_old # the old one\n" +
		"  STRIPE_WEBHOOK_SECRET='whsec_0123456789'\n#STRIPE_PRICE_ID=price_older\nPORT=3001"
	for name, c := range map[string]struct {
		answers []string
		want    func(price, secret string) string
	}{
		"no":                    {[]string{"n"}, func(_, _ string) string { return before }},
		"yes, and no to both":   {[]string{"y", "n", "n"}, func(_, _ string) string { return before }},
		"yes, and then the end": {[]string{"y"}, func(_, _ string) string { return before }},
		"yes to the price alone": {[]string{"y", "y", "n"}, func(price, _ string) string {
			return "# ours\nSTRIPE_PRICE_ID=" + price + "\n  STRIPE_WEBHOOK_SECRET='whsec_0123456789'\n" +
				"#STRIPE_PRICE_ID=price_older\nPORT=3001\n"
		}},
		"yes to all": {[]string{"YES", "y", "y"}, func(price, secret string) string {
			return "# ours\nSTRIPE_PRICE_ID=" + price + "\nSTRIPE_WEBHOOK_SECRET=" + secret + "\n" +
				"#STRIPE_PRICE_ID=price_older\nPORT=3001\n"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t)
			if err := os.WriteFile(a.file, []byte(before), 0o640); err != nil {
				t.Fatal(err)
			}
			out, code := a.setUp(append([]string{"Warm wash", "eur", "3.50"}, c.answers...)...)
			if code != 0 || strings.Contains(out, "whsec_0123456789") {
				t.Fatalf("exit code %d; want 0, and the old secret not shown", code)
			}
			if want := c.want(madePrice.FindString(out), toldSecret.FindStringSubmatch(out)[1]); a.read() != want {
				t.Errorf(".env is\n%s\nwant\n%s", a.read(), want)
			}
			if info, err := os.Stat(a.file); err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("%v, %v; want the mode as it was", info.Mode(), err)
			}
		})
	}
}

func TestSetupAsksAgainAfterAnInvalidAnswer(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	out, code := a.setUp("", "Warm wash", "euros", "eur", "350", "0.05", "3.50")
	if code != 0 || !strings.Contains(out, "three letters") || !strings.Contains(out, "written like 3.50") ||
		!strings.Contains(out, "below the 50") {
		t.Errorf("exit code %d; want each wrong answer explained", code)
	}
	if out, code := newAccount(t).setUp("Warm wash", "jpy", "350.00", "350"); code != 0 ||
		!strings.Contains(out, ", 350 JPY, was created") {
		t.Errorf("exit code %d, %s; want a price in a currency without cents", code, out)
	}
}

func TestSetupRepairsOnlyItsOwnEndpoint(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		metadata map[string]string
		want     string
		events   int
	}{
		"its own":           {map[string]string{"app": "notepay"}, "now sends all events", len(stripeapi.EventTypes())},
		"another program's": {nil, "stays as it is", 1},
	} {
		a := newAccount(t)
		client := a.client()
		made, err := client.V1WebhookEndpoints.Create(t.Context(), &stripe.WebhookEndpointCreateParams{
			URL:           stripe.String(webhookURL),
			EnabledEvents: stripe.StringSlice([]string{"checkout.session.completed"}),
			Metadata:      c.metadata,
		})
		if err != nil {
			t.Fatal(err)
		}
		out, code := a.setUp("Warm wash", "eur", "3.50")
		now, err := client.V1WebhookEndpoints.Retrieve(t.Context(), made.ID, nil)
		if code != 0 || err != nil || !strings.Contains(out, c.want) || len(now.EnabledEvents) != c.events {
			t.Errorf("%s: exit code %d, %v, %q; want %d events", name, code, err, now.EnabledEvents, c.events)
		}
	}
}

func TestSetupWithWrongSettings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set  []string
		code int
		want string
	}{
		"without a key":            {[]string{"STRIPE_SECRET_KEY", ""}, 2, "STRIPE_SECRET_KEY"},
		"without a public address": {[]string{"PUBLIC_URL", ""}, 2, "PUBLIC_URL"},
		"with an unknown key":      {[]string{"STRIPE_SECRET_KEY", "sk_test_another1"}, 1, "Invalid API Key"},
		"other settings may be wrong or missing": {
			[]string{"PORT", "x", "NOTEHUB_PROJECT_UID", "1"}, 0, "was created",
		},
		"this host gets no endpoint": {[]string{"PUBLIC_URL", "http://localhost:3000"}, 0, "stripe listen"},
	} {
		a := newAccount(t)
		for i := 0; i < len(c.set); i += 2 {
			a.env[c.set[i]] = c.set[i+1]
		}
		if out, code := a.setUp("Warm wash", "eur", "3.50"); code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%s: exit code %d; want %d and %q", name, code, c.code, c.want)
		}
	}
}

// The operator presses Ctrl-C at a question.
func TestSetupStopsDuringAQuestion(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	cmd := apptest.Invoked(t, filepath.Dir(a.file), a.env, "setup")
	if _, err := cmd.StdinPipe(); err != nil { // no answer comes
		t.Fatal(err)
	}
	var complaint strings.Builder
	cmd.Stderr = &complaint
	cmd.Stdout = writerFunc(func(p []byte) (int, error) {
		if strings.Contains(string(p), "What do customers buy") {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
		}
		return len(p), nil
	})
	code := apptest.ExitCodeOf(t, cmd)
	if want := context.Canceled.Error(); code != 1 || !strings.Contains(complaint.String(), want) {
		t.Errorf("exit code %d, %q; want 1 and %q", code, complaint.String(), want)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// What is written has to be read back, also by the next question of notepay init.
func TestWriteSettingsCanBeReadBack(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), ".env")
	values := map[string]string{
		"NOTEHUB_CLIENT_SECRET": `back\slash\`, "OPERATOR_TOKEN": `$HOME\$x-correct-horse`, "BRAND_NAME": "Joe's Wash",
		"SUPPORT_CONTACT": "+49 30 123456", "NOTEHUB_TOKEN": "abc==", "BRAND_COLOR": "#0b6b4f",
	}
	names := []string{
		"NOTEHUB_CLIENT_SECRET", "OPERATOR_TOKEN", "BRAND_NAME", "SUPPORT_CONTACT", "NOTEHUB_TOKEN", "BRAND_COLOR",
	}
	for range 2 { // the second time the lines are replaced
		if err := setup.WriteSettings(file, names, values); err != nil {
			t.Fatal(err)
		}
		read, err := config.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range values {
			if read[name] != want {
				t.Errorf("%s is read as %q; want %q", name, read[name], want)
			}
		}
	}
}
