package sandbox

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// hubError is an error response in Notehub's shape. Its text may contain a {token}.
type hubError struct {
	status    int
	text      string
	malformed bool
	after     time.Duration // value of Retry-After
}

func (e *hubError) reply(path string) reply {
	given := jsonReply(e.status, object{
		"err":     e.text,
		"code":    e.status,
		"status":  http.StatusText(e.status),
		"request": path,
		"details": object{},
		"debug":   "",
	})
	given.header.Del("Request-Id")
	if e.after > 0 {
		given.header.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.after.Seconds()))))
	}
	return given
}

func hubRefused(status int, format string, args ...any) *hubError {
	return &hubError{status: status, text: fmt.Sprintf(format, args...)}
}

func hubMalformed(format string, args ...any) *hubError {
	return &hubError{status: http.StatusBadRequest, text: fmt.Sprintf(format, args...), malformed: true}
}

// ServeHTTP answers the API.
func (n *Notehub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	usual := func(status int) reply {
		return hubRefused(status, "%s", strings.ToLower(http.StatusText(status))).reply(path)
	}
	n.serve(w, r, usual, func(c *call) reply {
		_, seen := c.meet(func() reply { return n.answer(c) })
		return seen
	})
}

func (n *Notehub) report(c *call, text string) {
	if n.config.Report != nil {
		n.config.Report.Errorf("notehub sandbox: %s %s: %s", c.Method, c.path, text)
	}
}

// answer handles a request. It checks the rate limit, the token, the path and the parameters, in
// this order.
func (n *Notehub) answer(c *call) reply {
	n.mu.Lock()
	defer n.mu.Unlock()
	isToken := c.path == "/oauth2/token"
	if n.config.PerMinute > 0 && !(isToken && n.config.Unknown.TokenCallFree) {
		if wait := n.minute.wait(time.Now()); wait > 0 {
			return (&hubError{status: http.StatusTooManyRequests, text: "too many requests", after: wait}).reply(c.path)
		}
	}
	if isToken {
		return n.token(c)
	}
	if !n.authorized(c.Header.Get("Authorization")) {
		return hubRefused(http.StatusUnauthorized,
			"not authorized: the token is missing, dead or wrong {auth}").reply(c.path)
	}
	answer, problem := n.run(c)
	if problem == nil {
		status := http.StatusOK
		if made, ok := answer.(created); ok {
			status, answer = http.StatusCreated, made.object
		}
		given := jsonReply(status, answer)
		given.header.Del("Request-Id")
		return given
	}
	if problem.malformed {
		n.report(c, problem.text)
	}
	return problem.reply(c.path)
}

// created is the answer of an operation that made something.
type created struct{ object any }

func (n *Notehub) authorized(header string) bool {
	token, found := strings.CutPrefix(header, "Bearer ")
	if !found || token == "" {
		return false
	}
	dies, issued := n.tokens[token]
	return token == n.config.Token || issued && time.Now().Before(dies)
}

