package console_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/app"
	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/message"
	"notepay/internal/web/console"
)

func TestSetupRunsTheChecks(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, func(s *config.Settings) { s.PublicURL, s.NotehubPerMinute = "", 7 }, func(f *apptest.Front) {
		f.Settings.DatabaseURL = config.Secret(f.Path)
		f.Run()
		b := f.Browser()
		b.Shows("/operator/setup", "The checks have not run since notepay was started.")
		writes := func() (n int) {
			for _, call := range []string{
				"POST /v1/payment_links", "POST /v1/prices", "POST /v1/products", "POST /v1/webhook_endpoints",
				"POST /v1/refunds",
			} {
				n += f.Stripe.Count(call)
			}
			return n + f.Notehub.Count(fixture.PostNote)
		}
		before := writes()
		w := b.ChecksNow()
		f.Answers("the checks", w, http.StatusOK, "Stripe connection")
		for _, text := range []string{
			"Operator token", "Webhook delivery", "What to do:", `<p role="status">32 checks`,
		} {
			if !strings.Contains(b.Page, text) {
				f.Errorf("the page does not say %q:\n%s", text, b.Page)
			}
		}
		for _, secret := range []string{fixture.TestKey, fixture.TestSecret, fixture.HubSecret, apptest.OperatorToken} {
			if strings.Contains(b.Page, secret) {
				f.Errorf("the page tells a secret:\n%s", b.Page)
			}
		}
		if writes() != before {
			f.Error("the checks changed something at a vendor")
		}
		shown := b.Shows("/operator/setup", "Stripe connection", `<p role="status">32 checks`)
		if strings.Contains(shown, "a moment ago") {
			f.Error("what was found is not shown as it is")
		}
		if list, _, err := f.Ledger.Audits(f.Context(), "", 10, ""); err != nil || len(list) != 0 {
			f.Errorf("audit %+v, %v; want none, for nothing was changed", list, err)
		}
	})
}

// slowly is a run of checks that a test controls step by step.
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

func TestSetupShowsEachResultAtOnce(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		b, checks := f.Browser(), &slowly{next: make(chan console.Finding)}
		f.Server.Console.Check = checks.check
		_, pipes := f.Serve()
		begin := func() *apptest.Reader {
			b.Shows("/operator/setup")
			return pipes.Press(f, "/operator/setup", b.Cookie,
				url.Values{"once": {apptest.OnceField.FindStringSubmatch(b.Page)[1]}}.Encode())
		}
		page := begin()
		if text := page.Hears("Run checks"); strings.Contains(text, "</ol>") {
			f.Errorf("the page is complete before anything was found: %s", text)
		}
		f.Pass(app.ReadTimeout + time.Second) // longer than reading a request may take
		late, wind := message.New("it is <b>late</b>"), message.New("wind it")
		checks.next <- console.Finding{Name: "Clock", State: "failed", Detail: late, Remedy: wind}
		page.Hears("Clock", "it is &lt;b&gt;late&lt;/b&gt;", "wind it")
		b.Shows("/operator/setup", "in another window", "Clock", "1 check so far.")
		f.Answers("a second run meanwhile", b.ChecksNow(), http.StatusOK, "in another window")
		close(checks.next)
		page.Hears("1 check, 1 problem.", "</html>")
		f.Answers("a run a moment later", b.ChecksNow(), http.StatusOK, "a moment ago")
		if checks.runs != 1 {
			f.Errorf("%d runs; want one", checks.runs)
		}
		f.Pass(10 * time.Second)
		checks.next = make(chan console.Finding)
		page = begin()
		_ = page.Conn.Close()
		synctest.Wait()
		b.Shows("/operator/setup", "0 checks, then the run was interrupted.")
		f.Pass(10 * time.Second)
		page = begin()
		f.Server.EndStreams() // the server stops
		page.Hears("</html>")
	})
}
