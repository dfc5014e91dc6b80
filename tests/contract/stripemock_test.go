package contract

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stripe/stripe-mock/embedded"
	"github.com/stripe/stripe-mock/server"

	"notepay/internal/sandbox"
)

// calls counts checked operations. It is safe for concurrent use.
type calls struct {
	mu   sync.Mutex
	seen map[string]int
}

func (c *calls) saw(operation string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = make(map[string]int)
	}
	c.seen[operation]++
}

// stripeMock checks requests to Stripe against Stripe's OpenAPI description, with Stripe's own
// stripe-mock.
//
// It rejects unknown paths and parameters, wrong types and enumerations, and missing required
// parameters. It does not know a real account's state, such as whether a price exists. It also
// checks neither idempotency nor whether a redirect has a URL. The sandbox is strict about those.
type stripeMock struct {
	stub *server.StubServer
	calls
}

func newStripeMock(t *testing.T) *stripeMock {
	t.Helper()
	spec, err := server.LoadSpec(embedded.OpenAPISpec, "")
	if err != nil {
		t.Fatalf("load Stripe's description: %v", err)
	}
	fixtures, err := server.LoadFixtures(embedded.OpenAPIFixtures, "")
	if err != nil {
		t.Fatalf("load stripe-mock's fixtures: %v", err)
	}
	stub, err := server.NewStubServer(fixtures, spec, false, false)
	if err != nil {
		t.Fatalf("make stripe-mock: %v", err)
	}
	return &stripeMock{stub: stub}
}

// objectID matches the ids in paths, so that paths can be grouped by operation.
var objectID = regexp.MustCompile(`/(price|plink|cs|pi|prod|ch|re|evt|we)_\w+`)

// proxy passes API requests to next after stripe-mock has checked them. It reports what stripe-mock
// rejects.
func (m *stripeMock) proxy(report sandbox.Reporter, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/v1/") {
			next.ServeHTTP(w, r) // the hosted checkout
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			report.Errorf("read a request to Stripe: %v", err)
			return
		}
		copied := r.Clone(r.Context())
		copied.Body = io.NopCloser(bytes.NewReader(body))
		answer := httptest.NewRecorder()
		m.stub.HandleRequest(answer, copied)
		if answer.Code != http.StatusOK {
			report.Errorf("stripe-mock refuses %s %s with body %q: %s", r.Method, r.URL, body, answer.Body)
		}
		m.saw(r.Method + " " + objectID.ReplaceAllString(r.URL.Path, "/{id}"))
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}
