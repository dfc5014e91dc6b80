package apptest

import "net/http"

// Scanned holds the answer to a scan against the status and the text.
func (f *Front) Scanned(when, device string, status int, text string) {
	f.Helper()
	w := f.Get("/pay?device=" + device)
	f.Answers(when, w, status, text)
	if status == http.StatusServiceUnavailable && w.Header().Get("Retry-After") != "60" {
		f.Errorf("%s: Retry-After is %q; want 60", when, w.Header().Get("Retry-After"))
	}
}
