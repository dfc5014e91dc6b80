package apptest

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
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
	"notepay/internal/ledger/ledgertest"
	"notepay/internal/notefile"
	"notepay/internal/sandbox"
)

// OperatorToken is the operator token of a Front.
const OperatorToken = "operator-token-1234"

// RouteToken is the token of the route that Route sets up.
const RouteToken = "route-token-123456"

// Front is the service without a socket, in fake time: its handler, its components and the sandbox.
type Front struct {
	*testing.T
	Settings config.Settings
	unknown  sandbox.StripeUnknown
	Path     string // of the ledger
	Stop     func() // stops the work that Run started
	Server   *app.App
	Handler  http.Handler
	Ledger   *ledger.Ledger
	Fleet    *fleet.Fleet
	Stripe   *sandbox.Stripe
	Notehub  *sandbox.Notehub
	machines []*sandbox.Machine // checked against the ledger at the end
	Logs     *quietBuffer
	closed   bool       // whether the ledger is closed
	Host     *HostClock // nil: the service uses the bubble's time
}

// quietBuffer keeps the log of a Front. It is safe for concurrent use.
type quietBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (q *quietBuffer) Write(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.b.Write(p)
}

// String returns the log so far.
func (q *quietBuffer) String() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.b.String()
}

// InFront runs a test in fake time, with one device and one price. The service does no work until
// Run. change may be nil.
func InFront(t *testing.T, change func(*config.Settings), test func(*Front)) {
	t.Helper()
	InFrontOf(t, sandbox.StripeUnknown{}, change, test)
}

// InFrontOf does the same with a Stripe that behaves otherwise where its behavior is unknown.
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
				NoteFile:            notefile.Payments,
				AckFile:             notefile.Answers,
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

// ReadAtOnce allows so many requests to Notehub that the service reads all variables at once.
func ReadAtOnce(s *config.Settings) { s.NotehubPerMinute = 6000 }

// PerPurchase sells through a Checkout Session for each purchase.
func PerPurchase(s *config.Settings) { s.Checkout = "session" }

// build creates the sandbox and opens the service.
func (f *Front) build() {
	client := &http.Client{Transport: f.itself()}
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
			AnswerFiles:  notefile.Both(f.Settings.AckFile),
		},
	)
	f.Path = ledgertest.Fresh(f)
	f.Open()
	f.Cleanup(f.end)
}

// itself returns a transport to the service.
func (f *Front) itself() http.RoundTripper {
	return sandbox.InProcess(
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.Handler.ServeHTTP(w, r) }),
	)
}

