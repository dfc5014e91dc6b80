package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// StripeConfig describes the simulated account. The zero value accepts any test key and has no rate
// limit.
type StripeConfig struct {
	// Key is the accepted secret key. If empty, any sk_test_ or rk_test_ key is accepted, or
	// sk_live_ and rk_live_ with Livemode.
	Key      string
	Livemode bool // the account is live
	// PerSecond is the number of requests allowed for each endpoint (method and path pattern) in a
	// second. More are answered with 429. 0 means no limit.
	PerSecond float64
	Report    Reporter // receives malformed requests; may be nil
	// Client sends webhooks. It never follows redirects. If nil, a client with a timeout of 10 s is
	// used.
	Client *http.Client
	// RetryDelays are the waits before webhook retries. If nil, they are 1 s, 2 s, 5 s, 10 s, 30 s,
	// then every 60 s for up to 3 days.
	RetryDelays []time.Duration
	// APIVersion is the api_version of events. If empty, it is "2026-08-26.dahlia", which a new
	// account gets and which is not the SDK's.
	APIVersion string
	// CheckoutURL is the base of link URLs. SetBaseURL can set it later, when the listener's
	// address is known.
	CheckoutURL string
	// Unknown sets behavior of the real service that is not known. The zero value is the safe
	// assumption.
	Unknown StripeUnknown
}

// Stripe is a simulated Stripe account. It is an http.Handler with the API under /v1/ and the
// hosted checkout under /c/. All its methods are safe for concurrent use. Close it when done,
// because goroutines deliver its webhooks.
type Stripe struct {
	Script
	config     StripeConfig
	operations []operation

	running    context.Context // ends with Close
	stop       context.CancelFunc
	background sync.WaitGroup // deliveries
	posting    atomic.Int64   // webhooks on the wire

	mu          sync.Mutex // guards the fields below
	base        string
	prices      shelf[price]
	promotions  shelf[promotionCode] // by code, in capitals
	products    shelf[product]       // created through the API; other products belong to their price
	methods     shelf[method]
	links       shelf[link]
	sessions    shelf[session]
	intents     shelf[intent]
	refunds     shelf[refund]
	disputes    shelf[dispute]
	payouts     shelf[payout]
	events      shelf[event]
	endpoints   []*endpoint // the first is the one of SetEndpoint
	answers     map[string]*answer
	windows     map[string]*window
	delivery    Delivery
	refundMode  RefundMode
	outstanding int // deliveries that have not ended
}

// NewStripe returns an empty account.
func NewStripe(c StripeConfig) *Stripe {
	if c.APIVersion == "" {
		c.APIVersion = "2026-08-26.dahlia"
	}
	client := http.Client{Timeout: 10 * time.Second}
	if c.Client != nil {
		client = *c.Client
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.Client = &client
	s := &Stripe{
		config:    c,
		base:      strings.TrimSuffix(c.CheckoutURL, "/"),
		endpoints: []*endpoint{{ID: "we_1" + randomText(23), Types: []string{"*"}}},
		answers:   make(map[string]*answer), windows: make(map[string]*window),
	}
	s.running, s.stop = context.WithCancel(context.Background())
	s.operations = s.allOperations()
	return s
}

// SetBaseURL sets the base of the URLs of links and sessions, which is where this handler listens.
func (s *Stripe) SetBaseURL(url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.base = strings.TrimSuffix(url, "/")
}

// Close stops the deliveries and waits for them. Later events are not delivered.
func (s *Stripe) Close() {
	s.mu.Lock()
	s.stop() // under the lock, so that no delivery begins afterwards
	s.mu.Unlock()
	s.background.Wait()
}

// ServeHTTP serves the API, the hosted checkout and the receipts.
func (s *Stripe) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/c/") {
		s.serve(w, r, checkoutRefusal, s.checkout)
		return
	}
	if strings.HasPrefix(r.URL.Path, receipts) {
		s.serve(w, r, checkoutRefusal, s.receipt)
		return
	}
	s.serve(w, r, usualError, s.api)
}

// operation is one call of the API.
type operation struct {
	method, pattern string
	params          string // allowed parameters, separated by spaces; see legal
	expand          string // properties that can be expanded
	run             func(*query) (any, *apiError)
}

func (o operation) name() string { return o.method + " " + o.pattern }

