package console_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

func TestSignIn(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		b := &apptest.OperatorsBrowser{Front: f}
		w := b.Send("GET", "/operator/payments?q=x", "")
		f.Answers("before", w, http.StatusUnauthorized, `name="next" value="/operator/payments?q=x"`)
		f.Answers("a wrong token", b.SignIn("wrong-token-123456"), http.StatusUnauthorized,
			"This is not the operator token.")
		f.Answers("no token", b.SignIn(""), http.StatusUnauthorized, "This is not the operator token.")
		if b.Cookie != "" {
			f.Fatalf("a cookie %q for a wrong token", b.Cookie)
		}
		w = b.SignIn(apptest.OperatorToken)
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/operator/payments" {
			f.Errorf("the right one: %d, Location %q; want 303 to the requested page", w.Code,
				w.Header().Get("Location"))
		}
		set := w.Header().Get("Set-Cookie")
		for _, flag := range []string{"HttpOnly", "SameSite=Strict", "Path=/operator", "Secure", "Max-Age=43200"} {
			if !strings.Contains(set, flag) {
				f.Errorf("cookie %q lacks %s", set, flag)
			}
		}
		if strings.Contains(set, apptest.OperatorToken) {
			f.Errorf("the cookie %q holds the token", set)
		}
		b.Shows("/operator")
		old := b.Cookie
		if w := b.Press("/operator", "/operator/sign-out"); w.Code != http.StatusSeeOther ||
			!strings.Contains(w.Header().Get("Set-Cookie"), "Max-Age=0") {
			f.Errorf("signing out: %d %v; want 303 and no cookie any more", w.Code, w.Header())
		}
		f.Answers("with the cookie of before", f.Get("/operator", "Cookie", old), http.StatusUnauthorized, "Sign in")
		b.SignIn(apptest.OperatorToken)
		f.Pass(12*time.Hour + time.Second)
		f.Answers("the next day", b.Send("GET", "/operator", ""), http.StatusUnauthorized, "Sign in")
	})
	apptest.InFront(t, func(s *config.Settings) { s.PublicURL = "http://127.0.0.1:3000" }, func(f *apptest.Front) {
		w := (&apptest.OperatorsBrowser{Front: f}).SignIn(apptest.OperatorToken)
		if strings.Contains(w.Header().Get("Set-Cookie"), "Secure") {
			f.Errorf("cookie %q without HTTPS; a browser would not keep it", w.Header().Get("Set-Cookie"))
		}
	})
	apptest.InFront(t, func(s *config.Settings) { s.OperatorToken = "" }, func(f *apptest.Front) {
		b := &apptest.OperatorsBrowser{Front: f}
		for _, path := range []string{"/operator", "/operator/payments", "/operator/nothing"} {
			f.Answers(path+" where no token is set", b.Send("GET", path, ""), http.StatusForbidden,
				"Set OPERATOR_TOKEN")
		}
		f.Answers("signing in where no token is set", b.SignIn(""), http.StatusForbidden, "Set OPERATOR_TOKEN")
		if b.Cookie != "" {
			f.Errorf("a cookie where no token is set")
		}
	})
}

func TestSignInRedirectsToTheConsoleOnly(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		for _, next := range []string{
			"https://evil.test/", "//evil.test/operator", "/operator/../pay", "/pay", "", "javascript:alert(1)",
			"/operatorx", `/operator\evil`, "/operator//x",
		} {
			w := (&apptest.OperatorsBrowser{Front: f}).Send("POST", "/operator/sign-in",
				url.Values{"token": {apptest.OperatorToken}, "next": {next}}.Encode())
			if location := w.Header().Get("Location"); location != "/operator" {
				f.Errorf("next %q leads to %q; want /operator", next, location)
			}
		}
	})
}

func TestSignInDelaysGuesses(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		try := func(address, token string) *httptest.ResponseRecorder {
			r := httptest.NewRequest("POST", "/operator/sign-in",
				strings.NewReader(url.Values{"token": {token}}.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.RemoteAddr = address + ":1234"
			w := httptest.NewRecorder()
			f.Handler.ServeHTTP(w, r)
			return w
		}
		for i := range 5 {
			if w := try("192.0.2.7", "guess-1234567890"); w.Code != http.StatusUnauthorized {
				f.Fatalf("guess %d: %d; want 401", i+1, w.Code)
			}
		}
		slow := func(address string) {
			f.Helper()
			began := time.Now()
			w := try(address, "guess-1234567890")
			if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" ||
				w.Header().Get("Set-Cookie") != "" ||
				time.Since(began) < time.Second {
				f.Errorf("a guess from %s: %d %v after %s; want 429, held back", address, w.Code, w.Header(),
					time.Since(began))
			}
		}
		atOnce := func(address string) {
			f.Helper()
			began := time.Now()
			if w := try(address, apptest.OperatorToken); w.Code != http.StatusSeeOther || time.Since(began) != 0 {
				f.Errorf("the right token from %s: %d after %s; want 303 at once", address, w.Code, time.Since(began))
			}
		}
		slow("192.0.2.7")
		atOnce("192.0.2.7") // all clients may share it behind a proxy
		f.Pass(31 * time.Second)
		if w := try("192.0.2.7", "guess-1234567890"); w.Code != http.StatusUnauthorized {
			f.Errorf("half a minute later: %d; want 401", w.Code)
		}
		for i := range 60 {
			go try(fmt.Sprintf("198.51.100.%d", i), "guess-1234567890")
		}
		synctest.Wait()
		slow("192.0.2.9") // after many failures from other addresses
		atOnce("192.0.2.9")

		// Many concurrent guesses do not delay the operator.
		for range 1000 {
			go try("192.0.2.10", "guess-1234567890")
		}
		synctest.Wait()
		atOnce("192.0.2.10")
		f.Pass(time.Minute)
	})
}

