package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// spoken returns each line as one text, oldest first.
func spoken(d *Demo) (texts []string) {
	lines, _ := d.wire.after(0)
	for _, l := range lines {
		texts = append(texts, strings.TrimSpace(l.From+" > "+l.To+": "+l.Text+" "+l.Outcome()))
	}
	return texts
}

func TestWireShowsAPurchase(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.press("notehub-lost", true)
		w.buy(w.demo.machines[0])
		w.demo.step()
		got := spoken(w.demo)
		for _, want := range []string{
			"phone > notepay: scans the sticker of Washer 3 307",
			"phone > Stripe: opens the checkout of Washer 3 200",
			"phone > Stripe: presses Pay 200",
			"Stripe > notepay: sends the webhook checkout.session.completed 200",
			"Stripe > notepay: sends the webhook payment_intent.succeeded 200",
			"notepay > Notehub: gets an access token 200",
			"notepay > Notehub: leaves a note for Washer 3 no reply",
			"Notehub > machine: the Notecard of Washer 3 fetches the note",
			"machine > : Washer 3 starts",
		} {
			if !slices.Contains(got, want) {
				t.Errorf("no line says %q", want)
			}
		}
		if t.Failed() {
			t.Log(strings.Join(got, "\n"))
		}
	})
}

func TestPageRedactsSecrets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.buy(w.demo.machines[0])
		r, err := http.NewRequest(http.MethodGet, bridgeURL+"/session/SECRETTOKEN", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer SECRETBEARER")
		answer, err := w.client.Do(r)
		w.read(answer, err)
		_, page, _ := w.get(pageURL + "/")
		for _, never := range []string{
			w.settings["NOTEHUB_CLIENT_SECRET"], w.settings["STRIPE_SECRET_KEY"], w.settings["STRIPE_WEBHOOK_SECRET"],
			"SECRET", "v1=", "4242+4242",
		} {
			if strings.Contains(page, never) {
				t.Errorf("the page shows %s", never)
			}
		}
		for _, want := range []string{
			"client_secret = [redacted]", "&#34;access_token&#34;:&#34;[redacted]&#34;", "card = [redacted]",
			"Authorization: [redacted]",
			"Stripe-Signature: [redacted]", "/session/[redacted]",
		} {
			if !strings.Contains(strings.ReplaceAll(page, "&#34;: &#34;", "&#34;:&#34;"), want) {
				t.Errorf("the page does not show %s", want)
			}
		}
	})
}

func TestPageRedactsATruncatedSecret(t *testing.T) {
	t.Parallel()
	got := readable(http.Header{"Content-Type": {"application/json"}}, `{"access_token":"SECR`)
	if want := `{"access_token":"[redacted]`; got != want {
		t.Errorf("readable = %s; want %s", got, want)
	}
}

func TestWireIsBounded(t *testing.T) {
	t.Parallel()
	d := New(Config{})
	d.wire.add(line{Text: "loud"})
	for range 3 * maxLines {
		d.wire.add(line{Text: "quiet", Quiet: true})
	}
	lines, sequence := d.wire.after(0)
	if len(lines) != maxLines || lines[0].Text != "loud" || sequence != 3*maxLines+1 {
		t.Errorf("%d lines from %q, sequence %d; want %d, the loud one still there", len(lines),
			lines[0].Text, sequence, maxLines)
	}
	for range maxLines {
		d.wire.add(line{Text: "new"})
	}
	if lines, _ := d.wire.after(sequence); len(lines) != maxLines || lines[0].Text != "new" {
		t.Errorf("%d lines from %q; want only new ones", len(lines), lines[0].Text)
	}
}

