package console_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/passkey"
	"notepay/internal/passkey/passkeytest"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

const password = "correct horse battery"

var (
	inviteLink   = regexp.MustCompile(`https://pay\.example\.com(/operator/invite/[A-Z2-7]+)`)
	secretField  = regexp.MustCompile(`name="secret" value="([A-Z2-7]+)"`)
	recoveryCode = regexp.MustCompile(`[A-Z2-7]{4}(?:-[A-Z2-7]{4}){3}`)
	shownToken   = regexp.MustCompile(`np_[A-Z2-7]{26}`)
	challenge    = regexp.MustCompile(`data-challenge="([^"]+)"`)
)

// person is a person with a browser.
type person struct {
	*apptest.OperatorsBrowser
	name, secret string
	codes        []string
}

// invites makes an invitation, and returns its path.
func invites(f *apptest.Front, owner *apptest.OperatorsBrowser, name, role string) string {
	f.Helper()
	w := owner.Press("/operator/people", "/operator/people", "name", name, "role", role)
	found := inviteLink.FindStringSubmatch(w.Body.String())
	if w.Code != http.StatusOK || found == nil {
		f.Fatalf("inviting %s: %d %s; want a link", name, w.Code, w.Body)
	}
	return found[1]
}

// joins accepts an invitation with a password and an authenticator app.
func joins(f *apptest.Front, name, link string) *person {
	f.Helper()
	p := &person{OperatorsBrowser: &apptest.OperatorsBrowser{Front: f}, name: name}
	p.secret = secretField.FindStringSubmatch(p.Shows(link, "Welcome, "+name))[1]
	w := p.Send("POST", link, url.Values{
		"secret": {p.secret}, "password": {password}, "again": {password}, "code": {p.code()},
	}.Encode())
	p.codes = recoveryCode.FindAllString(w.Body.String(), -1)
	if w.Code != http.StatusOK || len(p.codes) != 10 || p.Cookie == "" {
		f.Fatalf("%s accepts: %d %s; want ten codes", name, w.Code, w.Body)
	}
	return p
}

// code returns the code of the person's app, and waits until it is a new one.
func (p *person) code() string {
	p.Pass(31 * time.Second)
	return apptest.TOTP(p.T, p.secret, p.Ledger.Now())
}

