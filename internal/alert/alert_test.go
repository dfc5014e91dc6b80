package alert_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/alert"
	"notepay/internal/ledger"
	"notepay/internal/ledger/ledgertest"
	"notepay/internal/notify"
	"notepay/internal/problem"
	"notepay/internal/sandbox"
)

const secretTopic = "laundry-k8x2vq7m4t"

// house is an alerter over a real ledger, with an ntfy server, in fake time.
type house struct {
	*testing.T
	ntfy     *sandbox.Ntfy
	problems problem.Board
	logs     logs
	db       *book
	urls     string
	digestAt func(time.Time) time.Time

	alerter *alert.Alerter
	stop    func()

	mu    sync.Mutex
	items map[string]alert.Item
	blind bool // the ledger cannot be read
}

// book is a ledger that may fail to store alerts, and may not lead.
type book struct {
	*ledger.Ledger
	mu            sync.Mutex
	fails, follow bool
}

func (b *book) set(fails, follow bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fails, b.follow = fails, follow
}

func (b *book) Leads() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.follow
}

func (b *book) SaveAlertState(ctx context.Context, s ledger.AlertState) error {
	b.mu.Lock()
	fails := b.fails
	b.mu.Unlock()
	if fails {
		return errors.New("disk full")
	}
	return b.Ledger.SaveAlertState(ctx, s)
}

type logs struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// inHouse runs a test in fake time. The alerter runs already.
func inHouse(t *testing.T, test func(*house)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, err := ledger.Open(t.Context(), ledgertest.Fresh(t))
		if err != nil {
			t.Fatal(err)
		}
		h := &house{
			T:        t,
			ntfy:     sandbox.NewNtfy(t),
			db:       &book{Ledger: l},
			urls:     "ntfy://ntfy.test/" + secretTopic,
			digestAt: func(time.Time) time.Time { return time.Time{} },
			items:    map[string]alert.Item{},
		}
		t.Cleanup(func() {
			h.stop()
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
		h.start()
		test(h)
		h.stop()
		if text := h.logs.b.String(); strings.Contains(text, secretTopic) {
			t.Errorf("the log tells the topic:\n%s", text)
		}
	})
}

// partly is a transport on which the host hang.test never answers.
type partly struct{ next http.RoundTripper }

func (p partly) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != "hang.test" {
		return p.next.RoundTrip(r)
	}
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func (h *house) start() {
	targets, wrong := notify.Parse(h.urls, nil)
	if len(wrong) > 0 {
		h.Fatal(wrong)
	}
	h.alerter = alert.New(alert.Config{
		Targets:  targets,
		Sender:   notify.NewSender(partly{sandbox.InProcess(h.ntfy)}),
		Ledger:   h.db,
		Name:     "Till",
		Link:     "https://pay.example.com",
		Problems: &h.problems,
		Log:      slog.New(slog.NewTextHandler(&h.logs, nil)),
		Look:     h.look,
		Digest: func(_ context.Context, from, to time.Time) (string, error) {
			return fmt.Sprint("the ", to.Sub(from), " before ", to.UTC().Format(time.DateTime)), nil
		},
		DigestAt: func(now time.Time) time.Time { return h.digestAt(now) },
	})
	ctx, cancel := context.WithCancel(h.Context())
	ended := make(chan struct{})
	go func() { h.alerter.Run(ctx); close(ended) }()
	h.stop = sync.OnceFunc(func() { cancel(); <-ended })
	synctest.Wait()
}

func (h *house) restart() {
	h.stop()
	h.start()
}

func (h *house) look(context.Context) (items []alert.Item, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, i := range h.items {
		if h.blind && i.Kind != alert.Storage {
			err = errors.New("database gone")
			continue
		}
		items = append(items, i)
	}
	return items, err
}

