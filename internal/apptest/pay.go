package apptest

import "net/http"

const Browser = "text/html,application/xhtml+xml,*/*;q=0.8"

// Shows asks as a browser and as a program: both get the status, the browser a page with the title,
// the program the title as its first line.
func (f *Front) Shows(path string, status int, title, retryAfter string) {
	f.Helper()
	f.Tells(path, status, title, title, retryAfter)
}

// Tells is the same where programs read something else.
func (f *Front) Tells(path string, status int, title, text, retryAfter string) {
	f.Helper()
	for accept, want := range map[string]string{Browser: "<h1>" + title + "</h1>", "*/*": text + "\n"} {
		w := f.Get(path, "Accept", accept)
		f.Answers(path+" for "+accept, w, status, want)
		kind := map[bool]string{true: "text/html; charset=utf-8", false: "text/plain; charset=utf-8"}[accept == Browser]
		if got := w.Header().Get("Content-Type"); got != kind {
			f.Errorf("%s for %s: Content-Type %q; want %q", path, accept, got, kind)
		}
		if got := w.Header().Get("Cache-Control"); got != "no-store" {
			f.Errorf("%s: Cache-Control %q; want no-store", path, got)
		}
		if got := w.Header().Get("Retry-After"); got != retryAfter {
			f.Errorf("%s: Retry-After %q; want %q", path, got, retryAfter)
		}
	}
}

func (f *Front) Leads(path, to string) {
	f.Helper()
	w := f.Get(path)
	if w.Code != http.StatusTemporaryRedirect || w.Header().Get("Location") != to ||
		w.Header().Get("Cache-Control") != "no-store" {
		f.Errorf(
			"%s: %d to %q, Cache-Control %q; want 307 to %q, no-store",
			path,
			w.Code,
			w.Header().Get("Location"),
			w.Header().Get("Cache-Control"),
			to,
		)
	}
}