// signs signs in from an address, in another browser unless known.
func (p *person) signs(address, word, code string, known bool) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "/operator/sign-in",
		strings.NewReader(url.Values{"name": {p.name}, "password": {word}, "code": {code}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.RemoteAddr = address + ":1234"
	if known {
		r.Header.Set("Cookie", p.Known)
	}
	w := httptest.NewRecorder()
	p.Handler.ServeHTTP(w, r)
	return w
}

func cookieOf(w *httptest.ResponseRecorder) string {
	for _, c := range w.Result().Cookies() {
		if c.Name == "notepay_operator" {
			return c.Name + "=" + c.Value
		}
	}
	return ""
}

// audited checks that the audit has an entry.
func audited(f *apptest.Front, who, what, subject string) {
	f.Helper()
	list, _, err := f.Ledger.Audits(f.Context(), subject, 100, "")
	if err != nil {
		f.Fatal(err)
	}
	for _, a := range list {
		if a.Who == who && a.What == what {
			return
		}
	}
	f.Errorf("the audit of %s is %+v; want that %s did %s", subject, list, who, what)
}

func TestPeople(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		owner := f.Browser()
		link := invites(f, owner, "Ada Lovelace", "support")
		audited(f, "operator", "invite", "Ada Lovelace")
		for name, c := range map[string]struct {
			fields url.Values
			want   string
		}{
			"a short password": {url.Values{"password": {"short"}, "again": {"short"}}, "at least 12 characters"},
			"a typing error":   {url.Values{"password": {password}, "again": {password + "x"}}, "differ"},
			"a wrong code": {
				url.Values{"password": {password}, "again": {password}, "code": {"000000"}}, "code of the",
			},
		} {
			w := (&apptest.OperatorsBrowser{Front: f}).Send("POST", link, c.fields.Encode())
			f.Answers(name, w, http.StatusBadRequest, c.want)
		}
		ada := joins(f, "Ada Lovelace", link)
		f.Answers("the link again", ada.Send("GET", link, ""), http.StatusNotFound, "no longer valid")
		f.Answers("the form again", ada.Send("POST", link, ""), http.StatusNotFound, "no longer valid")

		session := f.Buy(sandbox.PayOptions{})
		id := payment.CreditID(session.ID)
		f.Pass(time.Second)
		ada.Does(ada.Press("/operator/payments/"+id, "/operator/payments/"+id+"/refund", "reason", "cold"), "refund")
		audited(f, "Ada Lovelace", "refund", id)
		ada.Shows("/operator/audit", `subject=Ada&#43;Lovelace">Ada Lovelace</a></td>`)
		if page := ada.Shows("/operator"); strings.Contains(page, `href="/operator/people"`) {
			f.Error("support sees the page of people in the navigation")
		}

		// What the role allows holds at once, also in sessions that exist.
		people, err := f.Ledger.People(f.Context())
		if err != nil || len(people) != 1 {
			f.Fatalf("%+v, %v; want Ada", people, err)
		}
		at := "/operator/people/" + people[0].ID
		owner.Does(owner.Press("/operator/people", at+"/role", "role", "view"), "role")
		page := ada.Shows("/operator/payments/" + id)
		if strings.Contains(page, "/refund\"") || strings.Contains(page, "/start\"") {
			f.Errorf("view sees buttons that change something:\n%s", page)
		}
		f.Answers("view pauses", ada.Send("POST", "/operator/devices/"+fixture.Washer+"/pause", "once=A&reason=x"),
			http.StatusForbidden, "Your role does not allow this")
		owner.Does(owner.Press("/operator/people", at+"/disable"), "disable")
		f.Answers("after that", ada.Send("GET", "/operator", ""), http.StatusUnauthorized, "Sign in")
		f.Answers("signing in", ada.signs("192.0.2.9", password, ada.code(), true), http.StatusUnauthorized, "is wrong")
		owner.Does(owner.Press("/operator/people", at+"/enable"), "enable")
		if w := ada.signs("192.0.2.9", password, ada.code(), true); w.Code != http.StatusSeeOther {
			f.Errorf("after enabling: %d %s; want 303", w.Code, w.Body)
		}
		f.Answers("the same name again", owner.Press("/operator/people", "/operator/people", "name", "ada lovelace",
			"role", "view"), http.StatusConflict, "There is a person with this name")
		f.Answers("no role", owner.Press("/operator/people", "/operator/people", "name", "Bob", "role", "admin"),
			http.StatusBadRequest, "choose a role")

		// A new invitation replaces everything that the person had.
		again := inviteLink.FindStringSubmatch(owner.Press("/operator/people", at+"/invite").Body.String())[1]
		if w := ada.signs("192.0.2.9", password, ada.code(), true); w.Code != http.StatusSeeOther {
			f.Errorf("before it is accepted: %d %s; want 303", w.Code, w.Body)
		} else if ada.Cookie = cookieOf(w); ada.Cookie == "" {
			f.Error("no cookie")
		}
		old := *ada
		ada = joins(f, "Ada Lovelace", again)
		f.Answers("the old session", old.Send("GET", "/operator", ""), http.StatusUnauthorized, "")
		f.Answers("an old recovery code", ada.signs("192.0.2.9", password, old.codes[0], true),
			http.StatusUnauthorized, "is wrong")
		f.Answers("the old app", ada.signs("192.0.2.9", password, old.code(), true), http.StatusUnauthorized,
			"is wrong")
	})
}

func TestInvitationExpires(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		link := invites(f, f.Browser(), "Ada", "view")
		b := &apptest.OperatorsBrowser{Front: f}
		b.Shows(link)
		f.Pass(48*time.Hour + time.Second)
		f.Answers("two days later", b.Send("GET", link, ""), http.StatusNotFound, "no longer valid")
		f.Answers("its form", b.Send("POST", link, "password=x"), http.StatusNotFound, "no longer valid")
		f.Browser().Shows("/operator/people", "invitation has expired")
		f.Answers("another link", b.Send("GET", "/operator/invite/AAAA", ""), http.StatusNotFound, "no longer valid")
		f.Answers("from another site", f.Do("POST", link, "password=x", "Sec-Fetch-Site", "cross-site"),
			http.StatusForbidden, "another site")
	})
}

