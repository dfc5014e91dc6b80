package app_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

const (
	secretTopic    = "laundry-k8x2vq7m4t"
	secretPassword = "hunter2secret"
)

// recipients are an ntfy server and a mail server on loopback.
type recipients struct {
	ntfy *sandbox.Ntfy
	mail *sandbox.MailServer
	urls config.Secret
}

// newRecipients starts both. They must start outside of a bubble, whose time would else stand still.
func newRecipients(t *testing.T) *recipients {
	t.Helper()
	r := &recipients{ntfy: sandbox.NewNtfy(t)}
	server := httptest.NewServer(r.ntfy)
	t.Cleanup(server.Close)
	mail, err := sandbox.NewMailServer(t)
	if err != nil {
		t.Fatal(err)
	}
	mail.User, mail.Password = "ann", secretPassword
	go mail.Serve()
	t.Cleanup(mail.Close)
	r.mail = mail
	host := strings.TrimPrefix(server.URL, "http://")
	r.urls = config.Secret("ntfy://" + host + "/" + secretTopic + "?scheme=http " +
		"smtp://ann:" + secretPassword + "@" + mail.Addr() + "/?from=till@example.com&to=ann@example.com")
	return r
}

// titles returns the titles of what ntfy got.
func (r *recipients) titles() (titles []string) {
	for _, m := range r.ntfy.Messages() {
		titles = append(titles, m.Title)
	}
	return titles
}

// noSecrets checks that neither the log nor a public page nor the console tells a secret.
func noSecrets(f *apptest.Front, r *recipients) {
	f.Helper()
	shown := f.Logs.String() + f.Get("/health").Body.String() + f.Get("/metrics").Body.String() +
		f.Browser().Shows("/operator") + f.Browser().Shows("/operator/setup") +
		fmt.Sprintf("%v %+v", r.urls, f.Settings)
	for _, secret := range []string{secretTopic, secretPassword, r.mail.Addr()} {
		if strings.Contains(shown, secret) {
			f.Errorf("%s is shown:\n%s", secret, shown)
		}
	}
}

// A dispute with its deadline and a customer's report reach the owner, and their end as well.
func TestAlertsReachTheOwner(t *testing.T) {
	t.Parallel()
	r := newRecipients(t)
	apptest.InFront(t, func(s *config.Settings) {
		s.AlertURLs, s.ConfirmWithin = r.urls, 2*time.Minute
	}, func(f *apptest.Front) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(35 * time.Second)
		live := f.LivePage(session)
		if w := f.Phone().Do("POST", live+"/report", url.Values{
			"reason": {"not_started"}, "words": {"my name is Casey"},
		}.Encode()); w.Code != http.StatusSeeOther {
			f.Fatalf("report: %d %s", w.Code, w.Body)
		}
		if thanks := f.Phone().Do("GET", live+"?reported=1", "").Body.String(); !strings.Contains(thanks,
			"The operator will be notified.") {
			f.Errorf("the customer is not told that the operator is: %s", thanks)
		}
		f.Pass(30 * time.Second)
		f.Stripe.OpenDispute(session.ID, "needs_response", 0)
		f.Pass(40 * time.Second)
		want := []string{
			"notepay (test mode): A customer reports a problem",
			"notepay (test mode): 1 dispute waits for your answer",
		}
		if got := r.titles(); fmt.Sprint(got) != fmt.Sprint(want) {
			f.Fatalf("%q; want %q", got, want)
		}
		page := "https://pay.example.com/operator/payments/" + payment.CreditID(session.ID)
		messages := r.ntfy.Messages()
		due := time.Now().Add(9 * 24 * time.Hour).UTC().Format("2 Jan 2006")
		if report := messages[0]; report.Click != page || strings.Contains(report.Message, "Casey") ||
			!strings.Contains(report.Message, "Washer 3, 3.50 EUR") {
			f.Errorf("%+v; want the payment without the customer's words", report)
		}
		if dispute := messages[1]; dispute.Click != page || !strings.Contains(dispute.Message, "by "+due) {
			f.Errorf("%+v; want the deadline %s", dispute, due)
		}
		mails := r.mail.Mails()
		if len(mails) != 2 || !strings.Contains(mails[0].Data, "Subject: "+want[0]) {
			f.Errorf("%d mails; want the same two: %+v", len(mails), mails)
		}
		f.Stripe.CloseDispute(session.ID, true)
		payments := "/operator/payments/" + payment.CreditID(session.ID)
		b := f.Browser()
		b.Does(b.Press(payments, payments+"/reports"), "dismiss")
		f.Pass(11 * time.Minute)
		if got := strings.Join(r.titles()[2:], "; "); strings.Count(got, "Resolved: ") != 2 {
			f.Errorf("%q; want both resolved", got)
		}
		sent := len(r.titles())
		f.Restarted(nil)
		f.Pass(11 * time.Minute)
		if got := r.titles(); len(got) != sent {
			f.Errorf("%q after a restart; want nothing new", got[sent:])
		}
		noSecrets(f, r)
	})
}