// Open opens the ledger and wires the service over it.
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
		Public:   f.itself(),
		Log:      slog.New(slog.NewTextHandler(f.Logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Version:  fixture.TestVersion,
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fleet = f.Server.Fleet
	f.Handler = f.Server.Handler()
}

// Run starts the work of the service, until the test ends or Stop is called.
func (f *Front) Run() *Front {
	ctx, stop := context.WithCancel(f.Context())
	var loops sync.WaitGroup
	loops.Go(func() { f.Server.Run(ctx, context.WithoutCancel(ctx)) })
	f.Stop = sync.OnceFunc(func() { stop(); loops.Wait() })
	f.Cleanup(func() { f.Stop() })
	f.Pass(time.Second)
	f.Idle()
	return f
}

// Pass lets fake time pass, and then waits until everything is idle.
func (f *Front) Pass(d time.Duration) {
	time.Sleep(d) // in the bubble
	synctest.Wait()
}

// Idle waits until everything is idle, also what the ledger keeps for company.
func (f *Front) Idle() { f.Pass(ledger.MaxPatience) }

// Restart stops the service, executes SQL statements on the ledger, and starts the service again.
func (f *Front) Restart(statements ...string) *Front {
	f.Helper()
	f.Stop()
	f.CloseLedger()
	f.sql(statements...)
	f.Open()
	return f.Run()
}

// Restarted stops the service and starts it with changed settings. change may be nil.
func (f *Front) Restarted(change func(*config.Settings)) {
	f.Helper()
	f.Stop()
	f.CloseLedger()
	if change != nil {
		change(&f.Settings)
	}
	f.Open()
	f.Run()
}

// sql executes statements on the closed ledger.
func (f *Front) sql(statements ...string) {
	f.Helper()
	if len(statements) == 0 {
		return
	}
	db, err := sql.Open("sqlite", "file:"+f.Path)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range statements {
		if _, err := db.ExecContext(f.Context(), s); err != nil {
			f.Errorf("%s: %v", s, err)
		}
	}
	if err := db.Close(); err != nil {
		f.Fatal(err)
	}
}

// end checks the invariants, and that the log holds no secret.
func (f *Front) end() {
	f.Stripe.Close()
	f.Notehub.Close()
	if !f.closed {
		for _, problem := range checkInvariants(
			context.WithoutCancel(f.Context()), f.Ledger, f.Stripe, f.Notehub, f.machines...,
		) {
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

// CloseLedger closes the ledger. The invariants are then not checked at the end.
func (f *Front) CloseLedger() {
	f.closed = true
	if err := f.Ledger.Close(); err != nil {
		f.Errorf("close the ledger: %v", err)
	}
}

// Do makes a request. header holds names and values.
func (f *Front) Do(method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f.Handler.ServeHTTP(w, r)
	return w
}

// Get makes a GET request.
func (f *Front) Get(path string, header ...string) *httptest.ResponseRecorder {
	return f.Do(http.MethodGet, path, "", header...)
}

// AsOperator makes a GET request with the operator token.
func (f *Front) AsOperator(path string) *httptest.ResponseRecorder {
	return f.Get(path, "Authorization", "Bearer "+OperatorToken)
}

// Posts makes a JSON POST request with the operator token and, unless key is "", an
// Idempotency-Key. Then it waits until everything is idle.
func (f *Front) Posts(path, body, key string) *httptest.ResponseRecorder {
	header := []string{"Authorization", "Bearer " + OperatorToken}
	if key != "" {
		header = append(header, "Idempotency-Key", key)
	}
	w := f.Do("POST", path, body, header...)
	f.Idle()
	return w
}

// Asks makes a POST request with the operator token and checks the answer.
func (f *Front) Asks(name, path, body string, status int, text string) {
	f.Helper()
	f.Answers(name, f.Do("POST", path, body, "Authorization", "Bearer "+OperatorToken), status, text)
}

// Answers checks the status of an answer, and that its body contains text.
func (f *Front) Answers(name string, w *httptest.ResponseRecorder, status int, text string) {
	f.Helper()
	if w.Code != status || !strings.Contains(w.Body.String(), text) {
		f.Errorf("%s: %d %s; want %d with %q", name, w.Code, w.Body, status, text)
	}
}

// Refresh makes the service list the devices again.
func (f *Front) Refresh() {
	f.Helper()
	f.Answers("refresh", f.AsOperator("/refresh-devices"), http.StatusOK, "")
}

// Deliver posts a body with Stripe's signature.
func (f *Front) Deliver(path, body string) *httptest.ResponseRecorder {
	return f.Do(
		http.MethodPost, path, body, "Stripe-Signature", fixture.Signed(body, fixture.TestSecret),
		"Content-Type", "application/json",
	)
}

// Outcomes returns the outcomes of the recorded events, with how often each was received.
func (f *Front) Outcomes() (outcomes []string) {
	f.Helper()
	events, err := f.Ledger.Events(f.Context(), 100)
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range events {
		outcomes = append(outcomes, fmt.Sprintf("%s x%d", e.Outcome, 1+e.Repeats))
	}
	return outcomes
}

// Listed returns the sessions of a list of payments, and the cursor of the next list. The payments
// must be in order, newest first.
func (f *Front) Listed(query string) (sessions []string, next string) {
	f.Helper()
	w := f.AsOperator("/api/payments?" + query)
	var list struct {
		Payments []struct {
			SessionID string    `json:"session_id"`
			CreatedAt time.Time `json:"created_at"`
		} `json:"payments"`
		Next *string `json:"next_cursor"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || w.Code != http.StatusOK || list.Next == nil ||
		list.Payments == nil {
		f.Fatalf("%s: %d %s (%v); want a list", query, w.Code, w.Body, err)
	}
	for i, p := range list.Payments {
		if i > 0 && p.CreatedAt.After(list.Payments[i-1].CreatedAt) {
			f.Errorf("%s: %s comes after one that is older", query, p.SessionID)
		}
		sessions = append(sessions, p.SessionID)
	}
	return sessions, *list.Next
}

// EventsListed returns the sorted types of the events that the API lists, and the cursor of the
// next list.
func (f *Front) EventsListed(query string) (types []string, next string) {
	f.Helper()
	w := f.AsOperator("/api/stripe-events?" + query)
	var list struct {
		Events []struct {
			Type string          `json:"type"`
			Body json.RawMessage `json:"body"`
		} `json:"events"`
		Next *string `json:"next_cursor"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || w.Code != http.StatusOK || list.Next == nil ||
		list.Events == nil {
		f.Fatalf("%s: %d %s (%v); want a list", query, w.Code, w.Body, err)
	}
	for _, e := range list.Events {
		if !strings.Contains(string(e.Body), `"type":"`+e.Type+`"`) {
			f.Errorf("%s: body %s; want that of the event", query, e.Body)
		}
		types = append(types, e.Type)
	}
	slices.Sort(types)
	return types, *list.Next
}

// Audited checks the audit records of a subject, newest first. Each is wanted as "who what why".
func (f *Front) Audited(subject string, want ...string) {
	f.Helper()
	list, _, err := f.Ledger.Audits(f.Context(), subject, 100, "")
	if err != nil {
		f.Fatal(err)
	}
	var got []string
	for _, a := range list {
		got = append(got, a.Who+" "+a.What+" "+a.Why)
	}
	if len(got) != len(want) {
		f.Fatalf("audit %q; want %q", got, want)
	}
	for n := range got {
		if got[n] != want[n] {
			f.Errorf("audit %q; want %q", got, want)
		}
	}
}

// HasProblem checks whether a problem is shown by /health, by the console's first page, and by the
// metrics.
func (f *Front) HasProblem(code, says string, there bool) {
	f.Helper()
	var health struct {
		Status   string
		Problems []string
	}
	w := f.Get("/health")
	if err := json.Unmarshal(w.Body.Bytes(), &health); err != nil {
		f.Fatal(err)
	}
	told := slices.ContainsFunc(health.Problems, func(text string) bool { return strings.Contains(text, says) })
	if told != there || (there && health.Status != "degraded") {
		f.Errorf("/health says %s; want %q in its problems: %v", w.Body, says, there)
	}
	if page := f.Browser().Shows("/operator"); strings.Contains(page, says) != there {
		f.Errorf("the console's first page tells %q: %v; want %v", says, !there, there)
	}
	line := "\nnotepay_problem{code=\"" + code + "\"} " + map[bool]string{true: "1", false: "0"}[there] + "\n"
	if metrics := f.Get("/metrics").Body.String(); !strings.Contains(metrics, line) {
		f.Errorf("the metrics lack %s", line)
	}
}

// WantLimit checks that Notehub was not called more often in any minute than limit.
func (f *Front) WantLimit(limit int) {
	f.Helper()
	asked := f.Notehub.Requests("{any} /{rest...}")
	maxRequests := 0
	for i, r := range asked {
		if r.Status == 429 {
			f.Errorf("%s %s at %v was refused with 429", r.Method, r.Path, r.At.Sub(asked[0].At))
		}
		n := 1
		for _, later := range asked[i+1:] {
			if later.At.Sub(r.At) < time.Minute {
				n++
			}
		}
		maxRequests = max(maxRequests, n)
	}
	f.Logf("%d requests, at most %d in a minute", len(asked), maxRequests)
	if maxRequests > limit {
		f.Errorf("up to %d requests in a minute; want at most %d", maxRequests, limit)
	}
}
