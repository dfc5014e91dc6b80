package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"notepay/internal/uid"
)

// Elsewhere returns a handler for requests that match no route as they are written. Scanners write
// addresses in upper case, and people add a slash. The handler passes such a request to the route
// that matches another spelling, without a redirect, because a webhook's sender follows none. It
// answers 405 if only the method is wrong, and passes everything else to missing.
//
// The handler serves the pattern "/" of routes, and other patterns that match what no route does.
func Elsewhere(routes *http.ServeMux, missing http.Handler, patterns ...string) http.Handler {
	patterns = append(patterns, "/")
	matches := func(r *http.Request) bool {
		_, pattern := routes.Handler(r)
		return pattern != "" && !slices.Contains(patterns, pattern)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, spelling := range spellings(r.URL) {
			other := r.Clone(r.Context())
			other.URL = spelling
			if matches(other) {
				routes.ServeHTTP(w, other)
				return
			}
		}
		var methods []string
		for _, method := range []string{
			http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodPatch, http.MethodPost, http.MethodPut,
		} {
			other := r.Clone(r.Context())
			if other.Method = method; matches(other) {
				methods = append(methods, method)
			}
		}
		if len(methods) > 0 && !strings.HasPrefix(r.URL.Path, "/api/") {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
			return
		}
		missing.ServeHTTP(w, r)
	})
}

// Tidy removes empty segments from paths before next sees them. http.ServeMux would answer with a
// redirect.
func Tidy(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "//") {
			tidied := *r.URL
			tidied.Path, tidied.RawPath = tidy(r.URL.Path), tidy(r.URL.RawPath)
			r = r.Clone(r.Context())
			r.URL = &tidied
		}
		next.ServeHTTP(w, r)
	})
}

// tidy returns a path without empty segments and without a slash at its end.
func tidy(path string) string {
	if path == "" {
		return ""
	}
	empty := func(segment string) bool { return strings.TrimSpace(segment) == "" }
	return "/" + strings.Join(slices.DeleteFunc(strings.Split(path, "/"), empty), "/")
}

// spellings returns the addresses that the writer of one without a route may have meant.
func spellings(u *url.URL) (list []*url.URL) {
	add := func(change func(path string) string) {
		other := *u
		other.Path, other.RawPath = change(u.Path), change(u.RawPath)
		if other.Path != u.Path {
			list = append(list, &other)
		}
	}
	add(tidy)
	add(func(path string) string { // the first segment names the route; ids behind it are case-sensitive
		path = tidy(path)
		if len(path) == 0 {
			return ""
		}
		first, rest, found := strings.Cut(path[1:], "/")
		if found {
			rest = "/" + rest
		}
		return "/" + strings.ToLower(first) + rest
	})
	add(func(path string) string { return strings.ToLower(tidy(path)) })
	// A device UID alone.
	if key, ok := uid.Parse(strings.Trim(u.Path, "/")); ok &&
		!strings.Contains(strings.Trim(u.Path, "/"), "/") {
		list = append(list, &url.URL{Path: "/pay/" + key, RawQuery: u.RawQuery})
	}
	return list
}
