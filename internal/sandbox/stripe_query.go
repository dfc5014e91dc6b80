package sandbox

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// apiError is an error response in Stripe's shape.
type apiError struct {
	status                     int
	kind, code, message, param string
	malformed                  bool // the caller's mistake, which the Reporter receives
	header                     http.Header
	intent                     object // the PaymentIntent concerned, if any
}

// malformed returns the error for a request that is wrong in any account.
func malformed(param, format string, args ...any) *apiError {
	problem := refused(http.StatusBadRequest, "", param, format, args...)
	problem.malformed = true
	return problem
}

// refused returns the error for a well-formed request that this account rejects now.
func refused(status int, code, param, format string, args ...any) *apiError {
	return &apiError{
		status:  status,
		kind:    "invalid_request_error",
		code:    code,
		param:   param,
		message: fmt.Sprintf(format, args...),
	}
}

// missing returns the error for an object that does not exist. The status is 404 if its id is in
// the path, and 400 if it is in a parameter.
func missing(kind, id, param string) *apiError {
	status := http.StatusNotFound
	if param != "" {
		status = http.StatusBadRequest
	} else {
		param = "id"
	}
	return refused(status, "resource_missing", param, "No such %s: '%s'", kind, id)
}

func (e *apiError) reply() reply {
	body := object{"type": e.kind, "message": e.message}
	if e.code != "" {
		body["code"] = e.code
	}
	if e.param != "" {
		body["param"] = e.param
	}
	if e.intent != nil {
		body["payment_intent"] = e.intent
	}
	given := jsonReply(e.status, object{"error": body})
	given.executed = !e.malformed && e.code != "resource_missing"
	maps.Copy(given.header, e.header)
	return given
}

// object is a JSON object.
type object = map[string]any

// query holds the parameters of a request, from its form or its query string. It keeps the first
// bad value as its problem.
type query struct {
	url.Values
	id      string
	expand  expansion
	problem *apiError
}

func (q *query) fail(problem *apiError) {
	if q.problem == nil {
		q.problem = problem
	}
}

// readQuery reads the parameters and rejects those that the operation does not have.
func readQuery(c *call, op operation) (*query, *apiError) {
	text := c.URL.RawQuery
	if c.Method == http.MethodPost {
		if text != "" {
			return nil, malformed("", "Parameters of a POST belong in its body, not in the query string.")
		}
		text = string(c.body)
		if kind := c.Header.Get("Content-Type"); text != "" &&
			!strings.HasPrefix(kind, "application/x-www-form-urlencoded") {
			return nil, malformed("", "Invalid request (check that your POST content type is "+
				"application/x-www-form-urlencoded), not %q.", kind)
		}
	} else if len(c.body) > 0 {
		return nil, malformed("", "A %s has no body.", c.Method)
	}
	values, err := url.ParseQuery(text)
	if err != nil {
		return nil, malformed("", "Invalid form encoding: %v", err)
	}
	q := &query{Values: values}
	expandable := strings.Fields(op.expand)
	for name := range values {
		path := segments(name)
		if path[0] == "expand" && len(path) == 2 {
			for _, property := range values[name] {
				if !slices.Contains(expandable, property) {
					return nil, malformed(name, "This property cannot be expanded (%s).", property)
				}
				q.expand = append(q.expand, property)
			}
		} else if !legal(op.params, path) {
			problem := malformed(name, "Received unknown parameter: %s", name)
			problem.code = "parameter_unknown"
			return nil, problem
		}
		if problem := tooLong(name, values.Get(name)); problem != nil {
			return nil, problem
		}
		if problem := badDescriptor(name, values.Get(name)); problem != nil {
			return nil, problem
		}
	}
	return q, nil
}

// segments splits "line_items[0][price]" into "line_items", "0" and "price".
func segments(name string) []string {
	parts := strings.Split(name, "[")
	for i := 1; i < len(parts); i++ {
		parts[i] = strings.TrimSuffix(parts[i], "]")
	}
	return parts
}

