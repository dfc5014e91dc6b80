package apptest

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/app"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/sandbox"
)

const OperatorToken = "operator-token-1234"

// Front is the service without a socket, within a bubble of time: the handler with all that is
// behind it, and the sandbox.
type Front struct {
	*testing.T
	Settings config.Settings
	unknown  sandbox.StripeUnknown
	Path     string // of the ledger
	Stop     func() // ends what run began
	Server   *app.App
	Handler  http.Handler
	Ledger   *ledger.Ledger
	Fleet    *fleet.Fleet
	Stripe   *sandbox.Stripe
	Notehub  *sandbox.Notehub
	machines []*sandbox.Machine // those that are held against the ledger in the end
	Logs     *quietBuffer
	closed   bool       // the ledger is
	Host     *HostClock // nil: the service takes the bubble's time for Stripe's
}

// quietBuffer is a log that may be written to from everywhere.
type quietBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (q *quietBuffer) Write(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.b.Write(p)
}

func (q *quietBuffer) String() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.b.String()
}

// InFront runs a test in a bubble, with one device and one price. Nothing works until run. change
// may be nil.
func InFront(t *testing.T, change func(*config.Settings), test func(*Front)) {
	t.Helper()
	InFrontOf(t, sandbox.StripeUnknown{}, change, test)
}

// InFrontOf does the same with a Stripe that does something else where it is not known what it
// does.
func InFrontOf(t *testing.T, unknown sandbox.StripeUnknown, change func(*config.Settings), test func(*Front)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &Front{
			T:       t,
			unknown: unknown,
			Stop:    func() {},
			Logs:    &quietBuffer{},
			Settings: config.Settings{
				StripeSecretKey:     fixture.TestKey,
				StripePriceID:       fixture.Warm,
				StripeWebhookSecret: fixture.TestSecret,
				NotehubClientID:     "client",
				NotehubClientSecret: fixture.HubSecret,
				NotehubProjectUID:   fixture.Project,
				NotehubAPIURL:       "http://notehub.test",
				NotehubAuthURL:      "http://notehub.test/oauth2/token",
				StripeAPIURL:        "http://stripe.test",
				OperatorToken:       OperatorToken,
				CreditLifetime:      10 * time.Minute,
				RefreshInterval:     15 * time.Minute,
				PollInterval:        5 * time.Minute,
				PublicURL:           "https://pay.example.com",
			},
		}
		if change != nil {
			change(&f.Settings)
		}
		f.build()
		f.Stripe.AddPrice(
			sandbox.Price{ID: fixture.Warm, Name: "Warm wash", Currency: "eur", Amount: 350, Active: true},
		)
		f.Notehub.AddDevice(sandbox.Device{UID: fixture.Washer, Name: "Washer 3"})
		test(f)
	})
}

func (f *Front) build() {
	client := &http.Client{
		Transport: sandbox.InProcess(
			http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.Handler.ServeHTTP(w, r) }),
		),
	}
	f.Stripe = sandbox.NewStripe(
		sandbox.StripeConfig{
			Key:         fixture.TestKey,
			Report:      f,
			CheckoutURL: "https://buy.test",
			RetryDelays: []time.Duration{},
			Client:      client,
			Unknown:     f.unknown,
		},
	)
	f.Stripe.SetEndpoint("http://pay.test/webhook/stripe", fixture.TestSecret)
	f.Notehub = sandbox.NewNotehub(
		sandbox.NotehubConfig{
			Project:      fixture.Project,
			Token:        fixture.HubToken,
			ClientID:     "client",
			ClientSecret: fixture.HubSecret,
			Report:       f,
			Client:       client,
			PerMinute:    int(f.Settings.NotehubPerMinute),
		},
	)
	f.Path = filepath.Join(f.TempDir(), "notepay.db")
	f.Open()
	f.Cleanup(f.end)
}

// Open puts the service together over its ledger.
func (f *Front) Open() {
	var err error
	if f.Ledger, err = ledger.OpenBy(f.Context(), f.Path, f.Host.Clock()); err != nil {
		f.Fatal(err)
	}
	f.closed = false
	s := &f.Settings
	f.Server, err = app.New(f.Context(), app.Config{
		Settings: s,
		Ledger:   f.Ledger,
		Notehub:  HubOf(s, sandbox.InProcess(f.Notehub)),
		Stripe:   StripeOf(s, sandbox.InProcess(f.Stripe)),
		Log:      slog.New(slog.NewTextHandler(f.Logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Version:  fixture.TestVersion,
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fleet = f.Server.Fleet
	f.Handler = f.Server.Handler()
}

// Run sets everything to work, until the test ends.
func (f *Front) Run() *Front {
	ctx, stop := context.WithCancel(f.Context())
	var loops sync.WaitGroup
	loops.Go(func() { f.Server.Run(ctx, context.WithoutCancel(ctx)) })
	f.Stop = sync.OnceFunc(func() { stop(); loops.Wait() })
	f.Cleanup(func() { f.Stop() })
	f.Pass(time.Second)
	return f
}

// Pass lets time pass, and then all come to rest.
func (f *Front) Pass(d time.Duration) {
	time.Sleep(d) // of the bubble
	synctest.Wait()
}

// end holds the ledger against the vendors, and looks for secrets in the log.
func (f *Front) end() {
	f.Stripe.Close()
	f.Notehub.Close()
	if !f.closed {
		for _, problem := range checkInvariants(context.WithoutCancel(f.Context()), f.Ledger, f.Stripe, f.Notehub, f.machines...) {
			f.Errorf("invariant broken: %s", problem)
		}
		f.CloseLedger()
	}
	for _, secret := range []string{fixture.TestKey, fixture.TestSecret, fixture.HubSecret, OperatorToken} {
		if strings.Contains(f.Logs.String(), secret) {
			f.Errorf("the log tells a secret:\n%s", f.Logs)
		}
	}
}

func (f *Front) CloseLedger() {
	f.closed = true
	if err := f.Ledger.Close(); err != nil {
		f.Errorf("close the ledger: %v", err)
	}
}

func (f *Front) Do(method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f.Handler.ServeHTTP(w, r)
	return w
}

func (f *Front) Get(path string, header ...string) *httptest.ResponseRecorder {
	return f.Do(http.MethodGet, path, "", header...)
}

// AsOperator gets a page with the operator's token.
func (f *Front) AsOperator(path string) *httptest.ResponseRecorder {
	return f.Get(path, "Authorization", "Bearer "+OperatorToken)
}

// Answers holds an answer against status and text.
func (f *Front) Answers(name string, w *httptest.ResponseRecorder, status int, text string) {
	f.Helper()
	if w.Code != status || !strings.Contains(w.Body.String(), text) {
		f.Errorf("%s: %d %s; want %d with %q", name, w.Code, w.Body, status, text)
	}
}

// Buy pays at the washer's link and lets everybody come to rest.
func (f *Front) Buy(o sandbox.PayOptions) sandbox.Session {
	f.Helper()
	session, err := f.Stripe.Pay(f.Stripe.Links()[0].ID, o)
	if err != nil {
		f.Fatal(err)
	}
	synctest.Wait()
	return session
}

// Order has a payment recorded by a signed webhook, without the vendors' and the loops' doing.
func (f *Front) Order(o sandbox.PayOptions) sandbox.Session {
	f.Helper()
	f.Stripe.AddLink(sandbox.Link{Active: true, PriceID: fixture.Warm, DeviceUID: fixture.Washer})
	return f.Buy(o)
}
