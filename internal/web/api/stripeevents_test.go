package api_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

func TestStripeEvents(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		first, second := f.Buy(sandbox.PayOptions{}), f.Buy(sandbox.PayOptions{})
		f.Notehub.Fetch(fixture.Washer, "payment.qi")
		f.Pass(11 * time.Minute)
		f.Answers("refund",
			f.Do("POST", "/api/payments/"+first.ID+"/refund", "", "Authorization", "Bearer "+apptest.OperatorToken),
			200, "")
		f.Pass(time.Second)
		want := func(query string, want ...string) {
			f.Helper()
			if got, _ := f.EventsListed(query); !slices.Equal(got, want) {
				f.Errorf("%s: %q; want %q", query, got, want)
			}
		}
		one := []string{"charge.refunded", "checkout.session.completed", "payment_intent.succeeded", "refund.created"}
		for _, id := range []string{first.ID, first.PaymentIntent, payment.CreditID(first.ID)} {
			want("id="+id, one...)
		}
		want("id="+second.ID, "checkout.session.completed", "payment_intent.succeeded")
		want("id="+first.ID+"&type=charge.refunded", "charge.refunded")
		want("type=checkout.session.completed", "checkout.session.completed", "checkout.session.completed")
		want("id=evt_none")
		want("type=none")
		f.Answers("a cursor that was not given", f.AsOperator("/api/stripe-events?cursor=x"), http.StatusBadRequest,
			"bad_cursor")
		f.Answers("without the token", f.Get("/api/stripe-events"), http.StatusUnauthorized, "unauthorized")
		f.Answers("the stream without the token", f.Get("/api/events"), http.StatusUnauthorized, "unauthorized")
	})
}

func TestEventStreamContinuesWhereItWasCut(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		f.Buy(sandbox.PayOptions{}) // before a stream is open
		f.Pass(5 * time.Second)
		all, sessions := f.ListenToEvents(""), f.ListenToEvents("type=checkout.session.completed")
		bought := f.Buy(sandbox.PayOptions{})
		f.Pass(5 * time.Second)
		of := f.ListenToEvents("id="+bought.ID, "Last-Event-ID", "evt_none")
		if len(all.Ids()) != 2 || len(sessions.Ids()) != 1 || len(of.Ids()) != 0 {
			f.Fatalf("all %q, sessions %q, of the payment %q; want what came since each began to listen", all.Ids(),
				sessions.Ids(), of.Ids())
		}
		all.Leave()
		<-all.Done
		last := all.Ids()[0]
		f.Buy(sandbox.PayOptions{})
		f.Pass(5 * time.Second)
		again := f.ListenToEvents("", "Last-Event-ID", last)
		f.Pass(5 * time.Second)
		if got := again.Ids(); len(got) != 3 || got[0] != all.Ids()[1] || slices.Contains(got, last) {
			f.Errorf("after %s: %q; want the three that came behind it", last, got)
		}
		if got := sessions.Ids(); len(got) != 2 {
			f.Errorf("sessions %q; want both", got)
		}
		if again.Sent.Get("Content-Type") != "text/event-stream" {
			f.Errorf("headers %v; want a stream", again.Sent)
		}
		f.Pass(time.Minute)
		again.Mu.Lock()
		if !strings.Contains(again.Text.String(), "\n:\n") {
			f.Errorf("%q; want a sign of life while nothing comes", again.Text.String())
		}
		again.Mu.Unlock()
		f.Server.EndStreams()
		synctest.Wait()
		for _, s := range []*apptest.EventStream{sessions, of, again} {
			select {
			case <-s.Done:
			default:
				f.Errorf("a stream outlives the service")
			}
		}
	})
}

// An event whose transaction waited for its turn to write has an earlier time than one that a stream
// has sent.
func TestEventStreamSendsALateEvent(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		store := func(id string, waited time.Duration) {
			f.Helper()
			err := f.Ledger.Update(f.Context(), func(tx *ledger.Tx) error {
				_, err := tx.AddEvent(ledger.StripeEvent{
					ID: id, Type: "charge.refunded", Created: tx.Now, Received: tx.Now.Add(-waited), Outcome: "ignored",
				})
				return err
			})
			if err != nil {
				f.Fatal(err)
			}
			f.Pass(3 * time.Second)
		}
		store("evt_before", 0)
		all := f.ListenToEvents("")
		f.Pass(time.Second)
		store("evt_2", 0)
		store("evt_1", 4*time.Second)
		if got := all.Ids(); !slices.Equal(got, []string{"evt_2", "evt_1"}) {
			f.Errorf("got %q; want both events", got)
		}
	})
}

func TestEventStreamRefusesTooMany(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		var open []*apptest.EventStream
		for range 16 {
			open = append(open, f.ListenToEvents(""))
		}
		f.Answers("one too many", f.AsOperator("/api/events"), http.StatusTooManyRequests, "too_many_streams")
		open[0].Leave()
		<-open[0].Done
		open[0] = f.ListenToEvents("")
		f.Pass(time.Second)
		for _, s := range open {
			s.Leave()
			<-s.Done
		}
	})
}