func TestWatchPassesEverythingThrough(t *testing.T) {
	t.Parallel()
	d := New(Config{})
	t.Run("what is flushed arrives before the handler ends", func(t *testing.T) {
		t.Parallel()
		read := make(chan struct{})
		server := httptest.NewServer(d.Watch(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "first\n")
			w.(http.Flusher).Flush()
			<-read
			_, _ = io.WriteString(w, "second\n")
			_ = http.NewResponseController(w).Flush()
		})))
		defer server.Close()
		answer, err := server.Client().Get(server.URL + "/session/x/events")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		lines := bufio.NewScanner(answer.Body)
		lines.Scan()
		close(read)
		got := lines.Text()
		lines.Scan()
		if got != "first" || lines.Text() != "second" {
			t.Errorf("read %q, %q; want first, second", got, lines.Text())
		}
	})
	t.Run("a cut connection stays cut", func(t *testing.T) {
		t.Parallel()
		cut := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		server := httptest.NewServer(d.Watch(cut))
		defer server.Close()
		if answer, err := server.Client().Get(server.URL + "/health"); err == nil {
			t.Errorf("GET = %s; want an error", answer.Status)
			_ = answer.Body.Close()
		}
		if got := spoken(d); !slices.Contains(got, "operator > notepay: checks the health no reply") {
			t.Errorf("the wire says %q", got)
		}
	})
	t.Run("bodies arrive whole", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewServer(d.Watch(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			_, _ = w.Write(body)
		})))
		defer server.Close()
		sent := strings.Repeat("x", 5*maxBody)
		answer, err := server.Client().Post(server.URL+"/webhook/stripe", "application/json", strings.NewReader(sent))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		if got, err := io.ReadAll(answer.Body); string(got) != sent {
			t.Errorf("%d bytes came back, %v; want %d", len(got), err, len(sent))
		}
	})
}

// eventStream reads the live view.
type eventStream struct {
	t    *testing.T
	body io.Closer
	*bufio.Scanner
}

func openStream(t *testing.T, url, lastEventID string) *eventStream {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastEventID != "" {
		r.Header.Set("Last-Event-ID", lastEventID)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	if got := answer.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatalf("Content-Type = %s; want text/event-stream", got)
	}
	return &eventStream{t, answer.Body, bufio.NewScanner(answer.Body)}
}

// until reads events until one contains the text, and returns everything read.
func (s *eventStream) until(text string) (read string) {
	s.t.Helper()
	found := false
	for s.Scan() {
		read += s.Text() + "\n"
		if found = found || strings.Contains(s.Text(), text); found && s.Text() == "" {
			return read
		}
	}
	s.t.Fatalf("the stream ended without %q: %v", text, s.Err())
	return ""
}

func TestStream(t *testing.T) {
	t.Parallel()
	d := New(Config{})
	server := httptest.NewServer(d.Handler())
	defer server.Close()
	d.wire.add(line{Text: "the first line"})
	d.wire.add(line{Text: "the second line"})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- d.Run(ctx) }()

	live := openStream(t, server.URL+"/demo/events?after=1", "")
	opening := live.until(d.stream.run)
	for _, want := range []string{`id="strip"`, `id="banner"`, `id="switches"`, `id="state-washer"`,
		`id="notes-vending"`, "the second line"} {
		if !strings.Contains(opening, want) {
			t.Errorf("the stream does not begin with %s", want)
		}
	}
	if strings.Contains(opening, "the first line") {
		t.Error("the stream repeats what the page has")
	}
	answer, err := server.Client().
		PostForm(server.URL+"/demo/fault", map[string][]string{"fault": {"notehub-down"}, "on": {"true"}})
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	live.until("Trouble is on:")
	d.wire.add(line{Text: "the third line"})
	if got := live.until("the third line"); !strings.Contains(got, "event: line") || !strings.Contains(got, "id: 3") {
		t.Errorf("a line arrives as %s", got)
	}
	again := openStream(t, server.URL+"/demo/events?after=0", "2").until(d.stream.run)
	if strings.Contains(again, "the second line") || !strings.Contains(again, "the third line") {
		t.Error("a browser that reconnects does not get exactly what it missed")
	}

	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v; want nil", err)
	}
	for live.Scan() {
	}
	if err := live.Err(); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the stream ended with %v; want an orderly end", err)
	}
	if err := server.Config.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown = %v; want nil: no stream is left", err)
	}
}

