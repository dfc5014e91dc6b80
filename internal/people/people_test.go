package people

import (
	"context"
	"encoding/base32"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// The vectors of RFC 4226, appendix D, and RFC 6238, appendix B.
func TestHOTP(t *testing.T) {
	t.Parallel()
	secret := []byte("12345678901234567890")
	for counter, want := range []string{
		"755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489",
	} {
		if got := hotp(secret, uint64(counter), 6); got != want {
			t.Errorf("counter %d: %s; want %s", counter, got, want)
		}
	}
	for at, want := range map[int64]string{
		59: "94287082", 1111111109: "07081804", 1111111111: "14050471", 1234567890: "89005924",
		2000000000: "69279037", 20000000000: "65353130",
	} {
		if got := hotp(secret, uint64(at/30), 8); got != want {
			t.Errorf("second %d: %s; want %s", at, got, want)
		}
	}
}

func TestCheckTOTP(t *testing.T) {
	t.Parallel()
	secret := base32.StdEncoding.EncodeToString([]byte("12345678901234567890"))
	now := time.Unix(1111111111, 0)
	step := now.Unix() / 30
	for code, want := range map[string]bool{
		"050471": true, "050 471": true, // of now
		"081804": true, // of the step before
		hotp([]byte("12345678901234567890"), uint64(step)+1, 6): true,  // of a phone that is fast
		hotp([]byte("12345678901234567890"), uint64(step)-2, 6): false, // older
		hotp([]byte("12345678901234567890"), uint64(step)+2, 6): false,
		"": false, "14050471": false, "50471": false, "abcdef": false,
	} {
		if _, ok := CheckTOTP(secret, code, 0, now); ok != want {
			t.Errorf("%q: %v; want %v", code, ok, want)
		}
	}
	used, _ := CheckTOTP(secret, "050471", 0, now)
	if _, again := CheckTOTP(secret, "050471", used, now); again || used != step {
		t.Errorf("step %d; want %d, and that the code counts once", used, step)
	}
	if _, older := CheckTOTP(secret, "081804", used, now); older {
		t.Error("a code from before the last one counts")
	}
	for _, secret := range []string{"", "AAAA", "not base 32"} {
		if _, ok := CheckTOTP(secret, "050471", 0, now); ok || ValidTOTP(secret) {
			t.Errorf("the secret %q is accepted", secret)
		}
	}
	if s := NewTOTP(); !ValidTOTP(s) || s == NewTOTP() {
		t.Errorf("%s is no secret", s)
	}
	want := "otpauth://totp/pay.example.com:Ada%20L?issuer=pay.example.com&secret=ABC"
	if got := TOTPAddress("ABC", "Ada L", "pay.example.com"); got != want {
		t.Errorf("%s; want %s", got, want)
	}
}

func TestMay(t *testing.T) {
	t.Parallel()
	for role, want := range map[Role]string{
		View: "view", Support: "view support", Owner: "view support owner", Public: "", "admin": "",
	} {
		var may []string
		for _, least := range Roles() {
			if role.May(least) {
				may = append(may, string(least))
			}
		}
		if got := strings.Join(may, " "); got != want {
			t.Errorf("%q may what %q may; want %q", role, got, want)
		}
	}
	if r, known := RuleOf("GET /operator/forgotten"); known || r.Least != Owner || !r.Fresh {
		t.Errorf("a forgotten route needs %+v", r)
	}
	if r, known := RuleOf("POST /operator/people/{id}/role"); !known || r.Least != Owner || !r.Fresh {
		t.Errorf("changing a role needs %+v", r)
	}
	if r, known := RuleOf("GET /pay"); !known || r.Least != Public {
		t.Errorf("a scan needs %+v", r)
	}
	if From(t.Context()).Role.May(View) {
		t.Error("a request without an actor may look")
	}
}

func TestCleanName(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		" Ada   Lovelace ": "Ada Lovelace", "Zoë": "Zoë", strings.Repeat("ä", 60): strings.Repeat("ä", 60),
		"": "", "  ": "", "Operator": "", "notepay": "", "token x": "", "a\x00b": "", "\xff": "",
		strings.Repeat("a", 61): "", "a\u202eb": "",
	} {
		if got, err := CleanName(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
	if NameKey("Ada  LOVELACE") != NameKey("ada lovelace") {
		t.Error("names differ in case")
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	token := NewToken()
	if !LooksLikeToken(token) || LooksLikeToken("np_x") || LooksLikeToken(token[3:]) || token == NewToken() {
		t.Errorf("%s does not look like a token", token)
	}
	codes := NewRecoveryCodes()
	if len(codes) != 10 || len(codes[0]) != 19 {
		t.Fatalf("codes %q", codes)
	}
	loose := strings.ToLower(strings.ReplaceAll(codes[0], "-", " "))
	if d := RecoveryDigest(codes[0]); d == "" || d != RecoveryDigest(loose) || d == RecoveryDigest(codes[1]) {
		t.Errorf("%s and %s differ", codes[0], loose)
	}
	if RecoveryDigest("") != "" || RecoveryDigest("123456") != "" {
		t.Error("a code of an app counts as a recovery code")
	}
}

func TestCheckPassword(t *testing.T) {
	t.Parallel()
	for password, ok := range map[string]bool{
		"correct horse battery": true, "twelve chars": true, "üüüüüüüüüüü1": true,
		"eleven char": false, "": false, "aaaaaaaaaaaaaa": false, "ada lovelace": false,
		strings.Repeat("ab", 129): false, "\xff12345678901": false,
	} {
		if err := CheckPassword(password, "Ada Lovelace"); (err == nil) != ok {
			t.Errorf("%q: %v; want that it is possible: %v", password, err, ok)
		}
	}
}

func TestHasher(t *testing.T) {
	t.Parallel()
	h := NewHasher()
	hash, err := h.Hash(t.Context(), "correct horse battery")
	if err != nil || !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatalf("%s, %v", hash, err)
	}
	for _, c := range []struct {
		password, hash string
		want           bool
	}{
		{"correct horse battery", hash, true}, {"correct horse batterx", hash, false}, {"", hash, false},
		{"", "", false}, {"correct horse battery", hash[:len(hash)-2] + "AA", false},
		{strings.Repeat("x", 300), hash, false},
	} {
		if got, err := h.Matches(t.Context(), c.password, c.hash, "a", true); got != c.want || err != nil {
			t.Errorf("%q: %v, %v; want %v", c.password, got, err, c.want)
		}
	}
}

// Strangers wait for each other, at most one for each address, and not for long. A browser that the
// person used before does not wait for them.
func TestHasherBoundsStrangers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := NewHasher()
		h.strangers <- struct{}{} // a hash is being made
		ctx, leave := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		busy := make(chan error, 100)
		for n := range 60 {
			wait.Go(func() {
				_, err := h.Matches(ctx, "x", "", "address "+string(rune('a'+n)), false)
				busy <- err
			})
		}
		synctest.Wait()
		if len(busy) != 40 { // the burst waits
			t.Errorf("%d of 60 strangers are sent away; want 40", len(busy))
		}
		for len(busy) > 0 {
			if err := <-busy; !errors.Is(err, ErrBusy) {
				t.Errorf("a stranger is sent away with %v", err)
			}
		}
		if _, err := h.Matches(t.Context(), "x", "", "address a", false); !errors.Is(err, ErrBusy) {
			t.Errorf("a second attempt from an address: %v; want ErrBusy", err)
		}
		if _, err := h.Matches(t.Context(), "x", "", "browser b", true); err != nil {
			t.Errorf("a known browser: %v; want an answer", err)
		}
		leave()
		wait.Wait()
	})
}