// legal reports whether a parameter is in a list such as "active metadata[*] line_items[#][price]
// custom_text[**]". In a list, # is a number or empty, * is any key, and ** is everything that
// follows.
func legal(params string, path []string) bool {
	for _, param := range strings.Fields(params) {
		want := segments(param)
		for i := 0; ; i++ {
			if i < len(want) && want[i] == "**" && i < len(path) || i == len(want) && i == len(path) {
				return true
			}
			if i >= len(want) || i >= len(path) {
				break
			}
			_, err := strconv.Atoi(path[i])
			number := err == nil || path[i] == ""
			if want[i] != path[i] && want[i] != "*" && (want[i] != "#" || !number) {
				break
			}
		}
	}
	return false
}

// integer returns a whole number between minimum and maximum, or the fallback if it is absent.
func (q *query) integer(name string, fallback, minimum, maximum int64) int64 {
	if !q.Has(name) {
		return fallback
	}
	n, err := strconv.ParseInt(q.Get(name), 10, 64)
	if err != nil {
		q.fail(malformed(name, "Invalid integer: %s", q.Get(name)))
		return fallback
	}
	if n < minimum || n > maximum {
		q.fail(malformed(name, "This value must be between %d and %d, not %d.", minimum, maximum, n))
	}
	return n
}

// flag returns a boolean, or the fallback if it is absent.
func (q *query) flag(name string, fallback bool) bool {
	switch q.Get(name) {
	case "true":
		return true
	case "false":
		return false
	}
	if q.Has(name) {
		q.fail(malformed(name, "Invalid boolean: %s", q.Get(name)))
	}
	return fallback
}

// oneOf returns a value of an enumeration, or the first one if it is absent.
func (q *query) oneOf(name string, values ...string) string {
	if !q.Has(name) {
		return values[0]
	}
	if !slices.Contains(values, q.Get(name)) {
		q.fail(malformed(name, "Invalid %s: must be one of %s", name, strings.Join(values, ", ")))
	}
	return q.Get(name)
}

// address returns an absolute web address, or "" if it is absent.
func (q *query) address(name string) string {
	text := q.Get(name)
	parsed, err := url.Parse(text)
	if q.Has(name) && (err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https") {
		problem := malformed(name, "Not a valid URL")
		problem.code = "url_invalid"
		q.fail(problem)
	}
	return text
}

// list returns the values of name[], name[0], ... in the order of their numbers.
func (q *query) list(name string) []string {
	values := slices.Clone(q.Values[name+"[]"])
	for i := 0; q.Has(fmt.Sprintf("%s[%d]", name, i)); i++ {
		values = append(values, q.Get(fmt.Sprintf("%s[%d]", name, i)))
	}
	return values
}

// metadata returns the metadata given as name[key], merged into the old. An empty value removes its
// key, and an empty name removes all keys. The limits are those of docs.stripe.com/metadata.
func (q *query) metadata(name string, old map[string]string) map[string]string {
	merged := maps.Clone(old)
	if merged == nil || q.Has(name) && q.Get(name) == "" {
		merged = make(map[string]string)
	}
	for full := range q.Values {
		key, found := strings.CutPrefix(full, name+"[")
		if !found || !strings.HasSuffix(key, "]") {
			continue
		}
		key, value := strings.TrimSuffix(key, "]"), q.Get(full)
		switch {
		case value == "":
			delete(merged, key)
			continue
		case len([]rune(key)) > 40:
			q.fail(malformed(full, "Metadata keys can have up to 40 characters, but yours is %d.", len([]rune(key))))
		case len([]rune(value)) > 500:
			q.fail(malformed(full, "Metadata values can have up to 500 characters, but you passed in a value that is "+
				"%d characters.", len([]rune(value))))
		}
		merged[key] = value
	}
	if len(merged) > 50 {
		q.fail(malformed(name, "You can have up to 50 metadata keys, not %d.", len(merged)))
	}
	return merged
}

// tree returns the parameters under a name as nested objects, as Stripe echoes them. It returns nil
// if there are none.
func (q *query) tree(name string) object {
	var root object
	for full, values := range q.Values {
		path := segments(full)
		if path[0] != name || len(path) < 2 {
			continue
		}
		if root == nil {
			root = object{}
		}
		node := root
		for _, part := range path[1 : len(path)-1] {
			next, ok := node[part].(object)
			if !ok {
				next = object{}
				node[part] = next
			}
			node = next
		}
		node[path[len(path)-1]] = values[0]
	}
	return root
}

