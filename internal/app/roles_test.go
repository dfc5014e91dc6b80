package app_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/ledger"
	"notepay/internal/people"
)

// credentials are those of a person and of a program with a role.
type credentials struct{ cookie, token string }

// withRole stores a person who is signed in, and a token.
func withRole(f *apptest.Front, role people.Role) credentials {
	f.Helper()
	c := credentials{cookie: "cookie-" + string(role), token: people.NewToken()}
	mac := hmac.New(sha256.New, []byte(apptest.OperatorToken))
	mac.Write([]byte(c.cookie))
	person, session := "p_"+string(role), hex.EncodeToString(mac.Sum(nil))
	err := f.Ledger.Update(f.Context(), func(tx *ledger.Tx) error {
		p := ledger.Person{ID: person, Name: person, NameKey: person, Role: string(role)}
		if err := tx.AddPerson(p); err != nil && !errors.Is(err, ledger.ErrNameTaken) {
			return err
		}
		signedIn := ledger.OperatorSession{ID: session, Person: person, Until: tx.Now.Add(time.Hour)}
		if err := tx.AddOperatorSession(signedIn); err != nil {
			return err
		}
		return tx.AddAPIToken(ledger.APIToken{
			ID:      people.NewID("t_"),
			Name:    c.token,
			NameKey: c.token,
			Digest:  people.Digest(c.token),
			Role:    string(role),
		})
	})
	if err != nil {
		f.Fatal(err)
	}
	return c
}

// TestRoles requires each route to be in the table of roles, and to answer only those whose role the
// table allows. A route that the table lacks needs an owner, and fails here.
func TestRoles(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, apptest.PerPurchase, func(f *apptest.Front) {
		patterns := f.Server.Patterns()
		if len(patterns) < 70 {
			f.Fatalf("only %d routes", len(patterns))
		}
		variable := regexp.MustCompile(`\{[^}]*\}`)
		do := func(pattern string, header ...string) *httptest.ResponseRecorder {
			method, path, found := strings.Cut(pattern, " ")
			if !found {
				method, path = http.MethodGet, pattern
			}
			ctx, cancel := context.WithTimeout(f.Context(), time.Second) // for streams
			defer cancel()
			r := httptest.NewRequestWithContext(ctx, method, variable.ReplaceAllString(path, "x1"),
				strings.NewReader("reason=x")) // a form that is incomplete acts on nothing
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Accept", "text/html")
			for n := 0; n < len(header); n += 2 {
				r.Header.Set(header[n], header[n+1])
			}
			w := httptest.NewRecorder()
			f.Handler.ServeHTTP(w, r)
			return w
		}
		guarded := 0
		for _, pattern := range patterns {
			rule, known := people.RuleOf(pattern)
			if !known {
				f.Errorf("%s is not in the table of internal/people", pattern)
			}
			if rule.Least == people.Public {
				continue
			}
			guarded++
			if w := do(pattern); w.Code != http.StatusUnauthorized {
				f.Errorf("%s without a sign-in: %d; want 401", pattern, w.Code)
			}
			for _, role := range people.Roles() {
				c := withRole(f, role)
				console := strings.Contains(pattern, "/operator")
				header := []string{"Authorization", "Bearer " + c.token}
				if console {
					header = []string{"Cookie", "notepay_operator=" + c.cookie}
				}
				w := do(pattern, header...)
				refused := w.Code == http.StatusForbidden || w.Code == http.StatusUnauthorized
				if refused == role.May(rule.Least) {
					f.Errorf("%s by %s: %d %.300s; the least role is %s", pattern, role, w.Code, w.Body, rule.Least)
				}
				if console == (do(pattern, "Authorization", "Bearer "+c.token).Code != http.StatusUnauthorized) {
					f.Errorf("%s takes a token: %v", pattern, console)
				}
				if err := f.Ledger.Update(f.Context(), func(tx *ledger.Tx) error {
					_, err := tx.EndOperatorSessions("p_"+string(role), "")
					return err
				}); err != nil {
					f.Fatal(err)
				}
			}
		}
		if guarded < 50 {
			f.Errorf("only %d guarded routes", guarded)
		}
	})
}