// wrong makes n things of a kind be wrong.
func (h *house) wrong(kind alert.Kind, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key := range h.items {
		if h.items[key].Kind == kind {
			delete(h.items, key)
		}
	}
	for i := range n {
		key := fmt.Sprintf("%s-%d", kind, i)
		h.items[key] = alert.Item{Kind: kind, Key: key, Text: "Item " + key, Page: "/operator/payments/" + key}
	}
}

// pass lets time pass.
func (h *house) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// got checks the titles of all messages so far.
func (h *house) got(want ...string) {
	h.Helper()
	var titles []string
	for _, m := range h.ntfy.Messages() {
		titles = append(titles, strings.TrimPrefix(m.Title, "Till: "))
	}
	if fmt.Sprintf("%q", titles) != fmt.Sprintf("%q", want) {
		h.Fatalf("messages %q; want %q", titles, want)
	}
}

// Payments in trouble make a handful of messages, however many they are.
func TestManyPayments(t *testing.T) {
	inHouse(t, func(h *house) {
		h.wrong(alert.Payments, 1)
		h.pass(30 * time.Second)
		h.got("1 payment needs attention")
		if m := h.ntfy.Messages()[0]; m.Click != "https://pay.example.com/operator/payments/payments-0" ||
			m.Message != "Item payments-0" || m.Priority != 4 {
			h.Errorf("%+v; want the payment and a link to it", m)
		}
		for n := range 1000 {
			h.wrong(alert.Payments, n+1)
			h.pass(time.Second)
		}
		h.pass(10 * time.Minute)
		messages := h.ntfy.Messages()
		if n := len(messages); n < 2 || n > 4 {
			h.Fatalf("%d messages for 1000 payments; want a handful", n)
		}
		last := messages[len(messages)-1]
		if !strings.Contains(last.Title, "1000 payments need attention") || !strings.Contains(last.Message, "\nAnd ") ||
			!strings.Contains(last.Message, "Still open from before: ") ||
			last.Click != "https://pay.example.com/operator/payments?state=attention" {
			h.Errorf("%+v; want the number of all, and a link to them", last)
		}
		h.wrong(alert.Payments, 0)
		h.pass(11 * time.Minute)
		messages = h.ntfy.Messages()
		if last = messages[len(messages)-1]; last.Title != "Till: Resolved: no payment needs attention" ||
			last.Priority != 3 {
			h.Errorf("%+v; want it resolved", last)
		}
		n := len(messages)
		h.pass(24 * time.Hour)
		if len(h.ntfy.Messages()) != n {
			h.Error("messages about nothing")
		}
	})
}

// A kind that comes and goes makes at most one message in ten minutes.
func TestFlapping(t *testing.T) {
	inHouse(t, func(h *house) {
		for n := range 90 {
			h.wrong(alert.Machines, n%2)
			h.pass(40 * time.Second)
		}
		if n := len(h.ntfy.Messages()); n > 7 {
			h.Errorf("%d messages in an hour; want at most 7", n)
		}
	})
}

// What comes again after it was over is reported again, also while others are open.
func TestComesAgain(t *testing.T) {
	inHouse(t, func(h *house) {
		h.wrong(alert.Machines, 2)
		h.pass(time.Minute)
		h.wrong(alert.Machines, 1)
		h.pass(time.Hour)
		h.got("2 machines are paused or out of order")
		h.wrong(alert.Machines, 2)
		h.pass(time.Minute)
		h.got("2 machines are paused or out of order", "2 machines are paused or out of order")
	})
}

func TestRestart(t *testing.T) {
	inHouse(t, func(h *house) {
		h.wrong(alert.Refunds, 2)
		h.wrong(alert.Vendors, 1)
		h.pass(5 * time.Minute)
		want := []string{"2 refunds failed", "Trouble with Stripe or Notehub"}
		h.got(want...)
		for range 20 { // a crash loop, in which the problem is found again after a while
			h.wrong(alert.Vendors, 0)
			h.restart()
			h.pass(time.Minute)
			h.wrong(alert.Vendors, 1)
			h.pass(time.Minute)
		}
		h.got(want...)
		h.stop()
		h.wrong(alert.Refunds, 0) // while it was not running
		h.start()
		h.pass(15 * time.Second)
		h.got(append(want, "Resolved: no failed refund is open")...)
	})
}