// A thousand payments in trouble make a handful of messages, and a restart among them adds none.
func TestAThousandPaymentsInTrouble(t *testing.T) {
	t.Parallel()
	r := newRecipients(t)
	apptest.InFront(t, func(s *config.Settings) { s.AlertURLs = r.urls }, func(f *apptest.Front) {
		f.Run()
		for batch := range 10 {
			err := f.Ledger.Update(f.Context(), func(tx *ledger.Tx) error {
				for n := range 100 {
					id := fmt.Sprintf("%d-%d", batch, n)
					_, err := tx.InsertPayment(payment.Payment{
						ID:            payment.CreditID("cs_test_" + id),
						SessionID:     "cs_test_" + id,
						PaymentIntent: "pi_" + id,
						Token:         payment.CreditID("cs_test_"+id) + "_x",
						DeviceUID:     fixture.Washer,
						DeviceName:    "Washer 3" + strings.Repeat("🧺", 1500), // services reject long messages
						Amount:        350,
						Currency:      "eur",
						Delivery:      payment.Failed,
						Funds:         payment.RefundFailed,
						Reason:        payment.ReasonExpired,
						RefundSeq:     1,
						RefundAmount:  350,
						RefundAt:      tx.Now,
						RefundTarget:  350,
						ReviewReason:  payment.ReviewBalance,
						PaidAt:        tx.Now,
						CreatedAt:     tx.Now,
						DeliveryAt:    tx.Now,
						FundsAt:       tx.Now,
					})
					if err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				f.Fatal(err)
			}
			f.Pass(20 * time.Second)
			if batch == 5 {
				f.Restarted(nil)
			}
		}
		f.Pass(12 * time.Minute)
		got := r.titles()
		if len(got) < 2 || len(got) > 4 || !strings.Contains(got[len(got)-1], "1000 refunds failed") ||
			len(r.mail.Mails()) != len(got) {
			f.Errorf("%q and %d mails; want a handful each", got, len(r.mail.Mails()))
		}
		for _, m := range r.ntfy.Messages() {
			if len(m.Message) > 2500 {
				f.Errorf("%d bytes; want long names cut", len(m.Message))
			}
		}
		noSecrets(f, r)
		f.Stop()
		f.CloseLedger() // the payments are Stripe's in the ledger only
	})
}

// Revoked credentials and a recipient that is down are told where they can be.
func TestAlertsAboutVendorsAndRecipients(t *testing.T) {
	t.Parallel()
	r := newRecipients(t)
	apptest.InFront(t, func(s *config.Settings) {
		s.AlertURLs, s.RefreshInterval = r.urls, time.Minute
	}, func(f *apptest.Front) {
		r.mail.Down(true)
		f.Run()
		f.Notehub.Always("{any} /{rest...}", sandbox.Outcome{Status: http.StatusUnauthorized})
		f.Pass(8 * time.Minute)
		got := strings.Join(r.titles(), "; ")
		if !strings.Contains(got, "Trouble with Stripe or Notehub") || !strings.Contains(got, "notepay has a problem") {
			f.Errorf("%q; want that Notehub rejects notepay, and that mail cannot be sent", got)
		}
		f.HasProblem("alerts", "Alerts cannot be sent to number 2 (smtp)", true)
		f.Browser().Shows("/operator/setup", "The last alert failed at", "421")
		noSecrets(f, r)
		r.mail.Down(false)
		f.Notehub.Clear("{any} /{rest...}")
		f.Pass(12 * time.Minute)
		f.HasProblem("alerts", "Alerts cannot be sent", false)
		if got := strings.Join(r.titles(), "; "); !strings.Contains(got, "Resolved: Stripe and Notehub work again") {
			f.Errorf("%q; want it resolved", got)
		}
	})
}

// The button on the page Setup sends a test alert to every recipient, and says how it ended.
func TestTestAlertInTheConsole(t *testing.T) {
	t.Parallel()
	r := newRecipients(t)
	apptest.InFront(t, func(s *config.Settings) { s.AlertURLs = r.urls }, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		b.Shows("/operator/setup", "1. ntfy", "2. smtp", "No alert was sent since notepay was started.")
		f.Answers("test", b.Press("/operator/setup", "/operator/setup/alert"), http.StatusOK, "test sent")
		if len(r.titles()) != 1 || len(r.mail.Mails()) != 1 {
			f.Errorf("%q, %d mails; want one each", r.titles(), len(r.mail.Mails()))
		}
		f.Answers("at once again", b.Press("/operator/setup", "/operator/setup/alert"), http.StatusOK, "a moment ago")
		if len(r.titles()) != 1 {
			f.Errorf("%q; want no second one at once", r.titles())
		}
		r.ntfy.Fail(http.StatusForbidden)
		f.Pass(time.Minute)
		f.Answers("test", b.Press("/operator/setup", "/operator/setup/alert"), http.StatusOK, "test failed")
		f.Answers("cause", b.Send("GET", "/operator/setup", ""), http.StatusOK, "status 403")
		noSecrets(f, r)
		if w := f.Do("POST", "/operator/setup/alert", ""); w.Code/100 == 2 {
			f.Errorf("a stranger may send test alerts: %d", w.Code)
		}
	})
}

// Without recipients no page says that the operator is notified.
func TestWithoutAlerts(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, func(s *config.Settings) { s.ConfirmWithin = 2 * time.Minute }, func(f *apptest.Front) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		thanks := f.Phone().Do("GET", f.LivePage(session)+"?reported=1", "").Body.String()
		if strings.Contains(thanks, "notified") || !strings.Contains(thanks, "The operator can see your report.") {
			f.Errorf("the customer reads what is not so: %s", thanks)
		}
		b := f.Browser()
		b.Shows("/operator/setup", "Alerts are not set up")
		if w := b.Press("/operator/setup", "/operator/setup", "x", "y"); w.Code != http.StatusOK {
			f.Errorf("checks: %d", w.Code)
		}
	})
}
