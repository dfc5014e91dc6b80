package customer_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

func TestEventsFollowThePayment(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, func(s *config.Settings) { s.ConfirmWithin = 2 * time.Minute }, func(f *apptest.Front) {
		_, listener := f.Serve()
		f.Run()
		f.Notehub.Always(fixture.PostNote, sandbox.Outcome{Status: 503})
		session := f.Buy(sandbox.PayOptions{})
		page := f.LivePage(session)
		token := strings.TrimPrefix(page, "/session/")
		english := listener.Read(f, page+"/events")
		german := listener.Read(f, page+"/events", "Accept-Language", "de-AT")
		english.Hears("retry: 2000\n", "event: page\n", "<h1>Payment received</h1>")
		german.Hears("<h1>Zahlung erhalten</h1>", "3,50")
		chosen := listener.Read(f, page+"/events", "Accept-Language", "de", "Cookie", "notepay_language=pl")
		chosen.Hears("<h1>Otrzymaliśmy płatność</h1>")

		f.Notehub.Clear(fixture.PostNote)
		for range 60 { // until notepay posts the note again
			if len(f.Notehub.Notes(fixture.Washer)) > 0 {
				break
			}
			f.Pass(time.Second)
		}
		f.Idle() // the note may be there before its outcome is in the ledger
		english.Hears("<h1>Waiting for the machine</h1>")
		german.Hears("<h1>Warten auf die Maschine</h1>")

		confirmed := payment.Confirmation{
			EventID:   "1",
			DeviceUID: fixture.Washer,
			CreditID:  creditOf(session),
			State:     "started",
			At:        time.Now(),
		}
		if err := f.Server.Bridge.Confirm(f.Context(), confirmed); err != nil {
			f.Fatal(err)
		}
		text := english.Hears("<h1>The machine has started</h1>")
		if now := german.Hears("<h1>Die Maschine ist gestartet</h1>"); strings.Count(now, "event: page") != 1 {
			f.Errorf("one change is told as %q", now)
		}
		_, id, _ := strings.Cut(text, "id: ")
		id, _, _ = strings.Cut(id, "\n")

		again := listener.Read(f, page+"/events", "Last-Event-ID", id)
		if text := again.Hears("retry: 2000\n"); strings.Contains(text, "event: page") {
			f.Errorf("a reader that reconnects receives the page that it has: %q", text)
		}
		f.Pass(2 * time.Minute) // longer than reading a request may take
		if text, ended := again.Heard(); ended || strings.Count(text, "event: beat\ndata: 9466") < 7 ||
			strings.Contains(text, "event: page") {
			f.Errorf("in two quiet minutes the stream ended (%v) or sends %q; want heartbeats", ended, text)
		}
		if strings.Contains(f.Logs.String(), token) || strings.Contains(f.Get("/metrics").Body.String(), token) {
			f.Errorf("the log or the metrics tell the page's token")
		}
	})
}

func TestEventsTellThatTheMachineFetchedTheNote(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		_, listener := f.Serve()
		f.Run()
		page := f.LivePage(f.Buy(sandbox.PayOptions{}))
		f.Pass(time.Second)
		r := listener.Read(f, page+"/events")
		r.Hears("<h1>Waiting for the machine</h1>")
		f.Pass(time.Minute)
		if text, _ := r.Heard(); strings.Contains(text, "got") {
			f.Errorf("while the note is pending the page is told %q; want no event", text)
		}
		f.Notehub.Fetch(fixture.Washer, "payment.qi")
		f.Pass(30 * time.Second)
		r.Hears("<h1>The machine got your payment</h1>", "The machine got it")
	})
}

func creditOf(s sandbox.Session) string { return payment.CreditID(s.ID) }

func TestEventsMoveCountdowns(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, func(s *config.Settings) { s.ConfirmWithin = 2 * time.Minute }, func(f *apptest.Front) {
		f.Stripe.SetPrice(fixture.Warm,
			func(p *sandbox.Price) { p.Metadata = map[string]string{"duration": "30m", "delayed_start": "5m"} })
		_, listener := f.Serve()
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		r := listener.Read(f, f.LivePage(session)+"/events")
		confirmed := payment.Confirmation{
			EventID:   "1",
			DeviceUID: fixture.Washer,
			CreditID:  creditOf(session),
			State:     "started",
			At:        time.Now(),
		}
		if err := f.Server.Bridge.Confirm(f.Context(), confirmed); err != nil {
			f.Fatal(err)
		}
		r.Hears("<h1>The machine starts soon</h1>", `starts in <strong class="count">about 5 minutes<`)
		f.Pass(4 * time.Minute)
		r.Hears(`class="count">about 4 minutes<`, `class="count">about a minute<`)
		f.Pass(2 * time.Minute)
		r.Hears(`Time left: <strong class="count">about 30 minutes<`)
		f.Pass(30 * time.Minute)
		r.Hears(`class="count">about a minute<`, "<h1>Finished</h1>")
	})
}