// A message that was sent and not stored is repeated once, with the same id.
func TestCrashBetweenSendingAndStoring(t *testing.T) {
	inHouse(t, func(h *house) {
		h.db.set(true, false)
		h.wrong(alert.Reports, 1)
		h.pass(time.Hour)
		h.got("A customer reports a problem")
		h.restart()
		h.db.set(false, false)
		h.pass(time.Hour)
		h.got("A customer reports a problem", "A customer reports a problem")
		h.restart()
		h.pass(time.Hour)
		h.got("A customer reports a problem", "A customer reports a problem")
	})
}

// What arrived during the stop is not repeated by the next start.
func TestStopStoresWhatArrived(t *testing.T) {
	inHouse(t, func(h *house) {
		h.wrong(alert.Reports, 1)
		h.pass(30 * time.Second)
		h.restart()
		h.pass(time.Hour)
		h.got("A customer reports a problem")
	})
}

// A recipient that is down for an hour then gets the present state, and not what happened meanwhile.
func TestRecipientDownAndUp(t *testing.T) {
	inHouse(t, func(h *house) {
		h.ntfy.Fail(http.StatusServiceUnavailable)
		h.wrong(alert.Payments, 1)
		h.wrong(alert.Machines, 1)
		h.pass(time.Hour)
		h.got()
		if n := h.ntfy.Tries(); n < 4 || n > 10 {
			h.Errorf("%d attempts in an hour; want a few", n)
		}
		if s := h.alerter.Status()[0]; s.Err == "" || s.Failed.IsZero() || strings.Contains(s.Err, secretTopic) {
			h.Errorf("%+v; want the failure without the topic", s)
		}
		list := h.problems.List()
		if len(list) != 1 || list[0].Code != problem.Alerts || strings.Contains(list[0].Text.String(), "ntfy.test") {
			h.Errorf("problems %+v; want that alerts cannot be sent, without the address", list)
		}
		h.wrong(alert.Machines, 0)
		h.wrong(alert.Payments, 3)
		h.ntfy.Fail(0)
		h.pass(time.Hour)
		h.got("3 payments need attention")
		if s := h.alerter.Status()[0]; s.Err != "" || s.Sent.IsZero() || len(h.problems.List()) > 0 {
			h.Errorf("%+v, %v; want it working", s, h.problems.List())
		}
	})
}

// A recipient that never answers holds up neither the others nor the end of the process.
func TestHangingRecipient(t *testing.T) {
	inHouse(t, func(h *house) {
		h.urls = "ntfy://hang.test/topic " + h.urls
		h.restart()
		h.wrong(alert.Payments, 1)
		h.pass(30 * time.Second)
		h.got("1 payment needs attention")
		h.pass(time.Hour)
		if s := h.alerter.Status(); s[0].Err == "" || s[1].Err != "" {
			h.Errorf("%+v; want the failure of the first one", s)
		}
		h.wrong(alert.Payments, 2)
		for h.alerter.Status()[0].Failed.Before(time.Now().Add(-time.Minute)) {
			h.pass(time.Second)
		}
		began := time.Now()
		h.stop()
		if took := time.Since(began); took > time.Second {
			h.Errorf("the end took %v", took)
		}
	})
}

