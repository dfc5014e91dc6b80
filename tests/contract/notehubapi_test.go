package contract

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"notepay/internal/sandbox"
)

// notehubAPI checks requests to Notehub and the sandbox's replies against Notehub's published
// OpenAPI description.
//
// It also rejects query parameters and object members that are not described. Where the description
// is wrong or silent, amend corrects it.
type notehubAPI struct {
	router routers.Router
	calls
}

// newNotehubAPI reads the description from the file in NOTEHUB_OPENAPI. It ends the test if there
// is none.
func newNotehubAPI(t *testing.T) *notehubAPI {
	t.Helper()
	path := os.Getenv("NOTEHUB_OPENAPI")
	if path == "" {
		unavailable(t, "NOTEHUB_OPENAPI does not name a file with Notehub's OpenAPI description (openapi.yaml of "+
			"blues/notehub-go)")
	}
	doc, err := openapi3.NewLoader().LoadFromFile(path)
	if err != nil {
		t.Fatalf("read Notehub's description: %v", err)
	}
	amend(doc)
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatalf("route by Notehub's description: %v", err)
	}
	return &notehubAPI{router: router}
}

// amend corrects the description where it is wrong or silent.
func amend(doc *openapi3.T) {
	// Accept any host, because the sandbox is not https://api.notefile.net. The token call is
	// described there and also documented at https://notehub.io, which notepay uses unless
	// NOTEHUB_AUTH_URL is set.
	doc.Servers = nil
	// Events contain the fleets of their device (note.Event of blues/note-go), which the
	// description omits.
	doc.Components.Schemas["Event"].Value.Properties["fleets"] = openapi3.NewArraySchema().
		WithItems(openapi3.NewStringSchema()).
		NewRef()
	// The description is silent about the following, so it is not checked here. The notes of
	// GetNotefile are only an object, while notepay reads body.credit_id of each. The reply to a
	// note and to a deletion is {}. Each error may have any status, in the one shape of an error.
	// There is no 429 and no Retry-After.
	for _, schema := range doc.Components.Schemas {
		closeSchema(schema)
	}
	for _, response := range doc.Components.Responses {
		closeContent(response.Value.Content)
	}
	for _, path := range doc.Paths.Map() {
		for _, operation := range path.Operations() {
			if operation.RequestBody != nil {
				closeContent(operation.RequestBody.Value.Content)
			}
			for _, response := range operation.Responses.Map() {
				closeContent(response.Value.Content)
			}
		}
	}
}

func closeContent(content openapi3.Content) {
	for _, kind := range content {
		closeSchema(kind.Schema)
	}
}

// closeSchema allows an object only the described members. A schema without members, such as a
// note's body, stays open.
func closeSchema(schema *openapi3.SchemaRef) {
	if schema == nil || schema.Value == nil {
		return
	}
	if s := schema.Value; len(s.Properties) > 0 && s.AdditionalProperties.Has == nil &&
		s.AdditionalProperties.Schema == nil {
		s.AdditionalProperties.Has = new(false)
	}
}

// proxy passes requests to next and checks each request and reply against the description. It
// reports differences.
func (n *notehubAPI) proxy(report sandbox.Reporter, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			report.Errorf("read a request to Notehub: %v", err)
			return
		}
		copied := r.Clone(context.WithoutCancel(r.Context()))
		copied.Body = io.NopCloser(bytes.NewReader(body))
		input, err := n.request(copied)
		if err != nil {
			report.Errorf("Notehub's description does not allow %s %s with body %q: %v", r.Method, r.URL, body, err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r) // may panic to cut the connection, and then there is no reply to check
		if input != nil {
			if err := n.answer(input, answer); err != nil {
				report.Errorf("Notehub's description does not allow the answer %d %s to %s %s: %v", answer.Code,
					answer.Body, r.Method, r.URL, err)
			}
		}
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	})
}

// request checks a request. The result is nil if the description has no such operation.
func (n *notehubAPI) request(r *http.Request) (*openapi3filter.RequestValidationInput, error) {
	route, captured, err := n.router.FindRoute(r)
	if err != nil {
		return nil, fmt.Errorf("find the operation: %w", err)
	}
	n.saw(route.Operation.OperationID)
	input := &openapi3filter.RequestValidationInput{
		Request:    r,
		PathParams: captured,
		Route:      route,
		Options: &openapi3filter.Options{
			RejectWhenRequestBodyNotSpecified: true,
			SkipSettingDefaults:               true,
			IncludeResponseStatus:             true,
			MultiError:                        true,
			AuthenticationFunc:                bearer,
		},
	}
	// without the whole schema
	input.Options.WithCustomSchemaErrorFunc(func(e *openapi3.SchemaError) string { return e.Reason })
	err = openapi3filter.ValidateRequest(r.Context(), input)
	for name := range r.URL.Query() {
		described := route.Operation.Parameters.GetByInAndName("query", name)
		if described == nil && route.PathItem.Parameters.GetByInAndName("query", name) == nil {
			err = errors.Join(err, fmt.Errorf("query parameter %s is not described", name))
		}
	}
	return input, err
}

// bearer checks that a token is sent as a bearer token.
func bearer(_ context.Context, input *openapi3filter.AuthenticationInput) error {
	if !strings.HasPrefix(input.RequestValidationInput.Request.Header.Get("Authorization"), "Bearer ") {
		return input.NewError(errors.New("no bearer token"))
	}
	return nil
}

func (n *notehubAPI) answer(input *openapi3filter.RequestValidationInput, answer *httptest.ResponseRecorder) error {
	return openapi3filter.ValidateResponse(input.Request.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input,
		Status:                 answer.Code,
		Header:                 answer.Header(),
		Body:                   io.NopCloser(bytes.NewReader(answer.Body.Bytes())),
		Options:                input.Options,
	})
}
