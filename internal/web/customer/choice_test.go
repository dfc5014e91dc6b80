package customer

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// asked returns a browser's answer to a request, with a language cookie unless it is "".
func asked(t *testing.T, method, address, accept, cookie string) *httptest.ResponseRecorder {
	t.Helper()
	c := &Handler{HTTPS: true}
	w, r := httptest.NewRecorder(), httptest.NewRequest(method, address, nil)
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Accept-Language", accept)
	if cookie != "" {
		r.AddCookie(&http.Cookie{Name: languageCookie, Value: cookie})
	}
	if err := c.Choosing(c.Nowhere)(w, r); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestChoosingALanguage(t *testing.T) {
	t.Parallel()
	for address, to := range map[string]string{
		"/?lang=pl":                       "/",
		"/pay?device=dev:1&lang=pl":       "/pay?device=dev%3A1",
		"/session/abc?lang=pl&reported=1": "/session/abc?reported=1",
		"//evil.example/?lang=pl":         "/evil.example/",
		"/%5Cevil.example?lang=pl":        "/%5Cevil.example",
	} {
		w := asked(t, http.MethodGet, address, "de", "")
		if got := w.Header().Get("Location"); w.Code != http.StatusSeeOther || got != to {
			t.Errorf("%s: %d to %q; want 303 to %q", address, w.Code, got, to)
		}
		cookies := w.Result().Cookies()
		if len(cookies) != 1 || cookies[0].Name != languageCookie || cookies[0].Value != "pl" ||
			!cookies[0].HttpOnly || !cookies[0].Secure || cookies[0].MaxAge <= 0 || cookies[0].Path != "/" {
			t.Errorf("%s: cookies %v; want the choice", address, cookies)
		}
	}
	for _, address := range []string{"/?lang=xx", "/?lang=", "/?lang=de-CH", "/?language=pl", "/"} {
		w := asked(t, http.MethodGet, address, "de", "")
		if w.Code == http.StatusSeeOther || len(w.Result().Cookies()) > 0 ||
			w.Header().Get("Content-Language") != "de" {
			t.Errorf("%s: %d %v; want the page in German", address, w.Code, w.Header())
		}
	}
	if w := asked(t, http.MethodPost, "/?lang=pl", "de", ""); w.Code == http.StatusSeeOther {
		t.Error("a POST request chose a language")
	}
}

func TestChosenLanguageWins(t *testing.T) {
	t.Parallel()
	for cookie, want := range map[string]string{
		"pl": "pl", "en": "en", "en-GB": "en-GB", "ar": "ar", "xx": "de", "": "de", strings.Repeat("x", 4000): "de",
	} {
		if got := asked(t, http.MethodGet, "/", "de-CH,de", cookie).Header().Get("Content-Language"); got != want {
			t.Errorf("with the choice %.9q the page is in %s; want %s", cookie, got, want)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Accept-Language", "fr,de-CH")
	r.AddCookie(&http.Cookie{Name: languageCookie, Value: "de"})
	if got := (money{123456, "chf"}).in(languageOf(r)); got != "1’234.56"+noBreak+"CHF" {
		t.Errorf("money in the chosen language is %q; want it as in the customer's country", got)
	}
}

func TestPagesOfferEachLanguage(t *testing.T) {
	t.Parallel()
	page := asked(t, http.MethodGet, `/pay?device="><b>&again=1`, "de", "").Body.String()
	for at, tag := range languages.tags {
		link := `<a href="?again=1&amp;device=%22%3E%3Cb%3E&amp;lang=` + tag.String() + `" lang="` + tag.String() +
			`" hreflang="` + tag.String() + `">` + languages.texts[at]["language.name"] + `</a>`
		if strings.Count(page, link) != 1 {
			t.Errorf("the page lacks %s", link)
		}
	}
	if t.Failed() {
		t.Log(page)
	}
	// The links must not multiply what anybody sends.
	long := asked(t, http.MethodGet, "/pay?device="+strings.Repeat("x", 9000), "de", "").Body.String()
	if len(long) > 10_000 || !strings.Contains(long, `<a href="?lang=pl"`) {
		t.Errorf("%d bytes for a long address; want the links without it", len(long))
	}
}

func TestArabicIsWrittenFromRightToLeft(t *testing.T) {
	t.Parallel()
	page := asked(t, http.MethodGet, "/", "ar", "").Body.String()
	for _, want := range []string{`<html lang="ar" dir="rtl">`, `data-digits="arab"`, `<input id="device" dir="ltr"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s:\n%s", want, page)
		}
	}
	if page := asked(t, http.MethodGet, "/", "ar-MA", "").Body.String(); !strings.Contains(page, `data-digits="latn"`) {
		t.Error("a page for Morocco does not name its digits")
	}
	if page := asked(t, http.MethodGet, "/", "de", "").Body.String(); strings.Contains(page, "dir=") {
		t.Error("a page in German has a direction")
	}
	again := speaking("ar").Translate(msg("frame.again", "machine", "Washer 3"))
	if !strings.Contains(again, "\u2068Washer 3\u2069") {
		t.Errorf("%q does not keep the machine's name together", again)
	}
	if got := (money{350, "eur"}).in(speaking("ar")); got != "٣٫٥٠"+noBreak+"\u2068€\u2069" {
		t.Errorf("money is %q", got)
	}
}
