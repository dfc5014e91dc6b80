package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"notepay/internal/uid"
)

// Elsewhere answers requests that no route takes as they are written: scanners write addresses in
// capitals, people add a slash. It gives such a request to the route that is meant, without a
// redirect, because a webhook must not be answered with one. What no route takes in any spelling
// goes to missing, and a method that a route does not have is answered 405.
//
// It is the handler of the pattern "/" of routes, and of other patterns that stand for "all else".
func Elsewhere(routes *http.ServeMux, missing http.Handler, patterns ...string) http.Handler {
	patterns = append(patterns, "/")
	takes := func(r *http.Request) bool {
		_, pattern := routes.Handler(r)
		return pattern != "" && !slices.Contains(patterns, pattern)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, meant := range spellings(r.URL) {
			other := r.Clone(r.Context())
			other.URL = meant
			if takes(other) {
				routes.ServeHTTP(w, other)
				return
			}
		}
		var methods []string
		for _, method := range []string{
			http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodPatch, http.MethodPost, http.MethodPut,
		} {
			other := r.Clone(r.Context())
			if other.Method = method; takes(other) {
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

// Tidy lets paths with empty parts reach the routes below as if they had none. The routes
// themselves would answer with a redirect.
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

// tidy returns a path without empty parts and without a slash at its end.
func tidy(path string) string {
	if path == "" {
		return ""
	}
	return "/" + strings.Join(
		slices.DeleteFunc(strings.Split(path, "/"), func(part string) bool { return strings.TrimSpace(part) == "" }),
		"/",
	)
}

// spellings are the addresses that may be meant by one that no route takes.
func spellings(u *url.URL) (list []*url.URL) {
	add := func(change func(path string) string) {
		other := *u
		other.Path, other.RawPath = change(u.Path), change(u.RawPath)
		if other.Path != u.Path {
			list = append(list, &other)
		}
	}
	add(tidy)
	add(func(path string) string { // the first part is the route's; what follows may be an id, in which case counts
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
	if key, ok := uid.Parse(strings.Trim(u.Path, "/")); ok &&
		!strings.Contains(strings.Trim(u.Path, "/"), "/") { // a device alone
		list = append(list, &url.URL{Path: "/pay/" + key, RawQuery: u.RawQuery})
	}
	return list
}