func TestEventsDropASlowReader(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		_, listener := f.Serve()
		session := f.Order(sandbox.PayOptions{})
		page := f.LivePage(session)
		slow, stalled := listener.Ask(f, page+"/events"), listener.Ask(f, page+"/events")
		if _, err := http.ReadResponse(bufio.NewReader(stalled), nil); err != nil { // reads the header and then nothing
			f.Fatal(err)
		}
		quick := listener.Read(f, page+"/events")
		quick.Hears("<h1>Payment received</h1>")
		f.Run()
		quick.Hears("<h1>Waiting for the machine</h1>")
		f.Pass(6 * time.Second)
		for _, conn := range []net.Conn{slow, stalled} {
			if rest, err := io.ReadAll(conn); err != nil || len(rest) > 0 {
				f.Errorf("a reader who takes nothing got %q, %v; want to be dropped", rest, err)
			}
		}
		if _, ended := quick.Heard(); ended {
			f.Errorf("the other reader was dropped with it")
		}
	})
}

func TestEventsAreLimitedPerPayment(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		_, listener := f.Serve()
		page := f.LivePage(f.Order(sandbox.PayOptions{}))
		var open []*apptest.Reader
		for range 8 {
			open = append(open, listener.Read(f, page+"/events"))
		}
		w := f.Get(page + "/events")
		f.Answers("a ninth", w, http.StatusTooManyRequests, "Open on too many screens")
		if w.Header().Get("Retry-After") != "60" {
			f.Errorf("Retry-After %q; want a minute", w.Header().Get("Retry-After"))
		}
		_ = open[0].Conn.Close()
		f.Pass(time.Second)
		listener.Read(f, page+"/events").Hears("<h1>Payment received</h1>")
		f.Answers("another's", f.Get("/session/"+strings.Repeat("0", 32)+"/events"), http.StatusNotFound,
			"Payment not found")
	})
}

func TestShutdownDoesNotWaitForStreams(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		server, listener := f.Serve()
		page := f.LivePage(f.Order(sandbox.PayOptions{}))
		r := listener.Read(f, page+"/events")
		began := time.Now()
		ctx, cancel := context.WithTimeout(f.Context(), 5*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil || time.Since(began) > time.Second {
			f.Errorf("the end took %v, %v; want it at once", time.Since(began), err)
		}
		if _, ended := r.Heard(); !ended {
			f.Errorf("the stream goes on after the end")
		}
	})
}

func TestServiceStopsWithOpenStreams(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	s := w.Start()
	session := w.Pay(s.Selling(fixture.Washer), sandbox.PayOptions{})
	s.Payment(session.ID, "sent", apptest.Has(`"machine":"sent"`))
	_, header, _ := s.Get("/payment/success?session_id=" + session.ID)
	response, err := apptest.NoRedirects.Get(s.Url + header.Get("Location") + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	// the server would wait for a connection that was opened and never used
	apptest.NoRedirects.CloseIdleConnections()
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(response.Body); err != nil {
		t.Errorf("the stream was cut: %v; want an orderly end", err)
	}
	if strings.Contains(s.Logs.String(), "requests cut off") {
		t.Errorf("the end waited for an open page:\n%s", s.Logs)
	}
}

func TestEventsWithoutDetach(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		events := f.LivePage(f.Order(sandbox.PayOptions{})) + "/events"
		w := f.Do(http.MethodHead, events, "")
		if w.Code != http.StatusOK || w.Body.Len() > 0 || w.Header().Get("Content-Type") != "text/event-stream" {
			f.Errorf("HEAD: %d %v %s; want the head of a stream", w.Code, w.Header(), w.Body)
		}
		ctx, leave := context.WithCancel(f.Context())
		stream := httptest.NewRecorder() // like HTTP/2, it cannot give its connection away
		var served sync.WaitGroup
		served.Go(func() {
			f.Handler.ServeHTTP(stream, httptest.NewRequest(http.MethodGet, events, nil).WithContext(ctx))
		})
		f.Run()
		leave()
		served.Wait()
		for _, title := range []string{"<h1>Payment received</h1>", "<h1>Waiting for the machine</h1>"} {
			f.Answers("the stream", stream, http.StatusOK, title)
		}
	})
}