// A code and a recovery code count once, and a stranger's guesses keep no one else from signing in.
func TestSignInByPassword(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		ada := joins(f, "Ada", invites(f, f.Browser(), "Ada", "support"))
		in := func(name string, w *httptest.ResponseRecorder, want int) {
			f.Helper()
			if w.Code != want || (want == http.StatusSeeOther) != (cookieOf(w) != "") {
				f.Errorf("%s: %d %v; want %d", name, w.Code, w.Header(), want)
			}
		}
		code := ada.code()
		in("a code", ada.signs("192.0.2.1", password, code, false), http.StatusSeeOther)
		in("the same code", ada.signs("192.0.2.1", password, code, false), http.StatusUnauthorized)
		lower := strings.ToLower(ada.codes[3])
		in("a recovery code", ada.signs("192.0.2.1", password, lower, false), http.StatusSeeOther)
		audited(f, "Ada", "recovery", "Ada")
		in("the same recovery code", ada.signs("192.0.2.1", password, ada.codes[3], false), http.StatusUnauthorized)
		in("a code alone", ada.signs("192.0.2.1", "", ada.code(), false), http.StatusUnauthorized)
		in("a password alone", ada.signs("192.0.2.1", password, "", false), http.StatusUnauthorized)
		f.Pass(10 * time.Minute)

		guesses := 0
		for range 8 {
			w := ada.signs("192.0.2.66", "a guess of a stranger", "000000", false)
			if w.Code == http.StatusUnauthorized {
				guesses++
			} else if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
				f.Errorf("a guess: %d %v; want 429", w.Code, w.Header())
			}
		}
		if guesses != 5 {
			f.Errorf("%d guesses; want 5", guesses)
		}
		at := f.Ledger.Now()
		code = apptest.TOTP(f.T, ada.secret, at)
		in("the right password from there", ada.signs("192.0.2.66", password, code, false), http.StatusTooManyRequests)
		in("another person from there", (&person{OperatorsBrowser: ada.OperatorsBrowser, name: "Bob"}).
			signs("192.0.2.66", password, code, false), http.StatusUnauthorized)
		in("Ada behind the same address", ada.signs("192.0.2.66", password, code, true), http.StatusSeeOther)
		in("Ada from elsewhere", ada.signs("192.0.2.1", password, ada.code(), false), http.StatusSeeOther)
		forged := *ada.OperatorsBrowser
		forged.Known = "notepay_browser=" + strings.Repeat("A", 26) + "." + strings.Repeat("0", 64)
		in("with an invented browser", (&person{OperatorsBrowser: &forged, name: "Ada"}).
			signs("192.0.2.66", "x", "", true), http.StatusUnauthorized) // its half minute is over
		in("with it again", (&person{OperatorsBrowser: &forged, name: "Ada"}).signs("192.0.2.66", "x", "", true),
			http.StatusTooManyRequests)

		// A thief of the password tries codes from many addresses.
		tried := 0
		for n := range 14 {
			f.Pass(time.Second) // within the bound of all hashes
			if w := ada.signs(fmt.Sprintf("198.51.100.%d", n), password, "000000", false); w.Code == 401 {
				tried++
			}
		}
		if tried != 10 {
			f.Errorf("%d codes were tried; want 10", tried)
		}
		in("Ada meanwhile", ada.signs("192.0.2.1", password, ada.code(), true), http.StatusSeeOther)
		if strings.Contains(f.Logs.String(), password) || strings.Contains(f.Logs.String(), ada.secret) {
			f.Error("the log holds a secret")
		}
	})
}

