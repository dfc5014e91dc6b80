package customer

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
)

const evil = `<script>alert("1")</script>&'`

// parsed parses a page as a browser would. It returns the number of elements by name, the visible
// text, and the links but those of the language switch.
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
			switches := slices.ContainsFunc(token.Attr, func(a xml.Attr) bool { return a.Name.Local == "hreflang" })
			for _, a := range token.Attr {
				if a.Name.Local == "href" && token.Name.Local == "a" && !switches {
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

// shown returns the answer of a handler to a browser or a program, in a language.
func shown(
	t *testing.T,
	accept, language string,
	write func(http.ResponseWriter, *http.Request) error,
) *httptest.ResponseRecorder {
	t.Helper()
	r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
	r.Header.Set("Accept", accept)
	r.Header.Set("Accept-Language", language)
	if err := write(w, r); err != nil {
		t.Fatal(err)
	}
	return w
}

// maxPageBytes bounds a page with everything that it loads.
const maxPageBytes = 50_000

func TestPagesAreCompleteAndEscapedInEachLanguage(t *testing.T) {
	t.Parallel()
	c := &Handler{
		Test:  true,
		Brand: Brand{Name: evil, Color: "#0b6b4f", Contact: evil},
		Terms: Terms{Lifetime: 10 * time.Minute},
	}
	offers := []fleet.Offer{
		{
			Plan: payment.Offer{
				Name:         evil,
				Description:  evil,
				Amount:       350,
				Currency:     "eur",
				Duration:     time.Hour,
				DelayedStart: 5 * time.Minute,
			},
			URL: "https://buy.test/c/plink_1?x=1&y=2",
		},
		{
			Plan: payment.Offer{Name: "of later", Amount: 100, Currency: "eur"},
		},
		{Plan: payment.Offer{Name: "Cold wash", Amount: 300, Currency: "jpy"}, URL: "https://buy.test/c/plink_2"},
	}
	machine := &fleet.Device{
		Device: ledger.Device{UID: washerUID, Name: evil},
		Offers: offers,
		Pause:  &ledger.Pause{Reason: "for the operator alone"},
	}
	mute := &fleet.Device{Device: ledger.Device{UID: washerUID}, Pause: &ledger.Pause{Automatic: true}}
	paid := payment.Payment{
		ID:          "cr_1",
		DeviceUID:   washerUID,
		DeviceName:  evil,
		Plan:        evil,
		Amount:      350,
		Currency:    "eur",
		Funds:       payment.Canceled,
		Delivery:    payment.Failed,
		Reason:      payment.ReasonFailed,
		MachineCode: evil,
		Duration:    90 * time.Minute,
		PaidAt:      time.Unix(0, 0),
	}
	live := c.payment(paid, time.Unix(0, 0), linkToCode)
	live.events = "/session/0/events"
	sale := func(s fleet.Availability) func(http.ResponseWriter, *http.Request) error {
		return func(w http.ResponseWriter, r *http.Request) error { return c.NotSelling(w, r, s) }
	}
	for _, row := range []struct {
		name             string
		write            func(http.ResponseWriter, *http.Request) error
		status           int
		english, deutsch string // visible texts, separated by bars
	}{
		{
			"home", c.Home, 200, "Pay for a machine|Code on the machine|no app",
			"Maschine bezahlen|Code an der Maschine|ohne App",
		},
		{
			"canceled", c.Canceled, 200, "Nothing was charged|scan the sticker",
			"Es wurde nichts abgebucht|Scannen Sie",
		},
		{"plans", func(w http.ResponseWriter, r *http.Request) error { return c.Plans(w, r, machine) }, 200,
			"Choose a program|Does your machine say " + evil + "?|" + evil + "|€3.50|Pay €3.50|Cold wash|¥300" +
				"|Lasts 1 h|You then have 5 min to get it ready" +
				"|within 10 min|Not available right now|Sold by " + evil,
			"Programm wählen|Steht " + evil + " auf Ihrer Maschine?|" + evil +
				"|3,50 €|3,50 € bezahlen|Cold wash|300 ¥" +
				"|Dauer: 1 Std.|Danach haben Sie 5 Min.|innerhalb von 10 Min." +
				"|nicht verfügbar|Anbieter: " + evil},
		{"payment", func(w http.ResponseWriter, r *http.Request) error { return c.Render(w, r, live) }, 200,
			"The machine did not start|The machine reports a problem, code " + evil +
				"|You were not charged.|reservation of €3.50" +
				"|cr_1|00:00:00 UTC|1970-01-01 00:00 UTC|1 h 30 min" +
				"|Try again on " + evil,
			"Die Maschine ist nicht gestartet|Die Maschine meldet ein Problem, Code " + evil +
				"|Es wurde nichts abgebucht.|Reservierung von 3,50 €" +
				"|cr_1|00:00:00 UTC|1970-01-01 00:00 UTC" +
				"|1 Std. 30 Min.|" + evil + " noch einmal versuchen"},
		{"later", c.later, 503, "Just a moment|checking your payment with Stripe", "Einen Moment bitte|bei Stripe"},
		{
			"failed", c.Failed, 500, "Something went wrong on our side|your payment is not lost",
			"Bei uns ist etwas schiefgegangen|geht Ihre Zahlung nicht verloren",
		},
		{
			"no machine", func(w http.ResponseWriter, r *http.Request) error { return c.NoDevice(w, r, "") }, 400,
			"Which machine is it?|Code on the machine", "Welche Maschine ist es?|Code an der Maschine",
		},
		{
			"an unfilled sticker",
			func(w http.ResponseWriter, r *http.Request) error { return c.NoDevice(w, r, "[deviceUID]") }, 400,
			"This sticker is not set up yet|tell the operator",
			"Dieser Aufkleber ist noch nicht eingerichtet|dem Betreiber",
		},
		{
			"unknown", sale(fleet.Availability{State: fleet.NoDevice}), 404,
			"We do not know this machine|check the code", "Diese Maschine kennen wir nicht|prüfen Sie den Code",
		},
		{
			"starting up", sale(fleet.Availability{State: fleet.NotLoaded}), 503, "Starting up|tries again by itself",
			"Es geht gleich los|versucht es von selbst",
		},
		{
			"disabled", sale(fleet.Availability{State: fleet.Disabled, Device: machine}), 503,
			"out of service|Nothing was charged for this scan|use another one",
			"außer Betrieb|Für diesen Scan wurde nichts abgebucht|eine andere",
		},
		{
			"payments off", sale(fleet.Availability{State: fleet.PaymentsOff, Device: machine}), 503,
			"is not taking payments|use another one", "keine Zahlungen|eine andere",
		},
		{
			"closed", sale(fleet.Availability{State: fleet.Paused, Device: machine}), 503,
			"closed right now|come back later", "gerade geschlossen|später wieder",
		},
		{
			"mute", sale(fleet.Availability{State: fleet.Paused, Device: mute}), 503, "is not responding|" + washerUID,
			"meldet sich gerade nicht|" + washerUID,
		},
		{
			"offline", sale(fleet.Availability{State: fleet.Offline, Device: machine}), 503,
			"is offline|come back later", "ist offline|später wieder",
		},
		{
			"in use",
			sale(fleet.Availability{State: fleet.InUse, Device: machine, Until: time.Now().Add(12 * time.Minute)}), 503,
			"is in use|free again in about 12 minutes", "ist belegt|Wieder frei in etwa 12 Minuten",
		},
		{
			"in use, the end is not known", sale(fleet.Availability{State: fleet.InUse, Device: machine}), 503,
			"is in use|when it has finished", "ist belegt|sobald hier frei ist",
		},
		{
			"nothing to sell", sale(fleet.Availability{State: fleet.NoOffers, Device: machine}), 503,
			"has no price yet|has to set one", "hat noch keinen Preis|einen festlegen",
		},
		{
			"not ready", sale(fleet.Availability{State: fleet.NotReady, Device: machine}), 503,
			"Just a moment|almost ready", "Einen Moment bitte|gleich bereit",
		},
		{
			"late", sale(fleet.Availability{State: fleet.Open, Device: machine}), 503,
			"cannot be reached right now|in a few minutes", "gerade nicht erreichbar|in einigen Minuten",
		},
	} {
		for language, texts := range map[string]string{"en-US": row.english, "de": row.deutsch, "ar": ""} {
			w := shown(t, "text/html", language, row.write)
			if h := w.Header(); w.Code != row.status || h.Get("Content-Type") != "text/html; charset=utf-8" ||
				h.Get("Cache-Control") != "no-store" ||
				h.Get("Content-Language") != language[:2] {
				t.Errorf("%s: %d %v; want %d, HTML that nobody stores, in %s", row.name, w.Code, h, row.status,
					language)
			}
			elements, text, links := parsed(t, w.Body.String())
			// pages that reload themselves
			scripts := map[string]int{"payment": 1, "plans": 1, "later": 1, "starting up": 1, "not ready": 1,
				"in use": 1, "in use, the end is not known": 1}[row.name]
			if elements["script"] != scripts || elements["html"] != 1 || elements["title"] != 1 ||
				elements["h1"] != 1 ||
				elements["main"] != 1 {
				t.Errorf("%s: elements %v; want one page with %d scripts", row.name, elements, scripts)
			}
			if !strings.Contains(w.Body.String(), `<html lang="`+language[:2]+`"`) {
				t.Errorf("%s: the page does not say that it is in %s", row.name, language)
			}
			text = strings.ReplaceAll(text, noBreak, " ")
			for _, want := range append(strings.Split(texts, "|"), speaking(language).T("frame.test"), c.Brand.Name) {
				if !strings.Contains(text, want) {
					t.Errorf("%s: the page does not say %q:\n%s", row.name, want, text)
				}
			}
			if strings.Contains(text, "operator alone") {
				t.Errorf("%s tells the customer what is for the operator", row.name)
			}
			if row.name == "plans" && (len(links) != 2 || links[0] != offers[0].URL || links[1] != offers[2].URL) {
				t.Errorf("plans: links %q; want those that can be paid", links)
			}
		}
	}
}

func TestPagesAreSmall(t *testing.T) {
	t.Parallel()
	d := &fleet.Device{Device: ledger.Device{UID: washerUID, Name: "Washer 3"}}
	for range 20 { // more than one machine sells
		d.Offers = append(d.Offers, fleet.Offer{
			Plan: payment.Offer{
				Name:        strings.Repeat("n", 100),
				Description: strings.Repeat("d", 500),
				Amount:      350,
				Currency:    "eur",
			},
			URL: "https://buy.test/" + strings.Repeat("x", 60),
		})
	}
	bytes := shown(
		t,
		"text/html",
		"de",
		func(w http.ResponseWriter, r *http.Request) error { return (&Handler{}).Plans(w, r, d) },
	).Body.Len()
	for _, file := range []string{"style.css", "live.js"} {
		w := httptest.NewRecorder()
		Static(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("GET", "/static/"+file, nil))
		bytes += w.Body.Len()
	}
	if bytes > maxPageBytes {
		t.Errorf("a page with all that it loads has %d bytes; want at most %d", bytes, maxPageBytes)
	}
}

func TestPlansShowStripesImagesOnly(t *testing.T) {
	t.Parallel()
	const policy = "default-src 'none'; img-src 'self' data:; base-uri 'none'"
	plans := func(images ...string) (page, allowed string) {
		d := &fleet.Device{Device: ledger.Device{UID: washerUID}}
		for _, address := range images {
			d.Offers = append(d.Offers, fleet.Offer{
				Plan: payment.Offer{Name: "Warm wash", Image: address, Amount: 350, Currency: "eur"},
				URL:  "https://buy.test/1",
			})
		}
		w := shown(t, "text/html", "", func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("Content-Security-Policy", policy)
			return (&Handler{}).Plans(w, r, d)
		})
		return w.Body.String(), w.Header().Get("Content-Security-Policy")
	}
	if page, allowed := plans("https://files.stripe.com/links/MDB8&x", ""); strings.Count(page, "<img ") != 1 ||
		!strings.Contains(page, `<img src="https://files.stripe.com/links/MDB8&amp;x" alt=""`) ||
		allowed != "default-src 'none'; img-src https://files.stripe.com 'self' data:; base-uri 'none'" {
		t.Errorf("with %s the page is\n%s", allowed, page)
	}
	if page, allowed := plans(
		"", "http://files.stripe.com/links/1", "https://files.stripe.com.example.com/1",
		"https://example.com/files.stripe.com/", "data:image/png,x",
	); strings.Contains(
		page,
		"<img",
	) ||
		allowed != policy {
		t.Errorf("with %s, and images of others, the page is\n%s", allowed, page)
	}
}

func TestPlansLinkToWebAddressesOnly(t *testing.T) {
	t.Parallel()
	d := &fleet.Device{Offers: []fleet.Offer{{URL: "javascript:alert(1)"}}}
	w := shown(t, "text/html", "",
		func(w http.ResponseWriter, r *http.Request) error { return (&Handler{}).Plans(w, r, d) })
	if strings.Contains(w.Body.String(), "javascript:") {
		t.Errorf("the page leads to a script:\n%s", w.Body)
	}
}

func TestTerms(t *testing.T) {
	t.Parallel()
	own := func(string) (time.Duration, bool) { return 2 * time.Minute, true }
	for _, row := range []struct {
		name  string
		terms Terms
		want  string
	}{
		{"nothing is refunded by itself", Terms{}, "please contact the operator"},
		{"undelivered credits are", Terms{Lifetime: 10 * time.Minute}, "within 10 min, you get your money back"},
		{
			"the machine has a time of its own", Terms{Lifetime: 10 * time.Minute, LifetimeOf: own},
			"within 2 min, you get your money back",
		},
		{
			"machines confirm", Terms{Lifetime: 10 * time.Minute, ConfirmWithin: time.Minute},
			"does not start, you get your money back automatically",
		},
		{
			"and money is held until then",
			Terms{Lifetime: 10 * time.Minute, ConfirmWithin: time.Minute, ManualCapture: true},
			"not charged until the machine has started",
		},
	} {
		got := strings.ReplaceAll(english().Translate(row.terms.message(washerUID)), noBreak, " ")
		if !strings.Contains(got, row.want) {
			t.Errorf("%s: %q; want %q", row.name, got, row.want)
		}
	}
}

func TestRenderWritesEnglishTextForPrograms(t *testing.T) {
	t.Parallel()
	c := &Handler{Brand: Brand{Name: "Riverside"}}
	page := Page{
		Title:      msg("cancel.title"),
		Lines:      []Message{msg("machine.code", "code", "<E-DOOR>")},
		RetryAfter: 1500 * time.Millisecond,
		Reload:     2 * time.Second,
		extra:      []string{"more"},
	}
	for status, want := range map[int]string{
		200: "Nothing was charged\nThe machine reports a problem, code <E-DOOR>.\nmore\n", 400: "Nothing was charged\n",
		404: "Nothing was charged\n", 503: "Nothing was charged\n",
	} {
		page.Status = status
		for _, accept := range []string{"", "*/*", "application/json", "text/plain"} {
			w := shown(t, accept, "de",
				func(w http.ResponseWriter, r *http.Request) error { return c.Render(w, r, page) })
			if w.Code != status || w.Body.String() != want ||
				w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
				t.Errorf("%d for %q: %d %q; want %q", status, accept, w.Code, w.Body, want)
			}
			if after := w.Header().Get("Retry-After"); after != "2" {
				t.Errorf("Retry-After %q; want whole seconds, rounded up", after)
			}
		}
	}
}