// api handles an API request. It checks the key, the rate limit, the idempotency key and the
// parameters, in Stripe's order.
func (s *Stripe) api(c *call) reply {
	op, captured, known := s.find(c)
	effect := func() reply { return s.perform(c, op, captured) }
	problem := s.keyProblem(c.Request)
	if problem == nil && !known {
		problem = malformed("", "Unrecognized request URL (%s: %s). Please see https://stripe.com/docs or we can "+
			"help at https://support.stripe.com/.", c.Method, c.path)
		problem.status = http.StatusNotFound
		s.report(c, problem)
	}
	if problem == nil {
		problem = s.overLimit(op)
	}
	if problem != nil {
		effect = func() reply { return problem.reply() }
	}
	key := c.Header.Get("Idempotency-Key")
	if problem != nil || key == "" || c.Method != http.MethodPost || c.neverArrives() {
		_, seen := c.meet(effect)
		return seen
	}
	earlier, first := s.remember(key, c)
	if !first {
		_, seen := c.meet(func() reply { return earlier })
		c.applied = false // the effect happened earlier
		return seen
	}
	did, seen := c.meet(effect)
	s.keep(key, did, seen)
	return seen
}

func (s *Stripe) find(c *call) (operation, map[string]string, bool) {
	for _, op := range s.operations {
		if op.method != c.Method {
			continue
		}
		if captured, ok := capture(op.pattern, c.path); ok {
			return op, captured, true
		}
	}
	return operation{}, nil, false
}

// perform checks the parameters and runs the operation.
func (s *Stripe) perform(c *call, op operation, captured map[string]string) reply {
	q, problem := readQuery(c, op)
	if problem == nil {
		q.id = captured["id"]
		s.mu.Lock()
		defer s.mu.Unlock() // held while the response is encoded, because it shares maps with the state
		var answer any
		if answer, problem = op.run(q); problem == nil {
			problem = q.problem
		}
		if problem == nil {
			return jsonReply(http.StatusOK, answer)
		}
	}
	if problem.malformed {
		s.report(c, problem)
	}
	return problem.reply()
}

func (s *Stripe) report(c *call, problem *apiError) {
	if s.config.Report != nil {
		s.config.Report.Errorf("stripe sandbox: %s %s: %s", c.Method, c.path, problem.message)
	}
}

// keyProblem checks the secret key, sent as a bearer token or as the user of basic authentication.
func (s *Stripe) keyProblem(r *http.Request) *apiError {
	key, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !found {
		key, _, found = r.BasicAuth()
	}
	if !found || key == "" {
		return refused(http.StatusUnauthorized, "", "", "You did not provide an API key. You need to provide your "+
			"API key in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').")
	}
	good := key == s.config.Key
	if s.config.Key == "" {
		for _, kind := range []string{"sk_", "rk_"} {
			suffix, ok := strings.CutPrefix(key, kind+s.mode()+"_")
			good = good || ok && suffix != ""
		}
	}
	if good {
		return nil
	}
	return refused(http.StatusUnauthorized, "", "", "Invalid API Key provided: %s****", key[:min(len(key), 8)])
}

func (s *Stripe) mode() string {
	if s.config.Livemode {
		return "live"
	}
	return "test"
}