func TestOwnSignIn(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		ada := joins(f, "Ada", invites(f, f.Browser(), "Ada", "view"))
		bob := joins(f, "Bob", invites(f, f.Browser(), "Bob", "view"))
		other := cookieOf(ada.signs("198.51.100.7", password, ada.code(), true))
		signedIn := func(cookie string, want int) {
			f.Helper()
			if w := f.Get("/operator", "Cookie", cookie, "Accept", "text/html"); w.Code != want {
				f.Errorf("%d; want %d", w.Code, want)
			}
		}
		ada.Shows("/operator/me", "198.51.100.7", "this browser", "10 recovery codes left")
		list, err := f.Ledger.OperatorSessions(f.Context())
		if err != nil {
			f.Fatal(err)
		}
		for _, s := range list { // of all people
			if s.Address == "198.51.100.7" {
				bob.Does(bob.Press("/operator/me", "/operator/me/sessions", "id", s.ID), "sessions")
				signedIn(other, http.StatusOK)
				ada.Does(ada.Press("/operator/me", "/operator/me/sessions", "id", s.ID), "sessions")
			}
		}
		signedIn(other, http.StatusUnauthorized)
		other = cookieOf(ada.signs("198.51.100.7", password, ada.code(), true))
		ada.Does(ada.Press("/operator/me", "/operator/me/sessions"), "sessions")
		signedIn(other, http.StatusUnauthorized)
		ada.Shows("/operator/me")
		signedIn(bob.Cookie, http.StatusOK)

		other = cookieOf(ada.signs("198.51.100.7", password, ada.code(), true))
		w := ada.Press("/operator/me", "/operator/me/password", "password", "another password 1", "again",
			"another password 1", "code", ada.code(), "secret", "")
		if codes := recoveryCode.FindAllString(w.Body.String(), -1); w.Code != http.StatusOK || len(codes) != 10 {
			f.Fatalf("a new password: %d %s", w.Code, w.Body)
		}
		signedIn(other, http.StatusUnauthorized)
		f.Answers("the old password", ada.signs("192.0.2.1", password, ada.code(), true), http.StatusUnauthorized, "")
		if w := ada.signs("192.0.2.1", "another password 1", ada.code(), true); w.Code != http.StatusSeeOther {
			f.Errorf("the new one: %d %s", w.Code, w.Body)
		}
		w = ada.Press("/operator/me", "/operator/me/codes")
		if codes := recoveryCode.FindAllString(w.Body.String(), -1); len(codes) != 10 {
			f.Errorf("new codes: %d %s", w.Code, w.Body)
		}
		f.Pass(time.Hour)
		once := apptest.OnceField.FindStringSubmatch(ada.Shows("/operator/me", "Sign in again"))[1]
		f.Answers("a change after an hour", ada.Send("POST", "/operator/me/codes", "once="+once),
			http.StatusUnauthorized, "sign in again")
		f.Answers("the token has no codes", f.Browser().Send("POST", "/operator/me/codes", "once=A"),
			http.StatusConflict, "Invite yourself")
	})
}

// answer sends the answer of a device to the challenge of a page.
func answer(b *apptest.OperatorsBrowser, d *passkeytest.Device, page, action string) *httptest.ResponseRecorder {
	b.Helper()
	found := challenge.FindStringSubmatch(page)
	if found == nil {
		b.Fatalf("no challenge in %s", page)
	}
	form := url.Values{}
	set := func(name string, value []byte) { form.Set(name, passkey.Encode(value)) }
	if once := apptest.OnceField.FindStringSubmatch(page); once != nil {
		form.Set("once", once[1])
	}
	form.Set("back", "/operator/me")
	if action != "/operator/sign-in/passkey" {
		client, data, key := d.Create(found[1])
		set("client", client)
		set("data", data)
		set("key", key)
	} else {
		client, data, signature := d.Get(found[1])
		set("id", d.ID)
		set("client", client)
		set("data", data)
		set("signature", signature)
		set("user", d.User)
	}
	return b.Send("POST", action, form.Encode())
}

func TestPasskeys(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		link := invites(f, f.Browser(), "Ada", "support")
		device := func() *passkeytest.Device {
			return passkeytest.New(f.T, "ES256", "pay.example.com", "https://pay.example.com")
		}
		phone, stick := device(), device()
		ada := &apptest.OperatorsBrowser{Front: f}
		if w := answer(ada, phone, ada.Shows(link), link); w.Code != http.StatusSeeOther {
			f.Fatalf("joining with a passkey: %d %s", w.Code, w.Body)
		}
		audited(f, "Ada", "join", "Ada")
		const me, signIn = "/operator/me", "/operator/sign-in/passkey"
		in := func(d *passkeytest.Device) *httptest.ResponseRecorder {
			b := &apptest.OperatorsBrowser{Front: f}
			return answer(b, d, b.Shows("/operator/sign-in"), signIn)
		}
		if w := in(phone); w.Code != http.StatusSeeOther || cookieOf(w) == "" {
			f.Fatalf("signing in with a passkey: %d %s", w.Code, w.Body)
		}
		f.Answers("a passkey that is not registered", in(stick), http.StatusUnauthorized, "not accepted")
		page := (&apptest.OperatorsBrowser{Front: f}).Shows("/operator/sign-in")
		b := &apptest.OperatorsBrowser{Front: f}
		if w := answer(b, phone, page, signIn); w.Code != http.StatusSeeOther {
			f.Errorf("a challenge: %d %s", w.Code, w.Body)
		}
		f.Answers("the same challenge again", answer(b, phone, page, signIn), http.StatusUnauthorized, "not accepted")

		f.Answers("removing the last", ada.Press(me, me+"/passkeys/remove", "id", passkey.Encode(phone.ID)),
			http.StatusConflict, "only way to sign in")
		ada.Does(answer(ada, stick, ada.Shows(me), me+"/passkeys"), "passkey")
		f.Answers("adding it again", answer(ada, stick, ada.Shows(me), me+"/passkeys"), http.StatusConflict,
			"registered already")
		ada.Does(ada.Press(me, me+"/passkeys/remove", "id", passkey.Encode(phone.ID)), "unpasskey")
		f.Answers("the removed one", in(phone), http.StatusUnauthorized, "not accepted")
		if w := in(stick); w.Code != http.StatusSeeOther {
			f.Errorf("the other one: %d %s", w.Code, w.Body)
		}
		copied := *stick
		copied.Counter = 0
		f.Answers("a copy", in(&copied), http.StatusUnauthorized, "not accepted")
		if !strings.Contains(f.Logs.String(), "may have been copied") {
			f.Error("the log does not tell of the copy")
		}
	})
}

