package console

import (
	"strings"
	"testing"
	"time"

	"notepay/internal/bridge"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
)

func noon() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

func clock(t time.Time) string { return t.Format("15:04") }

func TestWhy(t *testing.T) {
	t.Parallel()
	paid := payment.Payment{
		ID:            "cr_1",
		PaymentIntent: "pi_1",
		Amount:        350,
		Currency:      "eur",
		Funds:         payment.Paid,
		Delivery:      payment.Queued,
		PaidAt:        noon(),
		CreatedAt:     noon(),
	}
	failed := func(reason string) payment.Payment {
		p := paid
		p.Delivery, p.Reason = payment.Failed, reason
		return p
	}
	with := func(change func(*payment.Payment)) payment.Payment {
		p := paid
		change(&p)
		return p
	}
	event := []ledger.StripeEvent{{Outcome: bridge.Recorded, Received: noon()}}
	post := func(outcome string, status int, detail string) []ledger.Attempt {
		return []ledger.Attempt{
			{At: noon(), Action: payment.StepPostNote, Outcome: "retry"},
			{
				At:      noon().Add(time.Minute),
				Action:  payment.StepPostNote,
				Outcome: outcome,
				Status:  status,
				Detail:  detail,
			},
		}
	}
	said := func(state, code string) []ledger.Confirmation {
		return []ledger.Confirmation{{State: state, Code: code, At: noon().Add(time.Minute)}}
	}
	for name, c := range map[string]struct {
		story timeline
		short string
		says  []string
	}{
		"about to be sent": {
			timeline{Payment: paid}, "about to be sent",
			[]string{"Nothing was sent to Notehub", "found the payment at Stripe"},
		},
		"Notehub is down": {timeline{
			Payment: with(func(p *payment.Payment) { p.Failures = 2 }), Attempts: post("retry", 503, "busy"),
		}, "Notehub has not taken the credit yet",
			[]string{"sent 2 times", "status 503 (busy)"}},
		"Notehub is silent": {
			timeline{Payment: with(func(p *payment.Payment) { p.Failures = 2 }), Attempts: post("retry", 0, "timeout")},
			"Notehub has not taken", []string{"did not answer (timeout)"},
		},
		"the call was cut": {
			timeline{Payment: with(func(p *payment.Payment) { p.OutcomeUnknown = true })},
			"does not know whether Notehub took", nil,
		},
		"not fetched yet": {timeline{
			Payment: with(func(p *payment.Payment) {
				p.Delivery, p.ExpiresAt = payment.Sent, noon().Add(10*time.Minute)
			}),
			Attempts: post("ok", 200, ""), Events: event,
		},
			"does not fetch the credit by 12:10", []string{
				"Notehub took the credit", "Stripe reported the payment at 12:00.",
			}},
		"fetched, and no answer is expected": {
			timeline{Payment: with(func(p *payment.Payment) { p.Delivery = payment.Fetched })},
			"Nothing more can be known", []string{"not expected to answer"},
		},
		"fetched, and there is still time": {timeline{
			Payment: with(func(p *payment.Payment) {
				p.Delivery, p.ConfirmBy = payment.Fetched, noon().Add(time.Hour)
			}),
		}, "may still start",
			[]string{"has not answered"}},
		"fetched, and time is over": {
			timeline{Payment: with(func(p *payment.Payment) { p.Delivery, p.ConfirmBy = payment.Fetched, noon() })},
			"should have answered by 12:00", nil,
		},
		"it did": {
			timeline{
				Payment:       with(func(p *payment.Payment) { p.Delivery, p.StartedAt = payment.Started, noon() }),
				Confirmations: said("started", ""),
			},
			"The machine started: it said so", []string{": it started"},
		},
		"it did, too late": {
			timeline{
				Payment: with(func(p *payment.Payment) {
					p.Delivery, p.Reason = payment.Started, payment.ReasonStartedAfter
				}),
			},
			"only after the money had gone back", nil,
		},
		"expired before it was sent": {timeline{Payment: failed(payment.ReasonExpired)}, "before it expired", nil},
		"expired, says the machine": {
			timeline{Payment: failed(payment.ReasonExpired), Confirmations: said("expired", "")},
			"Its clock may be wrong", []string{"came too late"},
		},
		"in use": {
			timeline{Payment: failed(payment.ReasonBusy)}, "Another customer was still using", nil,
		},
		"in use, says the machine": {
			timeline{Payment: failed(payment.ReasonBusy), Confirmations: said("busy", "")}, "said that it was in use",
			nil,
		},
		"a fault with a code": {timeline{Payment: with(func(p *payment.Payment) {
			p.Delivery, p.Reason, p.MachineCode = payment.Failed, payment.ReasonFailed, "E-DOOR"
		}), Confirmations: said("failed", "E-DOOR")}, "(E-DOOR)", []string{"its code E-DOOR"}},
		"known late": {
			timeline{Payment: with(func(p *payment.Payment) { p.CreatedAt = noon().Add(3 * time.Hour) })},
			"about to be sent", []string{"3 hours after the payment"},
		},
		"a free start": {
			timeline{Payment: with(func(p *payment.Payment) { p.Amount, p.PaymentIntent = 0, "" })}, "about to be sent",
			[]string{"a free start"},
		},
		"an unknown reason": {
			timeline{Payment: failed("struck_by_lightning")}, "struck_by_lightning", nil,
		},
		"taken back": {
			timeline{Payment: failed(payment.ReasonRecalled)}, "did not fetch the credit in time", nil,
		},
		"unconfirmed": {
			timeline{Payment: failed(payment.ReasonUnconfirmed)}, "did not report a start", nil,
		},
		"the device is not in the project": {
			timeline{Payment: failed(payment.ReasonUnknownDevice)}, "not in the Notehub project", nil,
		},
		"the device was taken out of sale": {
			timeline{Payment: failed(payment.ReasonNotSelling)}, "not taking payments", nil,
		},
		"stopped by hand before it started": {
			timeline{Payment: failed(payment.ReasonEnded)}, "canceled in this console", nil,
		},
	} {
		got := c.story.why(noon().Add(time.Minute), clock)
		if !strings.Contains(got.Short, c.short) {
			t.Errorf("%s: %q; want %q in it", name, got.Short, c.short)
		}
		for _, want := range c.says {
			if !strings.Contains(strings.Join(got.Evidence, "\n"), want) {
				t.Errorf("%s: evidence %q; want %q in it", name, got.Evidence, want)
			}
		}
		if c.story.Delivery != payment.Started && strings.Contains(got.Short, "The machine started") {
			t.Errorf("%s: %q; want no word of a start that nobody knows of", name, got.Short)
		}
	}
}

