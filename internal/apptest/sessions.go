package apptest

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"time"

	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

func PerPurchase(s *config.Settings) { s.Checkout = "session" }

// Phone is a customer's browser: it keeps its cookies, and calls from an address of its own.
type Phone struct {
	F       *Front
	Cookies []*http.Cookie
	Address string
}

func (f *Front) Phone() *Phone { return &Phone{F: f, Address: "203.0.113.7:40000"} }

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
	if set := w.Result().Cookies(); len(set) > 0 {
		p.Cookies = set
	}
	return w
}

var payButton = regexp.MustCompile(
	`<form action="(/use/[^"]+)" method="post"><input type="hidden" name="price_id" value="([^"]+)">`,
)

// Scans reads the plan page and returns what its first button sends, and where.
func (p *Phone) Scans() (to, form string) {
	p.F.Helper()
	w := p.Do("GET", "/pay?device="+fixture.Washer, "")
	found := payButton.FindStringSubmatch(w.Body.String())
	if w.Code != http.StatusOK || found == nil {
		p.F.Fatalf("the scan leads to %d %s; want a page with a button", w.Code, w.Body)
	}
	return found[1], "price_id=" + found[2]
}

// Presses presses the button, and returns the session that it leads to.
func (p *Phone) Presses(to, form string) sandbox.Session {
	p.F.Helper()
	w := p.Do("POST", to, form)
	if w.Code != http.StatusSeeOther {
		p.F.Fatalf("the button leads to %d %s; want 303", w.Code, w.Body)
	}
	return p.F.SessionAt(w.Header().Get("Location"))
}

func (f *Front) SessionAt(address string) sandbox.Session {
	f.Helper()
	session, ok := f.Stripe.Session(address[strings.LastIndexByte(address, '/')+1:])
	if !ok {
		f.Fatalf("%q is no session's page", address)
	}
	return session
}

func (f *Front) Complete(s sandbox.Session, o sandbox.PayOptions) sandbox.Session {
	f.Helper()
	s, err := f.Stripe.Pay(s.ID, o)
	if err != nil {
		f.Fatal(err)
	}
	f.Pass(time.Second)
	return s
}

// Refresh lists the devices again.
func (f *Front) Refresh() {
	f.Helper()
	f.Answers("refresh", f.AsOperator("/refresh-devices"), http.StatusOK, "")
}
