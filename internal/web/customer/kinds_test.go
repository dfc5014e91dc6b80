package customer

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/terms"
)

func TestLanguagesAreThoseOfTheCatalogs(t *testing.T) {
	t.Parallel()
	var tags []string
	for _, tag := range languages.tags {
		tags = append(tags, tag.String())
	}
	if got, want := strings.Join(tags, " "), strings.Join(terms.Languages(), " "); got != want {
		t.Errorf("catalogs of %s; want %s", got, want)
	}
}

// Each kind has words for how a start ends.
func TestKindsHaveWords(t *testing.T) {
	t.Parallel()
	for _, kind := range terms.Kinds() {
		for _, key := range []string{
			"title.started", "title.failed", "title.doubt", "money.silent_by", "terms.confirmed",
		} {
			if m := ofKind(msg(key), kind); m.Key != key+"."+kind {
				t.Errorf("a %s has no words for %s", kind, key)
			}
		}
	}
	for _, m := range []Message{{}, msgOf(literal("Warm wash")), msg("money.free"), msg("title.started")} {
		if got := ofKind(m, "oven"); got.Key != m.Key {
			t.Errorf("%q becomes %q", m.Key, got.Key)
		}
	}
}

func TestOfDevice(t *testing.T) {
	t.Parallel()
	p := payment.Payment{
		Delivery: payment.Failed, Reason: payment.ReasonFailed, MachineCode: "E-DOOR",
		Funds: payment.Refunded, Amount: 350,
	}
	s := statusOf(p, time.Now(), nil)
	s.ofDevice(nil)
	text := ""
	for _, line := range s.Lines {
		text += english().Translate(line) + "\n"
	}
	if !strings.Contains(text, "reports a problem, code E-DOOR") || s.Title.Key != "title.failed" {
		t.Errorf("without variables the page says %s", text)
	}
}

func TestPageText(t *testing.T) {
	t.Parallel()
	d := &fleet.Device{Device: ledger.Device{UID: washerUID, Name: "Washer [3](https://other.example)"}}
	for tag, parts := range map[string][2]string{
		"en": {"You are paying for Washer (3)(https://other.example).", "within 10 min, you get your money back"},
		"":   {"You are paying for Washer (3)(https://other.example).", "within 10 min, you get your money back"},
		"de": {"Sie bezahlen für Washer (3)", "bekommen Sie Ihr Geld automatisch zurück."},
	} {
		got := PageText(Terms{Lifetime: 10 * time.Minute}, tag)(d)
		if !strings.Contains(got, parts[0]) || !strings.Contains(got, parts[1]) {
			t.Errorf("%q: %q; want %q", tag, got, parts)
		}
		if strings.ContainsAny(got, "[]\n\u00a0") {
			t.Errorf("%q: Stripe takes a part of %q for a link", tag, got)
		}
	}
	d.Name = strings.Repeat("x", 3000)
	if got := PageText(Terms{}, "en")(d); len([]rune(got)) > 1200 {
		t.Errorf("%d characters; want at most 1200", len([]rune(got)))
	}
}

func TestWhichDevice(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("GET", "/pay/W3-7F", nil)
	r.Header.Set("Accept", "text/html")
	w := httptest.NewRecorder()
	err := (&Handler{}).WhichDevice(w, r, []*fleet.Device{
		{Device: ledger.Device{UID: "dev:1", Name: "Washer 3"}},
		{Device: ledger.Device{UID: "dev:2", Name: "Washer 4"}},
	})
	page := w.Body.String()
	if err != nil || w.Code != 300 || !strings.Contains(page, `<a href="/pay/dev:1">Washer 3</a>`) ||
		!strings.Contains(page, `<a href="/pay/dev:2">Washer 4</a>`) {
		t.Errorf("%d %v %s; want a link to each machine", w.Code, err, page)
	}
}

func TestReceiptShowsTheSeller(t *testing.T) {
	t.Parallel()
	c := &Handler{Brand: Brand{Name: "Riverside", Address: "1 Main Street", Tax: "incl. 19% VAT, DE1"}}
	says := func(p payment.Payment) (text string) {
		for _, f := range c.facts(p, time.Now()) {
			text += english().T(f.name) + ": " + english().Translate(f.is) + "\n"
		}
		return text
	}
	paid := says(payment.Payment{Funds: payment.Paid, Amount: 350, Currency: "eur"})
	if !strings.Contains(paid, "Address: 1 Main Street") || !strings.Contains(paid, "Tax: incl. 19% VAT, DE1") {
		t.Errorf("the receipt lacks address or tax: %s", paid)
	}
	held := says(payment.Payment{Funds: payment.Authorized, Amount: 350, Currency: "eur"})
	if strings.Contains(held, "VAT") {
		t.Errorf("what was not charged has a tax: %s", held)
	}
}

func TestFrameShowsTheBrand(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Accept", "text/html")
	c := &Handler{Brand: Brand{
		Logo: []byte("<svg/>"), LogoType: "image/svg+xml", Imprint: "https://example.com/imprint",
		Privacy: "https://example.com/privacy", Terms: "https://example.com/terms",
	}}
	w := httptest.NewRecorder()
	if err := c.Home(w, r); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		`<img class="logo" src="/static/logo" alt="">`, `<link rel="icon" href="/static/logo">`,
		`<a href="https://example.com/imprint">Legal notice</a>`, `<a href="https://example.com/privacy">Privacy</a>`,
		`<a href="https://example.com/terms">Terms</a>`,
	} {
		if !strings.Contains(w.Body.String(), part) {
			t.Errorf("the page lacks %s: %s", part, w.Body)
		}
	}
	w = httptest.NewRecorder()
	if err := c.BrandLogo(w, r); err != nil || w.Body.String() != "<svg/>" ||
		w.Header().Get("Content-Type") != "image/svg+xml" {
		t.Errorf("the logo is %q of %q, %v", w.Body, w.Header().Get("Content-Type"), err)
	}
	w = httptest.NewRecorder()
	if err := (&Handler{}).BrandLogo(w, r); err != nil || w.Code != 404 {
		t.Errorf("without a logo: %d, %v; want 404", w.Code, err)
	}
}