func TestASlowReaderIsDropped(t *testing.T) {
	t.Parallel()
	d := New(Config{})
	slow, quick := d.stream.subscribe(), d.stream.subscribe()
	for i := range readerBuffer + 1 {
		d.wire.add(line{Text: fmt.Sprint("line ", i)})
		<-quick
	}
	read := 0
	for range slow {
		read++
	}
	if read != readerBuffer {
		t.Errorf("the slow reader got %d messages and an end; want %d", read, readerBuffer)
	}
	d.wire.add(line{Text: "another"})
	if got := string(<-quick); !strings.Contains(got, "another") {
		t.Errorf("the quick reader got %s; want another line", got)
	}
	d.stream.leave(quick)
	if d.stream.watched() {
		t.Error("a reader remains")
	}
}

func TestSentences(t *testing.T) {
	t.Parallel()
	d := New(Config{})
	bridge, account, hub := toNotepay(), toStripe(), toNotehub()
	device := "/v1/projects/" + project + "/devices/" + d.machines[1].uid
	for _, test := range []struct {
		mux          *http.ServeMux
		method, path string
		want         string
	}{
		{bridge, "GET", "/pay/" + d.machines[2].uid, "phone > notepay: scans the sticker of Charger A"},
		{bridge, "GET", "/pay?device=dev%3A864475040000034", "phone > notepay: scans the sticker of Snack machine"},
		{bridge, "GET", "/pay?device=dev:1", "phone > notepay: scans the sticker of a machine"},
		{bridge, "POST", "/api/webhook", "Stripe > notepay: sends the webhook"},
		{bridge, "GET", "/health", "operator > notepay: checks the health (quiet)"},
		{bridge, "POST", "/api/payments/cr_1/refund", "operator > notepay: changes a payment"},
		{bridge, "GET", "/style.css", "phone > notepay: asks for a page or a file (quiet)"},
		{account, "POST", "/v1/refunds", "notepay > Stripe: refunds the money"},
		{account, "GET", "/v1/events?limit=100", "notepay > Stripe: reads events that did not arrive (quiet)"},
		{hub, "POST", "/oauth2/token", "notepay > Notehub: gets an access token (quiet)"},
		{hub, "GET", "/v1/projects/" + project + "/devices?pageSize=500",
			"notepay > Notehub: lists the machines (quiet)"},
		{hub, "POST", device + "/notes/payment.qi", "notepay > Notehub: leaves a note for Locker 12"},
		{hub, "GET", device + "/notes/payment.qi",
			"notepay > Notehub: checks whether the note for Locker 12 is waiting"},
		{hub, "GET", "/v1/projects/" + project + "/events-cursor?limit=100",
			"notepay > Notehub: reads the machines' answers (quiet)"},
		{account, "POST", "/v1/payment_intents/pi_1/capture", "notepay > Stripe: charges the held money"},
		{account, "POST", "/v1/payment_intents/pi_1/cancel", "notepay > Stripe: releases the hold"},
		{account, "GET", "/v1/refunds?payment_intent=pi_1", "notepay > Stripe: checks the refund"},
		{bridge, "POST", "/webhook/notehub", "Notehub > notepay: passes on the answer of a machine"},
		{hub, "DELETE", device + "/notes/payment.qi/1:257", "notepay > Notehub: recalls the note for Locker 12"},
	} {
		r := httptest.NewRequest(test.method, test.path, nil)
		s := sentenceFor(test.mux, r)
		got := s.from + " > " + s.to + ": " + d.words(s.text, r.URL.RequestURI(), "")
		if s.quiet {
			got += " (quiet)"
		}
		if got != test.want {
			t.Errorf("%s %s = %q; want %q", test.method, test.path, got, test.want)
		}
	}
}
