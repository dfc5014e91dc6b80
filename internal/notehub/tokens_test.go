package notehub

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/fixture"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

func TestTokenIsRenewedForEveryCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, withOAuth)
		fixture.Meant(t, "note", h.post(), upstream.OK)
		id := h.Pending(fixture.Washer, PaymentFile)[0].ID
		for name, call := range map[string]func() error{
			"recall":    func() error { return h.client.DeleteNote(t.Context(), fixture.Washer, PaymentFile, id) },
			"answers":   func() error { _, _, _, err := h.client.Confirmations(t.Context(), ""); return err },
			"variables": func() error { _, err := h.client.ProjectVariables(t.Context()); return err },
		} {
			before := h.TokensIssued()
			h.RevokeTokens()
			fixture.Meant(t, name, call(), upstream.OK)
			if n := h.TokensIssued() - before; n != 1 {
				t.Errorf("%s: %d new tokens; want one", name, n)
			}
		}
	})
}

func TestTokenThatExpiredIsReplacedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, withOAuth)
		fixture.Meant(t, "first", h.post(), upstream.OK)
		h.RevokeTokens()
		fixture.Meant(t, "second", h.post(), upstream.OK)
		if tokens, posts := h.TokensIssued(), h.Count(fixture.PostNote); tokens != 2 || posts != 3 {
			t.Errorf("%d tokens and %d posts; want 2 and 3", tokens, posts)
		}
		if n := len(h.Notes(fixture.Washer)); n != 2 {
			t.Errorf("%d notes; want 2", n)
		}
	})
}

func TestTokenThatIsNeverAcceptedIsMisconfigured(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, withOAuth)
		h.Always(fixture.HubDevice, sandbox.Outcome{Status: 401})
		fixture.Meant(t, "device", h.ask(), upstream.Misconfigured)
		if tokens, reads := h.TokensIssued(), h.Count(fixture.HubDevice); tokens != 2 || reads != 2 {
			t.Errorf("%d tokens and %d attempts; want 2 and 2", tokens, reads)
		}
	})
}

func TestTokenIsFetchedOnceForManyCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const calls = 50
		h := newTestHub(t, withOAuth)
		fixture.Meant(t, "first", h.ask(), upstream.OK)
		h.RevokeTokens()
		// All calls are in flight with the expired token before the first is answered.
		slow := make([]sandbox.Outcome, calls)
		for i := range slow {
			slow[i] = sandbox.Outcome{Applied: true, Status: 200, Delay: time.Second}
		}
		h.Next(fixture.HubDevice, slow...)
		var asked sync.WaitGroup
		for range calls {
			asked.Go(func() { fixture.Meant(t, "device", h.ask(), upstream.OK) })
		}
		asked.Wait()
		if tokens, reads := h.TokensIssued(), h.Count(fixture.HubDevice); tokens != 2 || reads != 1+2*calls {
			t.Errorf("%d tokens and %d reads; want 2 and %d", tokens, reads, 1+2*calls)
		}
	})
}

func TestTokenCallFailsOnceForManyCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, func(s *Config, c *sandbox.NotehubConfig) {
			withOAuth(s, c)
			c.ClientSecret = fixture.HubSecret + "-of-another"
		})
		all := func() {
			var asked sync.WaitGroup
			for range 20 {
				asked.Go(func() { fixture.Meant(t, "device", h.ask(), upstream.Misconfigured) })
			}
			asked.Wait()
		}
		all()
		time.Sleep(tokenBackoff - time.Nanosecond)
		all()
		if n := h.Count(fixture.HubTokens); n != 1 {
			t.Errorf("%d token calls within %v; want one", n, tokenBackoff)
		}
		time.Sleep(time.Nanosecond)
		all()
		if n := h.Count(fixture.HubTokens); n != 2 {
			t.Errorf("%d token calls after that; want 2", n)
		}
		if n := h.Count(fixture.HubDevice); n != 0 {
			t.Errorf("%d reads without a token; want none", n)
		}
	})
}

