package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/app"
	"notepay/internal/config"
	"notepay/internal/web/console"
)

// checksNow presses the button of the set-up page.
func (b *operatorsBrowser) checksNow() *httptest.ResponseRecorder {
	b.Helper()
	return b.press("/operator/setup", "/operator/setup")
}

func TestTheSetUpIsCheckedInTheConsole(t *testing.T) {
	t.Parallel()
	inFront(t, func(s *config.Settings) { s.PublicURL, s.NotehubPerMinute = "", 7 }, func(f *front) {
		f.settings.DatabaseURL = config.Secret(f.path)
		f.run()
		b := f.browser()
		b.shows("/operator/setup", "The checks have not run since notepay was started.")
		writes := func() (n int) {
			for _, call := range []string{"POST /v1/payment_links", "POST /v1/prices", "POST /v1/products", "POST /v1/webhook_endpoints", "POST /v1/refunds"} {
				n += f.stripe.Count(call)
			}
			return n + f.notehub.Count(postNote)
		}
		before := writes()
		w := b.checksNow()
		f.answers("the checks", w, http.StatusOK, "Stripe connection")
		for _, text := range []string{"Operator token", "Webhook delivery", "What to do:", `<p role="status">22 checks`} {
			if !strings.Contains(b.page, text) {
				f.Errorf("the page does not say %q:\n%s", text, b.page)
			}
		}
		for _, secret := range []string{testKey, testSecret, hubSecret, operatorToken} {
			if strings.Contains(b.page, secret) {
				f.Errorf("the page tells a secret:\n%s", b.page)
			}
		}
		if writes() != before {
			f.Error("the checks changed something at a vendor")
		}
		if shown := b.shows("/operator/setup", "Stripe connection", `<p role="status">22 checks`); strings.Contains(shown, "a moment ago") {
			f.Error("what was found is not shown as it is")
		}
		if list, _, err := f.ledger.Audits(f.Context(), "", 10, ""); err != nil || len(list) != 0 {
			f.Errorf("audit %+v, %v; want none, for nothing was changed", list, err)
		}
	})
}

// slowly is a run of checks that a test takes forward.
type slowly struct {
	next chan console.Finding
	runs int
}

func (s *slowly) check(ctx context.Context, found func(console.Finding)) {
	s.runs++
	for {
		select {
		case f, more := <-s.next:
			if !more {
				return
			}
			found(f)
		case <-ctx.Done():
			return
		}
	}
}

func TestTheChecksAreShownAsTheyAreMadeAndOneAtATime(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		b, checks := f.browser(), &slowly{next: make(chan console.Finding)}
		f.server.Console.Check = checks.check
		_, pipes := f.serve()
		begin := func() *reader {
			b.shows("/operator/setup")
			return pipes.press(f, "/operator/setup", b.cookie, url.Values{"once": {onceField.FindStringSubmatch(b.page)[1]}}.Encode())
		}
		page := begin()
		if text := page.hears("Run checks"); strings.Contains(text, "</ol>") {
			f.Errorf("the page is complete before anything was found: %s", text)
		}
		f.pass(app.ReadLimit + time.Second) // they may take longer than a request may to be read
		checks.next <- console.Finding{Name: "Clock", State: "failed", Detail: "it is <b>late</b>", Remedy: "wind it"}
		page.hears("Clock", "it is &lt;b&gt;late&lt;/b&gt;", "wind it")
		b.shows("/operator/setup", "in another window", "Clock", "1 check so far.")
		f.answers("a second run meanwhile", b.checksNow(), http.StatusOK, "in another window")
		close(checks.next)
		page.hears("1 check, 1 problem.", "</html>")
		f.answers("a run a moment later", b.checksNow(), http.StatusOK, "a moment ago")
		if checks.runs != 1 {
			f.Errorf("%d runs; want one", checks.runs)
		}
		f.pass(10 * time.Second)
		checks.next = make(chan console.Finding)
		page = begin()
		_ = page.conn.Close()
		synctest.Wait()
		b.shows("/operator/setup", "0 checks, then the run was interrupted.")
		f.pass(10 * time.Second)
		page = begin()
		f.server.EndStreams() // the server stops
		page.hears("</html>")
	})
}

// press sends a form on a connection of its own, and reads the answer as it comes.
func (p *pipes) press(f *front, path, cookie, form string) *reader {
	f.Helper()
	ours, theirs := net.Pipe()
	p.conns <- theirs
	r := &reader{f: f, conn: ours}
	f.Cleanup(func() { _ = ours.Close() })
	_, err := fmt.Fprintf(ours, "POST %s HTTP/1.1\r\nHost: pay.test\r\nCookie: %s\r\nSec-Fetch-Site: same-origin\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
		path, cookie, len(form), form)
	if err != nil {
		f.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(ours), nil)
	if err != nil || response.StatusCode != http.StatusOK {
		f.Fatalf("%s: %v, %v; want a page", path, response, err)
	}
	go r.follow(response.Body)
	synctest.Wait()
	return r
}
