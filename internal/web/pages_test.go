package web

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"notepay/internal/bridge"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
)

const evil = `<script>alert("1")</script>&'`

// parsed reads a page as a browser would, and returns its elements by name, its visible text and where it leads.
func parsed(t *testing.T, page string) (elements map[string]int, text string, links []string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	elements = map[string]int{}
	for depth := 0; ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			if depth != 0 {
				t.Errorf("%d elements are not closed:\n%s", depth, page)
			}
			return elements, text, links
		}
		if err != nil {
			t.Fatalf("%v in:\n%s", err, page)
		}
		switch token := token.(type) {
		case xml.StartElement:
			depth++
			elements[token.Name.Local]++
			for _, a := range token.Attr {
				if a.Name.Local == "href" && token.Name.Local == "a" {
					links = append(links, a.Value)
				}
				if strings.HasPrefix(a.Name.Local, "on") || a.Name.Local == "style" {
					t.Errorf("the attribute %s, which the content policy forbids:\n%s", a.Name.Local, page)
				}
			}
		case xml.EndElement:
			depth--
		case xml.CharData:
			text += string(token)
		}
	}
}

// shown gets what a handler writes, for a browser or for a program.
func shown(t *testing.T, accept string, write func(http.ResponseWriter, *http.Request) error) *httptest.ResponseRecorder {
	t.Helper()
	r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
	r.Header.Set("Accept", accept)
	if err := write(w, r); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestEveryPageIsWholeAndEscapesWhatItIsGiven(t *testing.T) {
	t.Parallel()
	c := &Customer{Test: true}
	offers := []fleet.Offer{{Plan: ledger.Plan{Name: evil, Amount: 350, Currency: "eur"}, URL: "https://buy.test/c/plink_1?x=1&y=2"},
		{Plan: ledger.Plan{Name: "of later", Amount: 100, Currency: "eur"}}, {Plan: ledger.Plan{Name: "Cold wash", Amount: 300, Currency: "jpy"}, URL: "https://buy.test/c/plink_2"}}
	paid := ledger.Payment{ID: "cr_1", DeviceUID: "dev:1", DeviceName: evil, Plan: evil, Amount: 350, Currency: "eur", Money: ledger.Paid, Machine: ledger.Queued, Step: ledger.PostNote, PaidAt: time.Unix(0, 0)}
	for _, row := range []struct {
		name   string
		write  func(http.ResponseWriter, *http.Request) error
		status int
		texts  []string // on the page, as people read it
	}{
		{"home", c.Home, 200, []string{"Pay for a machine", "Code on the machine"}},
		{"cancelled", c.Cancelled, 200, []string{"Nothing was charged", "Scan the sticker"}},
		{"plans", func(w http.ResponseWriter, r *http.Request) error {
			return c.Plans(w, r, &fleet.Device{Device: ledger.Device{UID: "dev:1", Name: evil}, Offers: offers})
		}, 200, []string{"Choose a plan", evil, "3.50 EUR", "Cold wash", "300 JPY"}},
		{"payment", func(w http.ResponseWriter, r *http.Request) error { return c.write(w, r, paid) }, 200, []string{"Payment received", evil, "3.50 EUR", "cr_1", "00:00:00 UTC"}},
		{"later", c.later, 503, []string{"Just a moment"}},
		{"message", Page{Status: 404, Title: evil, Machine: evil, Lines: []string{evil}, Hint: evil, Test: true}.Write, 404, []string{evil}},
	} {
		w := shown(t, "text/html", row.write)
		if w.Code != row.status || w.Header().Get("Content-Type") != "text/html; charset=utf-8" || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v; want %d, HTML that nobody stores", row.name, w.Code, w.Header(), row.status)
		}
		elements, text, links := parsed(t, w.Body.String())
		if elements["script"] != 0 || elements["html"] != 1 || elements["title"] != 1 || elements["h1"] != 1 || elements["main"] != 1 {
			t.Errorf("%s: elements %v; want one page without a script", row.name, elements)
		}
		for _, want := range append(row.texts, "Test mode: no real money is moved") {
			if !strings.Contains(text, want) {
				t.Errorf("%s: the page does not say %q:\n%s", row.name, want, text)
			}
		}
		if row.name == "plans" && (len(links) != 2 || links[0] != offers[0].URL || links[1] != offers[2].URL || strings.Contains(text, "of later")) {
			t.Errorf("plans: links %q; want those that can be paid", links)
		}
	}
}

func TestAPlanLeadsNowhereButToAWebAddress(t *testing.T) {
	t.Parallel()
	d := &fleet.Device{Offers: []fleet.Offer{{URL: "javascript:alert(1)"}}}
	w := shown(t, "text/html", func(w http.ResponseWriter, r *http.Request) error { return (&Customer{}).Plans(w, r, d) })
	if strings.Contains(w.Body.String(), "javascript:") {
		t.Errorf("the page leads to a script:\n%s", w.Body)
	}
}