func TestTokenIsRenewedBeforeItExpires(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name          string
		life, renewed time.Duration // of the token, and when it is renewed
	}{
		{"the usual half hour", 30 * time.Minute, 28 * time.Minute},
		{"a very short life", time.Minute, 30 * time.Second},
		{"an hour", time.Hour, 58 * time.Minute},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newTestHub(t, func(s *Config, c *sandbox.NotehubConfig) {
					withOAuth(s, c)
					c.TokenLife = row.life
				})
				fixture.Meant(t, "first", h.ask(), upstream.OK)
				time.Sleep(row.renewed - time.Second)
				fixture.Meant(t, "just before", h.ask(), upstream.OK)
				if n := h.TokensIssued(); n != 1 {
					t.Errorf("%d tokens just before the renewal; want 1", n)
				}
				time.Sleep(time.Second)
				fixture.Meant(t, "at the renewal", h.ask(), upstream.OK)
				if tokens, reads := h.TokensIssued(), h.Count(fixture.HubDevice); tokens != 2 || reads != 3 {
					t.Errorf("%d tokens and %d reads; want 2 and 3: no read met a dead token", tokens, reads)
				}
			})
		})
	}
}

func TestTokenOfUnknownLifeIsRenewedInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, withOAuth)
		h.Always(
			fixture.HubTokens,
			sandbox.Outcome{Status: 200, Body: `{"access_token":"` + fixture.HubToken + `","token_type":"bearer"}`},
		)
		fixture.Meant(t, "first", h.ask(), upstream.OK)
		time.Sleep(defaultTokenLife - tokenMargin - time.Second)
		fixture.Meant(t, "second", h.ask(), upstream.OK)
		time.Sleep(time.Second)
		fixture.Meant(t, "third", h.ask(), upstream.OK)
		if n := h.Count(fixture.HubTokens); n != 2 {
			t.Errorf("%d token calls; want 2", n)
		}
	})
}

func TestTokenCallClassifiesReplies(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name   string
		answer sandbox.Outcome
		want   upstream.Outcome
		wait   time.Duration
	}{
		{
			"401 in OAuth's shape",
			sandbox.Outcome{
				Status: 401,
				Body:   `{"error":"invalid_client","error_description":"client authentication failed"}`,
			},
			upstream.Misconfigured,
			0,
		},
		{"400", sandbox.Outcome{Status: 400, Body: `{"error":"invalid_request"}`}, upstream.Misconfigured, 0},
		{"403 of a proxy", sandbox.Outcome{Status: 403, Body: fixture.ProxyPage}, upstream.Misconfigured, 0},
		{
			"429 that says how long",
			sandbox.Outcome{Status: 429, Header: http.Header{"Retry-After": {"20"}}},
			upstream.RateLimited,
			20 * time.Second,
		},
		{"429 that does not", sandbox.Outcome{Status: 429}, upstream.RateLimited, 0},
		{"500", sandbox.Outcome{Status: 500}, upstream.Retryable, 0},
		{"503 of a proxy", sandbox.Outcome{Status: 503, Body: fixture.ProxyPage}, upstream.Retryable, 0},
		{"a proxy's page as a yes", sandbox.Outcome{Status: 200, Body: fixture.ProxyPage}, upstream.Retryable, 0},
		{"a yes without a token", sandbox.Outcome{Status: 200, Body: `{"expires_in":1800}`}, upstream.Retryable, 0},
		{"an error as a yes", sandbox.Outcome{Status: 200, Body: `{"error":"server_error"}`}, upstream.Retryable, 0},
		{"cut", sandbox.Outcome{}, upstream.Retryable, 0},
		{"cut after the effect", sandbox.Outcome{Applied: true}, upstream.Retryable, 0},
		{"too slow", sandbox.Outcome{Delay: time.Hour}, upstream.Retryable, 0},
		{
			"a novel for a description",
			sandbox.Outcome{
				Status: 400,
				Body:   `{"error":"x","error_description":"` + strings.Repeat("long ", 10_000) + `"}`,
			},
			upstream.Misconfigured,
			0,
		},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newTestHub(t, withOAuth)
				h.Next(fixture.HubTokens, row.answer)
				err := h.post()
				fixture.Meant(t, "note", err, row.want)
				if n := len(err.Error()); n > 1000 {
					t.Errorf("the error has %d characters; want an excerpt", n)
				}
				if h.Count(fixture.PostNote) != 0 || h.Count(fixture.HubTokens) != 1 {
					t.Errorf(
						"%d posts and %d token calls; want none and one",
						h.Count(fixture.PostNote),
						h.Count(fixture.HubTokens),
					)
				}
				if d := h.client.Limiter.Delay(time.Now()); row.wait > 0 && d != row.wait {
					t.Errorf("all calls are held for %v; want %v", d, row.wait)
				}
				time.Sleep(tokenBackoff)
				fixture.Meant(t, "afterwards", h.post(), upstream.OK)
			})
		})
	}
}