func TestBannerIsShownInTestModeOnly(t *testing.T) {
	t.Parallel()
	for _, test := range []bool{true, false} {
		w := shown(t, "text/html", "", (&Handler{Test: test}).Home)
		if got := strings.Contains(w.Body.String(), "Test mode"); got != test {
			t.Errorf("banner %v; want %v", got, test)
		}
	}
	c := &Handler{Test: true}
	live := shown(t, "text/html", "", func(w http.ResponseWriter, r *http.Request) error {
		return c.Render(w, r, c.payment(payment.Payment{Livemode: true}, time.Now(), linkToCode))
	})
	if strings.Contains(live.Body.String(), "Test mode") {
		t.Errorf("a payment of real money says that it is none")
	}
}

func TestPagesReloadWhileTheStatusMayChange(t *testing.T) {
	t.Parallel()
	c := &Handler{}
	queued := payment.Payment{
		ID:        "cr_1",
		DeviceUID: washerUID,
		Funds:     payment.Paid,
		Delivery:  payment.Queued,
		Step:      payment.StepPostNote,
	}
	for events, how := range map[string]string{
		"": ` data-seconds="2"`, "/session/0/events": ` data-events="/session/0/events"`,
	} {
		page := c.payment(queued, time.Now(), linkToCode)
		page.events = events
		html := shown(
			t,
			"text/html",
			"",
			func(w http.ResponseWriter, r *http.Request) error { return c.Render(w, r, page) },
		).Body.String()
		for _, part := range []string{
			how, `<noscript><meta http-equiv="refresh" content="2"></noscript>`, `src="/static/live.js"`,
		} {
			if !strings.Contains(html, part) {
				t.Errorf("with events at %q: %s is missing, with which it renews itself\n%s", events, part, html)
			}
		}
	}
	started := payment.Payment{Funds: payment.Paid, Delivery: payment.Started, StartedAt: time.Now()}
	html := shown(t, "text/html", "", func(w http.ResponseWriter, r *http.Request) error {
		return c.Render(w, r, c.payment(started, time.Now(), linkToCode))
	}).Body.String()
	if strings.Contains(html, "http-equiv") || strings.Contains(html, "data-seconds") {
		t.Errorf("a page that is complete renews itself:\n%s", html)
	}
}

func TestStatic(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]string{
		"style.css": "text/css", "live.js": "text/javascript", "notify.js": "text/javascript",
	} {
		w := httptest.NewRecorder()
		Static(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("GET", "/static/"+name, nil))
		if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), kind) ||
			!strings.Contains(w.Header().Get("Cache-Control"), "max-age") {
			t.Errorf("%s: %d %v; want %s that may be kept", name, w.Code, w.Header(), kind)
		}
	}
}