// overLimit counts a request against its endpoint's limit.
func (s *Stripe) overLimit(op operation) *apiError {
	if s.config.PerSecond <= 0 {
		return nil
	}
	period, limit := time.Second, int(s.config.PerSecond)
	if s.config.PerSecond < 1 {
		period, limit = time.Duration(math.Round(float64(time.Second)/s.config.PerSecond)), 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.windows[op.name()]
	if w == nil {
		w = &window{period: period, limit: limit}
		s.windows[op.name()] = w
	}
	if w.wait(time.Now()) == 0 {
		return nil
	}
	problem := refused(http.StatusTooManyRequests, "rate_limit", "",
		"Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.")
	problem.header = http.Header{"Stripe-Rate-Limited-Reason": {"endpoint-rate"}}
	return problem
}

// window allows at limit limit requests in each fixed period.
type window struct {
	period time.Duration
	limit  int
	began  time.Time
	seen   int
}

// wait counts a request and returns 0, or returns the rest of the period if the window is full.
func (w *window) wait(now time.Time) time.Duration {
	if left := w.period - now.Sub(w.began); left <= 0 {
		w.began, w.seen = now, 0
	} else if w.seen >= w.limit {
		return left
	}
	w.seen++
	return 0
}

// answer is the stored result of an idempotency key.
type answer struct {
	request string
	at      time.Time
	given   *reply // nil while the request runs
}

// neverArrives reports whether the script stops a request before the layer that stores idempotency
// keys. Stripe answers 429 before that layer (docs/vendors.md). A connection that breaks without an
// effect does not reach it either.
func (c *call) neverArrives() bool {
	return c.scripted && !c.outcome.Applied && (c.outcome.Status == 0 || c.outcome.Status == http.StatusTooManyRequests)
}

// remember begins a request with an idempotency key. If the key is known, it returns the response
// to send and false.
func (s *Stripe) remember(key string, c *call) (reply, bool) {
	if len(key) > 255 {
		problem := malformed("", "Idempotency key is longer than 255 characters.")
		s.report(c, problem)
		return problem.reply(), false
	}
	request := c.Method + " " + c.path + "\n" + string(c.body)
	s.mu.Lock()
	defer s.mu.Unlock()
	earlier := s.answers[key]
	switch {
	case earlier == nil || earlier.given != nil && time.Since(earlier.at) > 24*time.Hour:
		s.answers[key] = &answer{request: request, at: time.Now()}
		return reply{}, true
	case earlier.request != request:
		problem := malformed("", "Keys for idempotent requests can only be used with the same parameters they were "+
			"first used with. Try using a key other than '%s' if you meant to execute a different request.", key)
		problem.kind = "idempotency_error"
		s.report(c, problem)
		return problem.reply(), false
	case earlier.given == nil:
		problem := refused(http.StatusConflict, "idempotency_key_in_use", "",
			"There is currently another in-progress request using this Idempotent Key (that probably means you "+
				"submitted twice, and the other request is still going through): %s.", key)
		problem.kind = "idempotency_error"
		return problem.reply(), false
	}
	again := *earlier.given
	again.header = again.header.Clone()
	again.header.Set("Idempotent-Replayed", "true")
	return again, false
}

// keep ends a request with an idempotency key. It stores the first status and body of a request
// that was executed, including a 500 and an error due to the account's state. It stores nothing for
// a request that was not executed, such as a validation error or a gateway's 502.
func (s *Stripe) keep(key string, did, seen reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case seen.status == http.StatusInternalServerError:
		s.answers[key].given = &seen
	case did.status == http.StatusOK || did.executed:
		s.answers[key].given = &did
	default:
		delete(s.answers, key)
	}
}

// usualError returns Stripe's usual error for a status.
func usualError(status int) reply {
	problem := refused(status, "", "", "An unknown error occurred")
	switch {
	case status >= 500:
		problem.kind = "api_error"
	case status == http.StatusTooManyRequests:
		problem.code, problem.message = "rate_limit", "Request rate limit exceeded."
	case status == http.StatusUnauthorized:
		problem.message = "Invalid API Key provided."
	case status == http.StatusConflict:
		problem.code, problem.kind = "idempotency_key_in_use", "idempotency_error"
	case status == http.StatusPaymentRequired:
		problem.code, problem.kind, problem.message = "card_declined", "card_error", "Your card was declined."
	}
	return problem.reply()
}

func jsonReply(status int, object any) reply {
	body, err := json.Marshal(object)
	if err != nil {
		panic(fmt.Sprintf("sandbox: encode %T: %v", object, err))
	}
	return reply{status: status, body: body, header: http.Header{
		"Content-Type": {"application/json"},
		"Request-Id":   {"req_" + randomText(14)},
	}}
}

// randomText returns n random characters of base 62.
func randomText(n int) string {
	text := make([]byte, n)
	_, _ = rand.Read(text) // never fails
	for i, b := range text {
		text[i] = alphabet[int(b)%len(alphabet)]
	}
	return string(text)
}

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// timedID returns an id like those that Stripe gives to most objects: a prefix, five characters for
// the second, ten that are the same for the whole account, and eight at random. Such ids grow with
// time, so new ones go to the end of an index. The ids of sessions are random.
func timedID(prefix string, at time.Time) string {
	const (
		firstSecond = 1342389380 // 2012-07-15, written as 00000
		account     = "Sandbox5tU"
	)
	var text [5]byte
	seconds := uint64(at.Unix() - firstSecond) // fake time is earlier, and wraps around
	for i := range text {
		text[len(text)-1-i] = alphabet[seconds%uint64(len(alphabet))]
		seconds /= uint64(len(alphabet))
	}
	return prefix + string(text[:]) + account + randomText(8)
}

// lastSegment returns the id at the end of a URL, or the text itself.
func lastSegment(text string) string {
	if parsed, err := url.Parse(text); err == nil {
		text = parsed.Path
	}
	return text[strings.LastIndex(text, "/")+1:]
}
