package apptest

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

// OperatorsBrowser is an operator's browser. It keeps its cookie and its page.
type OperatorsBrowser struct {
	*Front
	Cookie string
	Known  string // the cookie that tells that a person signed in here before
	Page   string // the body of what was shown last
}

// Browser returns a browser that is signed in.
func (f *Front) Browser() *OperatorsBrowser {
	b := &OperatorsBrowser{Front: f}
	if w := b.SignIn(OperatorToken); w.Code != http.StatusSeeOther {
		f.Fatalf("sign in: %d %s; want 303", w.Code, w.Body)
	}
	return b
}

// SignIn submits the sign-in form.
func (b *OperatorsBrowser) SignIn(token string) *httptest.ResponseRecorder {
	b.Helper()
	return b.Send("POST", "/operator/sign-in", url.Values{"token": {token}, "next": {"/operator/payments"}}.Encode())
}

// Send makes a request as a browser does. A POST request names the site of its form.
func (b *OperatorsBrowser) Send(method, path, body string, header ...string) *httptest.ResponseRecorder {
	b.Helper()
	if cookies := strings.Trim(b.Cookie+"; "+b.Known, "; "); cookies != "" {
		header = append(header, "Cookie", cookies)
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
	for _, c := range w.Result().Cookies() {
		switch set := c.Name + "=" + c.Value; {
		case c.Name == "notepay_browser":
			b.Known = set
		case c.Value != "":
			b.Cookie = set
		}
	}
	return w
}

// TOTP returns the code of an authenticator app with a secret.
func TOTP(t *testing.T, secret string, at time.Time) string {
	t.Helper()
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha1.New, key)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(at.Unix()/30)))
	sum := mac.Sum(nil)
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[sum[19]&15:])&0x7fffffff%1000000)
}

// Shows gets a page, which must contain the texts, and returns it.
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

// OnceField matches the one-time token in a form.
var OnceField = regexp.MustCompile(`name="once" value="([A-Z2-7]+)"`)

// Press submits the form of a page that leads to action. fields holds names and values.
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
	b.Idle()
	return w
}

// Does checks the answer to a form: it redirects to a page that confirms what was done.
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

// ChecksNow presses the button of the setup page.
func (b *OperatorsBrowser) ChecksNow() *httptest.ResponseRecorder {
	b.Helper()
	return b.Press("/operator/setup", "/operator/setup")
}

// Phone is a customer's browser. It keeps its cookies, and has its own address.
type Phone struct {
	F       *Front
	Cookies []*http.Cookie
	Address string
}

// Phone returns a customer's browser.
func (f *Front) Phone() *Phone { return &Phone{F: f, Address: "203.0.113.7:40000"} }

// Do makes a request.
func (p *Phone) Do(method, path, form string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(form))
	r.RemoteAddr = p.Address
	r.Header.Set("Accept", Browser)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, c := range p.Cookies {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	p.F.Handler.ServeHTTP(w, r)
	for _, set := range w.Result().Cookies() {
		p.Cookies = slices.DeleteFunc(p.Cookies, func(c *http.Cookie) bool { return c.Name == set.Name })
		p.Cookies = append(p.Cookies, set)
	}
	return w
}

var payButton = regexp.MustCompile(
	`<form action="(/use/[^"]+)" method="post"><input type="hidden" name="price_id" value="([^"]+)">`,
)

// Scans reads the page of plans and returns the target and the fields of its first form.
func (p *Phone) Scans() (to, form string) {
	p.F.Helper()
	w := p.Do("GET", "/pay?device="+fixture.Washer, "")
	found := payButton.FindStringSubmatch(w.Body.String())
	if w.Code != http.StatusOK || found == nil {
		p.F.Fatalf("the scan leads to %d %s; want a page with a button", w.Code, w.Body)
	}
	return found[1], "price_id=" + found[2]
}

// Presses submits that form and returns the session to which it leads.
func (p *Phone) Presses(to, form string) sandbox.Session {
	p.F.Helper()
	w := p.Do("POST", to, form)
	if w.Code != http.StatusSeeOther {
		p.F.Fatalf("the button leads to %d %s; want 303", w.Code, w.Body)
	}
	return p.F.SessionAt(w.Header().Get("Location"))
}
