package process

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

// maxMemory returns the maximum growth of the memory in use while f ran, in MB. It polls inUse.
func maxMemory(inUse func() int64, f func()) int64 {
	before, grown := inUse(), int64(0)
	done, measured := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(measured)
		for {
			grown = max(grown, inUse()-before)
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond): // a sample, no synchronization
			}
		}
	}()
	f()
	close(done)
	<-measured
	return grown >> 20
}

// The test is not parallel, because the service would read more slowly.
func TestUnfinishedWebhooksOfStrangers(t *testing.T) {
	const strangers = 600
	for name, c := range map[string]struct {
		header string
		sent   int    // bytes of the body, of the announced 1 MiB
		path   string // "" for the webhook
	}{
		"almost all is sent":            {"Content-Length: 1048576\r\n", 1<<20 - 1, ""},
		"half is sent":                  {"Content-Length: 1048576\r\n", 1 << 19, ""},
		"some is sent":                  {"Content-Length: 1048576\r\n", 20_000, ""},
		"nothing is sent":               {"Content-Length: 1048576\r\n", 0, ""},
		"almost all is sent, in chunks": {"Transfer-Encoding: chunked\r\n", 1<<20 - 1, ""},
		"a form": {"Content-Length: 1048576\r\nContent-Type: application/x-www-form-urlencoded\r\n",
			1<<20 - 1, "/operator/sign-in"},
		"a form of many parts": {"Content-Length: 1048576\r\nContent-Type: multipart/form-data; boundary=x\r\n",
			1<<20 - 1, "/operator/refresh"},
	} {
		t.Run(name, func(t *testing.T) {
			w := apptest.NewWorld(t)
			s := w.Start()
			s.Selling(fixture.Washer)
			filler := bytes.Repeat([]byte(" "), 1<<16)
			used := maxMemory(s.Memory, func() {
				for range strangers {
					conn, err := net.Dial("tcp", strings.TrimPrefix(s.Url, "http://"))
					if err != nil {
						t.Fatal(err)
					}
					defer conn.Close()
					fmt.Fprintf(
						conn,
						"POST %s HTTP/1.1\r\nHost: x\r\nStripe-Signature: t=%d,v1=%s\r\n%s\r\n",
						cmp.Or(c.path, "/webhook/stripe"),
						time.Now().Unix(),
						strings.Repeat("0", 64),
						c.header,
					)
					if strings.HasPrefix(c.header, "Transfer") {
						fmt.Fprintf(conn, "%x\r\n", 1<<20)
					}
					for left := c.sent; left > 0; { // writing fails once the service has dropped the connection
						n, err := conn.Write(filler[:min(left, len(filler))])
						if left -= n; err != nil {
							break
						}
					}
				}
				// A real payment arrives while they hang.
				session := w.Pay(s.Selling(fixture.Washer), sandbox.PayOptions{})
				s.Payment(session.ID, "recorded", apptest.Has(`"session_id"`))
				// A large webhook is not a stranger's because of its size.
				large := fixture.SessionEvent("customer.created", "") + strings.Repeat(" ", 500_000)
				// the service may drop a slow one, and Stripe sends it again
				w.Until("a large event is accepted", func() bool {
					status, _, _ := s.Do(
						"POST",
						"/webhook/stripe",
						large,
						"Stripe-Signature",
						fixture.Signed(large, fixture.TestSecret),
					)
					return status == http.StatusOK
				})
			})
			t.Logf("%d MB", used)
			if used > 64 {
				t.Errorf("%d unfinished webhooks take %d MB; want at most 64", strangers, used)
			}
		})
	}
}

// The test is not parallel, because it measures the memory of the process.
func TestErrorRepliesOfAHundredMegabytes(t *testing.T) {
	filler := bytes.Repeat([]byte("x"), 1<<16)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "token") {
			fmt.Fprint(w, `{"access_token":"x","token_type":"bearer","expires_in":3600}`)
			return
		}
		w.WriteHeader(http.StatusBadRequest)
		for range 100 << 20 / len(filler) {
			if _, err := w.Write(filler); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	settings := &config.Settings{
		StripeSecretKey:   fixture.TestKey,
		StripeAPIURL:      server.URL,
		NotehubProjectUID: fixture.Project,
		NotehubToken:      fixture.HubToken,
		NotehubAPIURL:     server.URL,
	}
	hub, api := apptest.HubOf(settings, nil), apptest.StripeOf(settings, nil)
	runtime.GC()
	own := func() int64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapInuse + m.StackInuse)
	}
	used := maxMemory(own, func() {
		var calls sync.WaitGroup
		for range 32 {
			calls.Go(func() {
				err := hub.PostNote(t.Context(), fixture.Washer, "payment.qi", payment.Note{})
				if upstream.OutcomeOf(err) != upstream.Misconfigured {
					t.Errorf("Notehub: %.200v; want trouble", err)
				}
				if _, err := api.Session(t.Context(), "cs_test_1"); err == nil {
					t.Error("Stripe: no error")
				}
			})
		}
		calls.Wait()
	})
	if t.Logf("%d MB", used); used > 64 {
		t.Errorf("32 calls to each vendor take %d MB; want at most 64", used)
	}
}