func TestPersonalTokenIsNeverFetched(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, nil)
		fixture.Meant(t, "note", h.post(), upstream.OK)
		h.Next(fixture.PostNote, sandbox.Outcome{Status: 401})
		fixture.Meant(t, "a token that expired", h.post(), upstream.Misconfigured)
		if posts, tokens := h.Count(fixture.PostNote), h.Count(fixture.HubTokens); posts != 2 || tokens != 0 {
			t.Errorf("%d posts and %d token calls; want 2 and none: there is no other token to try", posts, tokens)
		}
	})
}

// listener records the tokens in the replies.
type listener struct {
	http.RoundTripper
	heard *[]string
}

func (l listener) RoundTrip(r *http.Request) (*http.Response, error) {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		*l.heard = append(*l.heard, token)
	}
	return l.RoundTripper.RoundTrip(r)
}

func TestErrorsNeverHoldTheToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, withOAuth)
		var heard []string
		h.client.http.Transport = listener{h.client.http.Transport, &heard}
		var said []string
		for _, o := range []sandbox.Outcome{
			{},
			{Applied: true},
			{Status: 400},
			{Status: 403, Body: fixture.ProxyPage},
			{Status: 404},
			{Status: 429},
			{Status: 500},
			{Delay: time.Hour},
			{Status: 307, Header: http.Header{"Location": {"/x"}}},
		} {
			h.Next(fixture.PostNote, o)
			said = append(said, fmt.Sprintf("%v %+v", h.post(), h.post()))
		}
		h.Always(fixture.PostNote, sandbox.Outcome{Status: 401})
		said = append(said, fmt.Sprint(h.post()))
		h.Next(
			fixture.HubTokens,
			sandbox.Outcome{Status: 200, Body: `{"access_token":"broken\ntoken","expires_in":1800}`},
		)
		err := h.post()
		if err == nil || strings.Contains(err.Error(), "broken") {
			t.Errorf("a token that no header can hold: %v", err)
		}
		if len(heard) < 10 {
			t.Fatalf("%d tokens passed by; want those of every call", len(heard))
		}
		for _, text := range said {
			for _, secret := range append(heard, fixture.HubSecret) {
				if strings.Contains(text, secret) {
					t.Errorf("an error contains a secret: %s", text)
				}
			}
		}
	})
}

func TestTokenRejectedAtOnceIsNotFetchedAgainAndAgain(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		change func(*Config, *sandbox.NotehubConfig)
		tokens int // at most so many token calls in a minute
		text   string
	}{
		{"a client of another project", withOAuth, 8, "OAuth client"},
		{"a personal token that was revoked", nil, 0, "NOTEHUB_TOKEN"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newTestHub(t, row.change)
				h.Always(fixture.PostNote, sandbox.Outcome{Status: 401})
				for range 600 { // claimed calls, which do not wait for a slot
					err := h.post()
					if fixture.Meant(t, "note", err, upstream.Misconfigured); !strings.Contains(err.Error(), row.text) {
						t.Fatalf("%v; want it to say what to do about the %s", err, row.text)
					}
					time.Sleep(100 * time.Millisecond)
				}
				if n := h.Count(fixture.HubTokens); n > row.tokens {
					t.Errorf("%d token calls in a minute; want at most %d", n, row.tokens)
				}
				if d := h.client.Limiter.Delay(time.Now()); d <= 0 || d > maxTokenBackoff {
					t.Errorf("all calls are held for %v; want up to %v", d, maxTokenBackoff)
				}
				h.Clear(fixture.PostNote)
				fixture.Meant(t, "when it is accepted again", h.post(), upstream.OK)
				h.Always(fixture.PostNote, sandbox.Outcome{Status: 401})
				fixture.Meant(t, "a later rejection", h.post(), upstream.Misconfigured)
				h.Clear(fixture.PostNote)
				fixture.Meant(t, "is forgotten at once", h.post(), upstream.OK)
			})
		})
	}
}