func TestTokens(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		owner := f.Browser()
		create := func(name, role string) string {
			w := owner.Press("/operator/people", "/operator/tokens", "name", name, "role", role)
			token := shownToken.FindString(w.Body.String())
			if w.Code != http.StatusOK || token == "" {
				f.Fatalf("creating %s: %d %s", name, w.Code, w.Body)
			}
			return token
		}
		books, desk := create("Books", "view"), create("Front desk", "support")
		if page := owner.Shows("/operator/people"); shownToken.MatchString(page) {
			f.Error("a token is shown again")
		}
		pause := func(token string) *httptest.ResponseRecorder {
			return f.Do("POST", "/api/devices/"+fixture.Washer+"/pause", `{"reason":"leaks"}`, "Authorization",
				"Bearer "+token)
		}
		f.Answers("view reads", f.Get("/api/devices", "Authorization", "bearer "+books), http.StatusOK, "")
		f.Answers("view pauses", pause(books), http.StatusForbidden, `"code":"role"`)
		f.Answers("support pauses", pause(desk), http.StatusOK, `"by":"token Front desk"`)
		audited(f, "token Front desk", "pause", fixture.Washer)
		f.Answers("a refresh by view", f.Do("POST", "/refresh-devices", "", "Authorization", "Bearer "+books),
			http.StatusForbidden, `"code":"role"`)
		f.Answers("an invented token", pause("np_"+strings.Repeat("A", 26)), http.StatusUnauthorized, "unauthorized")
		f.Answers("at the console", owner.SignIn(desk), http.StatusUnauthorized, "not the operator token")
		f.Answers("the same name", owner.Press("/operator/people", "/operator/tokens", "name", "books", "role", "view"),
			http.StatusConflict, "another name")
		tokens, err := f.Ledger.APITokens(f.Context())
		if err != nil || len(tokens) != 2 || tokens[0].UsedAt.IsZero() || tokens[0].CreatedBy != "operator" {
			f.Fatalf("%+v, %v; want two, used", tokens, err)
		}
		stored, _, err := f.Ledger.Audits(f.Context(), "token Books", 10, "")
		if err != nil || len(stored) != 1 || strings.Contains(fmt.Sprint(stored, tokens), books) {
			f.Errorf("%+v, %v; want that the token is stored nowhere", stored, err)
		}
		owner.Does(owner.Press("/operator/people", "/operator/tokens/"+tokens[0].ID+"/revoke"), "revoke")
		f.Answers("after it", f.Get("/api/devices", "Authorization", "Bearer "+books), http.StatusUnauthorized, "")
		f.Answers("the other one", f.Get("/api/devices", "Authorization", "Bearer "+desk), http.StatusOK, "")
	})
}

// Sign-ins with OPERATOR_TOKEN work while the ledger does not.
func TestTokenSignInWithoutTheLedger(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		b := f.Browser()
		b.Shows("/operator/setup")
		f.CloseLedger()
		b.Shows("/operator/setup")
		b.SignIn(apptest.OperatorToken)
		b.Shows("/operator/setup", "Setup")
	})
}
