package notehub

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

// testHub is a simulated Notehub with the client under test.
type testHub struct {
	*sandbox.Notehub
	client *Client
}

// testConfig returns the settings of a client that signs in with a personal token.
func testConfig(base string) Config {
	return Config{
		APIURL:    base,
		Project:   fixture.Project,
		Token:     fixture.HubToken,
		Transport: upstream.NewTransport(8 << 20),
		Timeout:   payment.CallTimeout,
		UserAgent: "notepay/" + fixture.TestVersion,
	}
}

// newTestHub returns a simulated Notehub without a socket, for tests in fake time. The client signs
// in with a personal token unless change, which may be nil, does otherwise.
func newTestHub(t *testing.T, change func(*Config, *sandbox.NotehubConfig)) *testHub {
	t.Helper()
	s := testConfig("http://notehub.test")
	c := sandbox.NotehubConfig{
		Project:      fixture.Project,
		Token:        fixture.HubToken,
		ClientID:     "client",
		ClientSecret: fixture.HubSecret,
		Report:       t,
	}
	if change != nil {
		change(&s, &c)
	}
	h := &testHub{Notehub: sandbox.NewNotehub(c)}
	s.Transport = sandbox.InProcess(h)
	h.client = New(s)
	h.AddDevice(sandbox.Device{UID: fixture.Washer, Name: "Washer 3"})
	return h
}

// withOAuth makes the client sign in with OAuth client credentials.
func withOAuth(s *Config, _ *sandbox.NotehubConfig) {
	credentials := clientcredentials.Config{
		ClientID:     "client",
		ClientSecret: fixture.HubSecret,
		TokenURL:     s.APIURL + "/oauth2/token",
		AuthStyle:    oauth2.AuthStyleInParams,
	}
	s.Token, s.FetchToken = "", credentials.Token
}

func (h *testHub) post() error {
	return h.client.PostNote(
		context.Background(),
		fixture.Washer,
		PaymentFile,
		payment.Note{PaymentStatus: "completed", SessionID: "cs_1", CreditID: "cr_1"},
	)
}

func (h *testHub) ask() error {
	_, err := h.client.Device(context.Background(), fixture.Washer)
	return err
}

func TestCallWithAReplyThatEndsHalfway(t *testing.T) {
	t.Parallel()
	half := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte(`{"uid":"dev:1","notes":{`))
	}))
	t.Cleanup(half.Close)
	n := New(testConfig(half.URL))
	fixture.Meant(t, "note", n.PostNote(t.Context(), fixture.Washer, PaymentFile, payment.Note{}), upstream.Unknown)
	_, err := n.Device(t.Context(), fixture.Washer)
	fixture.Meant(t, "device", err, upstream.Unknown)
	_, err = n.PendingNotes(t.Context(), fixture.Washer, PaymentFile)
	fixture.Meant(t, "pending", err, upstream.Unknown)
	_, err = n.Devices(t.Context())
	fixture.Meant(t, "devices", err, upstream.Unknown)
}

func TestClientDoesNotFollowRedirects(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s was followed", r.Method, r.URL)
	}))
	t.Cleanup(elsewhere.Close)
	for _, status := range []int{301, 302, 303, 307, 308} {
		lead := httptest.NewServer(http.RedirectHandler(elsewhere.URL, status))
		t.Cleanup(lead.Close)
		n := New(testConfig(lead.URL))
		fixture.Meant(
			t, fmt.Sprint("note ", status), n.PostNote(t.Context(), fixture.Washer, PaymentFile, payment.Note{}),
			upstream.Misconfigured,
		)
		_, err := n.Device(t.Context(), fixture.Washer)
		fixture.Meant(t, fmt.Sprint("device ", status), err, upstream.Misconfigured)
		s := testConfig(lead.URL)
		withOAuth(&s, nil)
		err = New(s).PostNote(t.Context(), fixture.Washer, PaymentFile, payment.Note{})
		fixture.Meant(t, fmt.Sprint("token ", status), err, upstream.Retryable)
	}
}

// A claimed call has taken its slot already. A read waits for one.
func TestReadsWaitForASlotAndClaimedCallsDoNot(t *testing.T) {
	t.Parallel()
	rows := map[string]struct {
		waits bool
		call  func(h *testHub) error
	}{
		"note": {false, func(h *testHub) error { return h.post() }},
		"pending": {false, func(h *testHub) error {
			_, err := h.client.PendingNotes(context.Background(), fixture.Washer, PaymentFile)
			return err
		}},
		"recall": {
			false,
			func(h *testHub) error {
				return h.client.DeleteNote(context.Background(), fixture.Washer, PaymentFile, "1:1")
			},
		},
		"answers": {
			true,
			func(h *testHub) error { _, _, _, err := h.client.Confirmations(context.Background(), ""); return err },
		},
		"project": {
			true,
			func(h *testHub) error { _, err := h.client.ProjectVariables(context.Background()); return err },
		},
		"fleets": {
			true,
			func(h *testHub) error { _, _, err := h.client.FleetVariables(context.Background()); return err },
		},
		"a device": {true, func(h *testHub) error {
			_, err := h.client.DeviceVariables(context.Background(), fixture.Washer)
			return err
		}},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newTestHub(t, nil)
				h.client.Limiter = upstream.NewLimiter(1, 1)
				h.client.Limiter.Use(time.Now())
				began := time.Now()
				if err := row.call(h); err != nil && upstream.OutcomeOf(err) != upstream.Rejected {
					t.Fatal(err)
				}
				if took := time.Since(began); (took >= time.Minute) != row.waits {
					t.Errorf("took %v at one call a minute; waits is %v", took, row.waits)
				}
			})
		})
	}
}

// A slow call reaches Notehub at an unknown time. Its slot is free again a minute after its end.
func TestLimiterCountsSlowCallsFromTheirEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, func(_ *Config, c *sandbox.NotehubConfig) { c.PerMinute = 1 })
		h.client.Limiter = upstream.NewWindow(1)
		h.Next(
			fixture.HubDevice,
			sandbox.Outcome{Applied: true, Status: 200, Delay: 10 * time.Second, DelayEffect: true},
		)
		for range 3 {
			fixture.Meant(t, "device", h.ask(), upstream.OK)
		}
	})
}

// A token call uses the slot of the claimed call that needs it, and the claimed call waits for
// another.
func TestLimiterCountsTheTokenCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, func(s *Config, c *sandbox.NotehubConfig) { withOAuth(s, c); c.PerMinute = 1 })
		h.client.Limiter = upstream.NewWindow(1)
		claimed := func() error {
			for !h.client.Limiter.Take() {
				time.Sleep(time.Second)
			}
			return h.client.PostNote(
				t.Context(),
				fixture.Washer,
				PaymentFile,
				payment.Note{PaymentStatus: "completed", CreditID: "cr_1"},
			)
		}
		fixture.Meant(t, "the claim that fetches the token", claimed(), upstream.Retryable)
		fixture.Meant(t, "the next claim", claimed(), upstream.OK)
		if n := len(h.Notes(fixture.Washer)); n != 1 {
			t.Errorf("%d notes; want 1", n)
		}
		for _, r := range h.Requests("{any} /{rest...}") {
			if r.Status == 429 {
				t.Errorf("%s %s: 429", r.Method, r.Path)
			}
		}
	})
}