func TestProgramsGetText(t *testing.T) {
	t.Parallel()
	page := Page{Title: "Title", Lines: []string{"line 1", "<line 2>"}, Hint: "hint", RetryAfter: 1500 * time.Millisecond, Reload: 2}
	for status, want := range map[int]string{200: "Title\nline 1\n<line 2>\n", 400: "Title\n", 404: "Title\n", 503: "Title\n"} {
		page.Status = status
		for _, accept := range []string{"", "*/*", "application/json", "text/plain"} {
			w := shown(t, accept, page.Write)
			if w.Code != status || w.Body.String() != want || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
				t.Errorf("%d for %q: %d %q; want %q", status, accept, w.Code, w.Body, want)
			}
			if after := w.Header().Get("Retry-After"); after != "2" {
				t.Errorf("Retry-After %q; want whole seconds, rounded up", after)
			}
		}
	}
}

func TestATestModeBannerIsShownInTestModeAlone(t *testing.T) {
	t.Parallel()
	for _, test := range []bool{true, false} {
		w := shown(t, "text/html", (&Customer{Test: test}).Home)
		if got := strings.Contains(w.Body.String(), "Test mode"); got != test {
			t.Errorf("banner %v; want %v", got, test)
		}
	}
	live := shown(t, "text/html", func(w http.ResponseWriter, r *http.Request) error {
		return (&Customer{Test: true}).write(w, r, ledger.Payment{Livemode: true})
	})
	if strings.Contains(live.Body.String(), "Test mode") {
		t.Errorf("a payment of real money says that it is none")
	}
}

func TestNoPageSaysMoreThanIsKnown(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)
	queued := ledger.Payment{ID: "cr_1", DeviceUID: "dev:1", Money: ledger.Paid, Machine: ledger.Queued, Step: ledger.PostNote, PaidAt: at}
	with := func(change func(*ledger.Payment)) ledger.Payment {
		p := queued
		change(&p)
		return p
	}
	failed := func(reason string, posted bool) ledger.Payment {
		return with(func(p *ledger.Payment) {
			p.Machine, p.Reason, p.Posted, p.Step = ledger.Failed, reason, posted, ledger.NoStep
		})
	}
	for _, row := range []struct {
		name    string
		payment ledger.Payment
		title   string
		says    []string
		reloads bool
	}{
		{"queued", queued, "Payment received", []string{"Being sent to the machine", "02:00:00 UTC", "dev:1"}, true},
		{"unclear", with(func(p *ledger.Payment) { p.Posted, p.Unclear, p.Step = true, true, ledger.CheckPending }), "Payment received", []string{"Being sent to the machine"}, true},
		{"sent", with(func(p *ledger.Payment) { p.Machine, p.Step, p.SentAt = ledger.Sent, ledger.NoStep, at.Add(time.Second) }), "Sent to the machine", []string{"02:00:01 UTC", "The machine starts when it picks this up"}, false},
		{"expired", failed(bridge.ReasonExpired, false), "The machine did not get your payment", []string{"Not sent to the machine", "operator owes you the money"}, false},
		{"refused", failed(bridge.ReasonRefused, false), "The machine did not get your payment", []string{"Not sent to the machine"}, false},
		{"unknown device", failed(bridge.ReasonUnknownDevice, false), "This machine is not in service", []string{"Not sent to the machine"}, false},
		{"failed after a post that may have been taken", failed(bridge.ReasonExpired, true), "We could not reach the machine for certain", []string{"Not known whether the machine got it"}, false},
		{"paid before our records begin", failed(bridge.ReasonAdopted, false), "We do not know whether the machine got this", []string{"Not known whether the machine got it"}, false},
		{"only held", with(func(p *ledger.Payment) { p.Money, p.Step = ledger.Authorized, ledger.NoStep }), "Your payment is on hold", []string{"Payment held, not taken", "Not sent to the machine"}, false},
	} {
		w := shown(t, "text/html", func(w http.ResponseWriter, r *http.Request) error { return (&Customer{}).write(w, r, row.payment) })
		_, text, _ := parsed(t, w.Body.String())
		if !strings.Contains(w.Body.String(), "<h1>"+row.title+"</h1>") {
			t.Errorf("%s: want the title %q:\n%s", row.name, row.title, text)
		}
		for _, want := range append(row.says, "cr_1") {
			if !strings.Contains(text, want) {
				t.Errorf("%s: the page does not say %q:\n%s", row.name, want, text)
			}
		}
		if strings.Contains(text, "started") {
			t.Errorf("%s: the page says that the machine started, which nobody knows:\n%s", row.name, text)
		}
		if got := strings.Contains(w.Body.String(), `http-equiv="refresh"`); got != row.reloads {
			t.Errorf("%s: it asks again: %v; want %v", row.name, got, row.reloads)
		}
		if program := shown(t, "*/*", func(w http.ResponseWriter, r *http.Request) error { return (&Customer{}).write(w, r, row.payment) }).Body.String(); !strings.HasPrefix(program, row.title+"\n") || !strings.HasSuffix(program, "Reference: cr_1\n") {
			t.Errorf("%s: programs get %q", row.name, program)
		}
	}
}

func TestTheStyleSheetIsServed(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	Static().ServeHTTP(w, httptest.NewRequest("GET", "/static/style.css", nil))
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/css") || !strings.Contains(w.Header().Get("Cache-Control"), "max-age") {
		t.Errorf("%d %v; want a style sheet that may be kept", w.Code, w.Header())
	}
}