// Every recorded code has words, because operators cannot read codes.
func TestWordsAreComplete(t *testing.T) {
	t.Parallel()
	for _, reason := range []string{
		payment.ReasonAdopted, payment.ReasonExpired, payment.ReasonRefused, payment.ReasonUnknownDevice,
		payment.ReasonNotSelling, payment.ReasonBusy, payment.ReasonFailed, payment.ReasonRecalled,
		payment.ReasonRecallUnclear, payment.ReasonUnclear, payment.ReasonUnconfirmed, payment.ReasonReversed,
		payment.ReasonDisputed, payment.ReasonEnded, payment.ReasonStartedAfter,
	} {
		if words := reasonWords(reason); words == reason && reason != payment.ReasonDisputed {
			t.Errorf("reason %s has no words", reason)
		}
		s := timeline{Payment: payment.Payment{Delivery: payment.Failed, Reason: reason}}
		if reason != payment.ReasonStartedAfter && strings.HasPrefix(s.notStarted(), "The machine did not start: ") {
			t.Errorf("reason %s is not explained", reason)
		}
	}
	for _, attention := range []string{
		payment.ReviewAmount, payment.ReviewOverdue, payment.ReviewHold, payment.ReviewFailedAfter,
		payment.ReviewCaptureFailed, payment.ReviewBalance, payment.ReviewRefundRefused, payment.ReviewRefundFailed,
		payment.ReviewDisputeLost, payment.ReviewFetchedAnyway, payment.ReviewTwins, payment.ReasonAdopted,
		payment.ReasonRefused, payment.ReasonUnknownDevice, payment.ReasonNotSelling, payment.ReasonRecallUnclear,
		payment.ReasonUnclear, payment.ReasonUnconfirmed, payment.ReasonStartedAfter, payment.ReasonDisputed,
	} {
		if words := attentionWords(attention); words.Why == attention || words.Do == "" {
			t.Errorf("attention %s has no words", attention)
		}
	}
	for _, money := range []payment.FundsStatus{
		payment.Authorized, payment.Capturing, payment.Paid, payment.Canceling, payment.Canceled, payment.CaptureFailed,
		payment.Refunding, payment.Refunded, payment.RefundFailed, payment.Disputed, payment.DisputeLost,
	} {
		if words := moneyWords(payment.Payment{Amount: 1, Funds: money}); strings.Contains(words.Text, "_") ||
			words.Text == "" {
			t.Errorf("money %s has no words", money)
		}
	}
	for _, state := range []fleet.State{
		fleet.Disabled, fleet.PaymentsOff, fleet.Paused, fleet.Unread, fleet.LinkClosed, fleet.Unscannable,
		fleet.Offline, fleet.InUse, fleet.NoOffers, fleet.NotReady, fleet.Open,
	} {
		if words := stateWords(state); words.Class == "" {
			t.Errorf("state %s has no words", state)
		}
	}
	for _, outcome := range []string{
		bridge.Recorded, bridge.Duplicate, bridge.Adopted, bridge.LookedUp, bridge.Followed, bridge.AwaitsPayment,
		bridge.NotOurs, bridge.OtherAccount, bridge.WrongMode, bridge.PaymentFailed, bridge.OfferChanged,
		bridge.Ignored,
	} {
		if outcomeWords(outcome) == outcome {
			t.Errorf("outcome %s has no words", outcome)
		}
	}
	for _, step := range []payment.Step{
		payment.StepPostNote, payment.StepCheckPending, payment.StepRecall, payment.StepCapture, payment.StepCancel,
		payment.StepRefund,
	} {
		if actionWords(step) == string(step) {
			t.Errorf("action %s has no words", step)
		}
	}
}