func TestConsoleAndAPIRequireTheOperator(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		id := payment.CreditID(f.Buy(sandbox.PayOptions{}).ID)
		f.Pass(time.Second)
		before, err := f.Ledger.Payment(f.Context(), id)
		if err != nil {
			f.Fatal(err)
		}
		console := []string{
			"/operator/payments/" + id + "/retry",
			"/operator/payments/" + id + "/refund",
			"/operator/payments/" + id + "/end",
			"/operator/devices/" + fixture.Washer + "/pause",
			"/operator/devices/" + fixture.Washer + "/resume",
			"/operator/devices/" + fixture.Washer + "/start",
			"/operator/refresh",
			"/operator/sign-out",
			"/operator/setup",
		}
		api := []string{
			"/api/payments/" + id + "/retry",
			"/api/payments/" + id + "/refund",
			"/api/payments/" + id + "/end",
			"/api/devices/" + fixture.Washer + "/pause",
			"/api/devices/" + fixture.Washer + "/resume",
			"/api/devices/" + fixture.Washer + "/start",
		}
		const form = "once=AAAA&reason=x&back=/operator"
		wants := func(name, path string, w *httptest.ResponseRecorder, status int) {
			f.Helper()
			if w.Code != status {
				f.Errorf("%s %s: %d %s; want %d", name, path, w.Code, w.Body, status)
			}
		}
		kind := []string{"Content-Type", "application/x-www-form-urlencoded"}
		for _, path := range console {
			wants("without a cookie:", path, f.Do("POST", path, form, kind...), 401)
			wants("with another:", path, f.Do("POST", path, form, append(kind, "Cookie", "notepay_operator=AAAA")...),
				401)
			wants("with the token as the cookie:", path,
				f.Do("POST", path, form, append(kind, "Cookie", "notepay_operator="+apptest.OperatorToken)...), 401)
			for _, origin := range [][]string{
				{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.test"},
				{"Origin", "null"},
			} {
				wants("from another site:", path,
					f.Do("POST", path, form, append(append(kind, "Cookie", b.Cookie), origin...)...), 403)
			}
			wants("without the page's secret:", path,
				f.Do("POST", path, "reason=x", append(kind, "Cookie", b.Cookie)...), 400)
			wants("another method:", path, f.Do("PUT", path, form, append(kind, "Cookie", b.Cookie)...), 405)
			if path != "/operator/sign-out" && path != "/operator/refresh" && path != "/operator/setup" {
				wants("by a link:", path, f.Get(path, "Cookie", b.Cookie), 404)
			}
		}
		for _, path := range api {
			wants("without the token:", path, f.Do("POST", path, `{"reason":"x"}`), 401)
			wants("with the cookie:", path, f.Do("POST", path, `{"reason":"x"}`, "Cookie", b.Cookie), 401)
			wants(
				"from another site:",
				path,
				f.Do("POST", path, `{"reason":"x"}`, "Authorization", "Bearer "+apptest.OperatorToken, "Origin",
					"https://evil.test"),
				403,
			)
			wants("another method:", path,
				f.Do("PUT", path, `{"reason":"x"}`, "Authorization", "Bearer "+apptest.OperatorToken), 404)
		}
		for _, path := range []string{
			"/operator", "/operator/payments", "/operator/payments.csv", "/operator/payments/" + id,
			"/operator/devices", "/operator/events", "/operator/events/evt_1", "/operator/stickers",
			"/operator/stickers/" + fixture.Washer, "/operator/audit", "/operator/setup", "/operator/live",
			"/operator/audit.csv", "/operator/nothing",
		} {
			w := f.Get(path)
			wants("without a cookie:", path, w, 401)
			if strings.Contains(w.Body.String(), "Washer") || strings.Contains(w.Body.String(), id+"<") {
				f.Errorf("%s tells something to who has not signed in:\n%s", path, w.Body)
			}
		}
		f.Pass(time.Second)
		after, err := f.Ledger.Payment(f.Context(), id)
		if err != nil || after != before {
			f.Errorf("the payment changed: %+v, %v; want %+v", after, err, before)
		}
		if list, _, err := f.Ledger.Audits(f.Context(), "", 10, ""); err != nil || len(list) != 0 {
			f.Errorf("audit %+v, %v; want that nobody did anything", list, err)
		}
		b.Shows("/operator") // still signed in
	})
}
