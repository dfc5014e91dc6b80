package apptest

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing/synctest"
)

// OperatorsBrowser is one that keeps its cookie and knows the page that it looks at.
type OperatorsBrowser struct {
	*Front
	Cookie string
	Page   string // the body of what was shown last
}

// Send makes a request as a browser does: of a form it names the site that the form stands on.
func (b *OperatorsBrowser) Send(method, path, body string, header ...string) *httptest.ResponseRecorder {
	b.Helper()
	if b.Cookie != "" {
		header = append(header, "Cookie", b.Cookie)
	}
	if method == http.MethodPost {
		header = append(
			[]string{"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin"},
			header...)
	}
	w := b.Do(method, path, body, append(header, "Accept", "text/html")...)
	if w.Header().Get("Content-Type") == "text/html; charset=utf-8" {
		b.Page = w.Body.String()
	}
	return w
}

// SignIn types the token.
func (b *OperatorsBrowser) SignIn(token string) *httptest.ResponseRecorder {
	b.Helper()
	w := b.Send("POST", "/operator/sign-in", url.Values{"token": {token}, "next": {"/operator/payments"}}.Encode())
	if set := w.Header().Get("Set-Cookie"); set != "" {
		b.Cookie, _, _ = strings.Cut(set, ";")
	}
	return w
}

// Shows gets a page, which has to be one, and returns it.
func (b *OperatorsBrowser) Shows(path string, texts ...string) string {
	b.Helper()
	w := b.Send("GET", path, "")
	if w.Code != http.StatusOK {
		b.Fatalf("%s: %d %s; want 200", path, w.Code, w.Body)
	}
	for _, text := range texts {
		if !strings.Contains(w.Body.String(), text) {
			b.Errorf("%s does not say %q:\n%s", path, text, w.Body)
		}
	}
	return w.Body.String()
}

var OnceField = regexp.MustCompile(`name="once" value="([A-Z2-7]+)"`)

// Press fills in the form of a page that leads to action, and presses its button. The form has to
// stand on the page.
func (b *OperatorsBrowser) Press(page, action string, fields ...string) *httptest.ResponseRecorder {
	b.Helper()
	shown := b.Shows(page)
	if !strings.Contains(shown, `action="`+action+`"`) {
		b.Fatalf("%s has no form for %s:\n%s", page, action, shown)
	}
	form := url.Values{"once": {OnceField.FindStringSubmatch(shown)[1]}, "back": {page}}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	w := b.Send("POST", action, form.Encode())
	synctest.Wait()
	return w
}

// Does holds what a button led to: back to the page, with a word of what was done.
func (b *OperatorsBrowser) Does(w *httptest.ResponseRecorder, done string) {
	b.Helper()
	location := w.Header().Get("Location")
	if w.Code != http.StatusSeeOther || !strings.Contains(location, "done="+done) {
		b.Fatalf("%d, Location %q, %s; want 303 back, with done=%s", w.Code, location, w.Body, done)
	}
	if b.Shows(location); !strings.Contains(b.Page, `role="status"`) {
		b.Errorf("%s does not say what was done", location)
	}
}

func (f *Front) Browser() *OperatorsBrowser {
	b := &OperatorsBrowser{Front: f}
	if w := b.SignIn(OperatorToken); w.Code != http.StatusSeeOther {
		f.Fatalf("sign in: %d %s; want 303", w.Code, w.Body)
	}
	return b
}