func TestRecordOf(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		credits []ledger.Credit
		want    string
	}{
		"none": {nil, "no starts yet"},
		"started and fetched": {
			[]ledger.Credit{{Machine: payment.Done}, {Machine: payment.Started}, {Machine: payment.Fetched}},
			"100% of the last 3",
		},
		"half": {
			[]ledger.Credit{{Machine: payment.Started}, {Machine: payment.Failed, Reason: payment.ReasonUnconfirmed}},
			"50% of the last 2",
		},
		"still open": {
			[]ledger.Credit{
				{Machine: payment.Sent}, {Machine: payment.Fetched, Confirms: true}, {Machine: payment.Queued},
			},
			"no starts yet",
		},
		"refused by us": {
			[]ledger.Credit{
				{Machine: payment.Failed, Reason: payment.ReasonBusy},
				{Machine: payment.Failed, Reason: payment.ReasonEnded},
			},
			"no starts yet",
		},
		"not fetched, in one case": {
			[]ledger.Credit{{Machine: payment.Failed, Reason: payment.ReasonRecalled}}, "0% of the last 1",
		},
	} {
		if got := recordOf(c.credits).rate(lang{}); got != c.want {
			t.Errorf("%s: %q; want %q", name, got, c.want)
		}
	}
}

func TestIndicators(t *testing.T) {
	t.Parallel()
	now := noon()
	for name, c := range map[string]struct {
		vitals Vitals
		stats  ledger.Stats
		light  string
		class  string
		says   string
	}{
		"all is well": {
			Vitals{Webhook: now.Add(-3 * time.Minute)}, ledger.Stats{}, "Webhooks", "good", "last one 3 minutes ago",
		},
		"no webhook yet": {Vitals{}, ledger.Stats{}, "Webhooks", "wait", "none since notepay was started"},
		"without webhooks": {
			Vitals{WebhooksOff: true}, ledger.Stats{}, "Webhooks", "wait", "asks Stripe regularly",
		},
		"Stripe refuses us": {
			Vitals{Stripe: "trouble: status 401"}, ledger.Stats{}, "Stripe", "bad", "status 401",
		},
		"Notehub is down": {
			Vitals{Notehub: "again: status 503"}, ledger.Stats{}, "Notehub", "bad", "status 503",
		},
		"one waits for a moment": {
			Vitals{}, ledger.Stats{Queued: 1, OldestQueued: now.Add(-time.Second)}, "Queue", "good", "1 second",
		},
		"one waits for long": {
			Vitals{}, ledger.Stats{Queued: 2, OldestQueued: now.Add(-10 * time.Minute)}, "Queue", "bad", "10 minutes",
		},
		"the disk is full": {
			Vitals{Store: ledger.ErrClosed}, ledger.Stats{}, "Records", "bad", "no payment can be taken",
		},
	} {
		for _, l := range indicators(lang{}, c.vitals, c.stats, 1, now) {
			if l.Name == c.light && (l.Class != c.class || !strings.Contains(l.Detail, c.says)) {
				t.Errorf("%s: %s is %s, %q; want %s, %q", name, l.Name, l.Class, l.Detail, c.class, c.says)
			}
		}
	}
}