// A problem that passes is not reported, and one that flickers is reported once.
func TestProblemsMustLast(t *testing.T) {
	inHouse(t, func(h *house) {
		h.wrong(alert.Vendors, 1)
		h.pass(time.Minute)
		h.wrong(alert.Vendors, 0)
		h.pass(time.Hour)
		h.got()
		h.wrong(alert.Vendors, 1)
		h.pass(3 * time.Minute)
		h.got("Trouble with Stripe or Notehub")
		for range 30 {
			h.wrong(alert.Vendors, 0)
			h.pass(2 * time.Minute)
			h.wrong(alert.Vendors, 1)
			h.pass(2 * time.Minute)
		}
		h.got("Trouble with Stripe or Notehub")
		h.wrong(alert.Vendors, 0)
		h.pass(6 * time.Minute)
		h.got("Trouble with Stripe or Notehub", "Resolved: Stripe and Notehub work again")
	})
}

// While the ledger cannot be read, what it held is not over.
func TestLedgerUnreadable(t *testing.T) {
	inHouse(t, func(h *house) {
		h.wrong(alert.Payments, 2)
		h.pass(time.Minute)
		h.mu.Lock()
		h.blind = true
		h.mu.Unlock()
		h.wrong(alert.Storage, 1)
		h.pass(time.Hour)
		h.got("2 payments need attention", "Trouble with the ledger or its disk")
	})
}

// Only the leader sends. If none can lead, the one that led tells that the ledger is gone.
func TestOnlyTheLeaderSends(t *testing.T) {
	inHouse(t, func(h *house) {
		h.db.set(false, true)
		h.restart() // it has never led
		h.wrong(alert.Payments, 1)
		h.wrong(alert.Storage, 1)
		h.pass(time.Hour)
		h.got()
		h.wrong(alert.Storage, 0)
		h.db.set(false, false)
		h.pass(time.Minute)
		h.got("1 payment needs attention")
		h.db.set(false, true)
		h.wrong(alert.Payments, 2)
		h.wrong(alert.Storage, 1)
		h.pass(time.Hour)
		h.got("1 payment needs attention", "Trouble with the ledger or its disk")
		h.wrong(alert.Storage, 0)
		h.pass(time.Hour)
		h.wrong(alert.Storage, 1) // another one leads since
		h.pass(time.Hour)
		h.got("1 payment needs attention", "Trouble with the ledger or its disk",
			"Resolved: the ledger and its disk work again")
	})
}

// The digest comes once a day, also if the process was not running at its hour.
func TestDigest(t *testing.T) {
	inHouse(t, func(h *house) {
		h.digestAt = func(now time.Time) time.Time { return now.UTC().Truncate(24 * time.Hour).Add(8 * time.Hour) }
		h.restart() // at midnight
		h.pass(9 * time.Hour)
		h.got("the last 24 hours")
		if m := h.ntfy.Messages()[0]; m.Message != "the 24h0m0s before 2000-01-01 08:00:00" ||
			m.Click != "https://pay.example.com/operator" {
			h.Errorf("%+v; want the day before the hour", m)
		}
		h.restart()
		h.pass(22 * time.Hour) // 7:00
		h.got("the last 24 hours")
		h.stop()
		time.Sleep(3 * time.Hour)
		h.start()
		h.pass(time.Minute)
		h.got("the last 24 hours", "the last 24 hours")
		h.stop()
		time.Sleep(29 * time.Hour) // until 15:00 of the next day
		h.start()
		h.pass(time.Hour)
		h.got("the last 24 hours", "the last 24 hours")
	})
}

func TestTestAlert(t *testing.T) {
	inHouse(t, func(h *house) {
		h.urls += " ntfy://ntfy.test/wrong"
		h.restart()
		if errs := h.alerter.Test(h.Context()); len(errs) != 2 || errors.Join(errs...) != nil {
			h.Errorf("%v; want two successes", errs)
		}
		h.got("test alert", "test alert")
		h.ntfy.Fail(http.StatusForbidden)
		for _, err := range h.alerter.Test(h.Context()) {
			if err == nil || !strings.Contains(err.Error(), "403") || strings.Contains(err.Error(), secretTopic) {
				h.Errorf("%v; want the status", err)
			}
		}
	})
}