// expansion lists the properties to expand, as dotted paths.
type expansion []string

// into reports whether a property is expanded, and returns the expansions inside it.
func (e expansion) into(name string) (expansion, bool) {
	var inner expansion
	found := false
	for _, path := range e {
		head, rest, _ := strings.Cut(path, ".")
		if head != name {
			continue
		}
		found = true
		if rest != "" {
			inner = append(inner, rest)
		}
	}
	return inner, found
}

// shelf keeps the objects of one kind in the order of their creation. Only forget removes any.
type shelf[T any] struct {
	order     []*T
	names     []string       // ids of the objects in order
	ids       map[string]int // positions, counting those that were forgotten
	forgotten int
}

func (s *shelf[T]) put(id string, made *T) {
	if s.ids == nil {
		s.ids = make(map[string]int)
	}
	s.ids[id] = s.forgotten + len(s.order)
	s.order, s.names = append(s.order, made), append(s.names, id)
}

// forget removes the oldest objects, up to the first that is not old.
func (s *shelf[T]) forget(old func(*T) bool) {
	n := slices.IndexFunc(s.order, func(o *T) bool { return !old(o) })
	if n < 0 {
		n = len(s.order)
	}
	if n == 0 {
		return
	}
	for _, id := range s.names[:n] {
		delete(s.ids, id)
	}
	s.order, s.names, s.forgotten = slices.Clone(s.order[n:]), slices.Clone(s.names[n:]), s.forgotten+n
}

// get returns an object, or nil.
func (s *shelf[T]) get(id string) *T {
	if i, ok := s.ids[id]; ok {
		return s.order[i-s.forgotten]
	}
	return nil
}

const pageParams = " limit starting_after ending_before"

// listPage serves a list call: newest first, at most limit matching objects (10 by default), after
// or before a given object.
func listPage[T any](
	q *query,
	s *shelf[T],
	path string,
	wanted func(*T) bool,
	render func(*T, expansion) object,
) (any, *apiError) {
	limit := int(q.integer("limit", 10, 1, 100))
	after, before := q.Get("starting_after"), q.Get("ending_before")
	from, step := len(s.order)-1, -1
	for name, id := range map[string]string{"starting_after": after, "ending_before": before} {
		if id == "" {
			continue
		}
		at, ok := s.ids[id]
		switch {
		case after != "" && before != "":
			return nil, malformed(name, "You can only provide one of starting_after and ending_before.")
		case !ok:
			return nil, missing("object", id, name)
		case name == "ending_before":
			step = 1
		}
		from = at - s.forgotten + step
	}
	inner, _ := q.expand.into("data")
	data := make([]object, 0, limit)
	more := false
	for i := from; i >= 0 && i < len(s.order); i += step {
		if !wanted(s.order[i]) {
			continue
		}
		if len(data) == limit {
			more = true
			break
		}
		data = append(data, render(s.order[i], inner))
	}
	if step > 0 {
		slices.Reverse(data)
	}
	return object{"object": "list", "url": path, "has_more": more, "data": data}, q.problem
}

// createdWanted returns the filter of created, created[gte], [gt], [lte] and [lt], in unix seconds.
func (q *query) createdWanted() func(unix int64) bool {
	const maxUnix = int64(1) << 40
	from := max(q.integer("created[gte]", 0, 0, maxUnix), q.integer("created[gt]", -1, 0, maxUnix)+1,
		q.integer("created", 0, 0, maxUnix))
	to := min(q.integer("created[lte]", maxUnix, 0, maxUnix), q.integer("created[lt]", maxUnix, 0, maxUnix)-1,
		q.integer("created", maxUnix, 0, maxUnix))
	return func(unix int64) bool { return from <= unix && unix <= to }
}

const createdParams = " created created[gte] created[gt] created[lte] created[lt]"

// nullable returns nil for "", as Stripe renders an unset field.
func nullable(text string) any {
	if text == "" {
		return nil
	}
	return text
}