// token issues an access token. Its errors have the shape of RFC 6749, not Notehub's.
func (n *Notehub) token(c *call) reply {
	refuse := func(status int, code, text string, malformed bool) reply {
		if malformed {
			n.report(c, text)
		}
		return jsonReply(status, object{"error": code, "error_description": text})
	}
	form, err := url.ParseQuery(string(c.body))
	kind := form.Get("grant_type")
	switch {
	case c.Method != http.MethodPost || err != nil ||
		!strings.HasPrefix(c.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
		return refuse(http.StatusBadRequest, "invalid_request", "a token is asked for with POST and a form", true)
	case c.Header.Get("Authorization") != "":
		return refuse(http.StatusUnauthorized, "invalid_client",
			"the credentials belong in the form, not in a header", true)
	case kind == "":
		return refuse(http.StatusBadRequest, "invalid_request", "grant_type is missing", true)
	case kind != "client_credentials":
		return refuse(http.StatusBadRequest, "unsupported_grant_type", "grant_type is not client_credentials", true)
	case n.config.ClientID == "" || form.Get("client_id") != n.config.ClientID ||
		form.Get("client_secret") != n.config.ClientSecret:
		return refuse(http.StatusUnauthorized, "invalid_client", "client authentication failed", false)
	}
	for name := range form {
		if !slices.Contains([]string{"grant_type", "client_id", "client_secret", "scope"}, name) {
			return refuse(http.StatusBadRequest, "invalid_request", "unknown field "+name, true)
		}
	}
	token := randomText(43)
	n.issued++
	n.tokens[token] = time.Now().Add(n.config.TokenLife)
	return jsonReply(http.StatusOK, object{
		"access_token": token,
		"expires_in":   int(n.config.TokenLife.Seconds()),
		"scope":        "",
		"token_type":   "bearer",
	})
}

// hubOperation is one call of the API. The pattern begins after the project, and params lists the
// allowed query parameters.
type hubOperation struct {
	method, pattern, params string
	run                     func(*hubQuery) (any, *hubError)
}

// hubQuery is one request: the values in its path, its query parameters and its body.
type hubQuery struct {
	url.Values
	path map[string]string
	body []byte
}

// run finds the operation, makes the checks that all operations share, and runs it.
func (n *Notehub) run(c *call) (any, *hubError) {
	for _, op := range n.operations {
		if op.method != c.Method {
			continue
		}
		path, ok := capture("/v1/projects/{project}"+op.pattern, c.path)
		if !ok {
			continue
		}
		values, err := url.ParseQuery(c.URL.RawQuery)
		if err != nil {
			return nil, hubMalformed("malformed query: %v", err)
		}
		for name := range values {
			if !slices.Contains(strings.Fields(op.params), name) {
				return nil, hubMalformed("unknown query parameter %s", name)
			}
		}
		switch kind := c.Header.Get("Content-Type"); {
		case len(c.body) > 0 && c.Method == http.MethodGet:
			return nil, hubMalformed("a GET has no body")
		case len(c.body) > 0 && !strings.HasPrefix(kind, "application/json"):
			problem := hubMalformed("the body must be application/json, not %q", kind)
			problem.status = http.StatusUnsupportedMediaType
			return nil, problem
		}
		if n.config.Project != "" && path["project"] != n.config.Project {
			return nil, hubRefused(n.config.Unknown.otherProjectStatus(),
				"project %s does not exist {app-noexist}", path["project"])
		}
		if uid := path["device"]; uid != "" && n.byUID[uid] == nil {
			return nil, hubRefused(n.config.Unknown.unknownDeviceStatus(),
				"device %s does not exist {device-noexist}", uid)
		}
		if uid := path["fleet"]; uid != "" && n.fleet(uid) == nil {
			return nil, hubRefused(http.StatusNotFound, "fleet %s does not exist", uid)
		}
		return op.run(&hubQuery{Values: values, path: path, body: c.body})
	}
	problem := hubRefused(http.StatusNotFound, "no such call")
	problem.malformed = true
	return nil, problem
}

// integer returns a query parameter between minimum and maximum, or the fallback if it is absent.
func (q *hubQuery) integer(name string, fallback, minimum, maximum int) (int, *hubError) {
	if !q.Has(name) {
		return fallback, nil
	}
	number, err := strconv.Atoi(q.Get(name))
	if err != nil || number < minimum || number > maximum {
		return 0, hubMalformed("%s must be a number between %d and %d, not %q", name, minimum, maximum, q.Get(name))
	}
	return number, nil
}

// decode reads one JSON object from the body and rejects unknown fields.
func (q *hubQuery) decode(into any) *hubError {
	decoder := json.NewDecoder(strings.NewReader(string(q.body)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return hubMalformed("malformed body: %v", err)
	}
	if decoder.More() {
		return hubMalformed("malformed body: more than one JSON value")
	}
	return nil
}
