package ledger

import (
	"context"
	"errors"
	"strings"
	"time"

	"notepay/internal/payment"
)

// otherQueries returns queries of starts, of instances, of alerts and of the background, for their
// plans.
func otherQueries(ctx context.Context, l *Ledger, tx *Tx) []asked {
	return []asked{
		{"the claims of a process that is gone", tx.recover, "payments_in_flight"},
		{"times in the future", tx.clampCreated, "payments_newest"},
		{"look-ups in the future", func() error { return tx.ClampTimes(noon()) }, ""},
		{"what waits", func() error { return second(tx.Waiting()).err }, "payments_"},
		{"a shorter lease", func() error { return tx.ShortenLease("x", noon()) }, ""},
		{"the oldest untried", func() error { return second(l.OldestUntried(ctx)).err }, "payments_queued"},
		{"what has failed calls", func() error { return second(l.QueuedWithFailures(ctx, 9)).err }, "payments_queued"},
		{"the first payment", func() error { return second(l.FirstPayment(ctx)).err }, "payments_newest"},
		{"a payment that is known", func() error {
			p := testPayment("known")
			return errors.Join(second(tx.InsertPayment(p)).err, second(tx.InsertPayment(p)).err)
		}, ""},
		{"touching a payment", func() error { return tx.Touch("x") }, ""},
		{"the charge of a payment", func() error { return tx.SetCharge("x", "4242", "") }, ""},
		{"a payment as it was read", func() error {
			after := testPayment("known")
			after.ReviewReason = "x"
			return second(tx.ChangeUnread(testPayment("known"), after)).err
		}, ""},

		{"whether a machine answered", func() error { return second(tx.Answered("x")).err }, "confirmations_of_credit"},
		{"the notes of a payment", func() error { return second(tx.NotesPosted("x")).err }, ""},
		{"an encrypted note", func() error { return tx.AddEncryptedNote(EncryptedNote{Digest: "x"}) }, ""},
		{"whose notes they are", func() error {
			return second(l.IdentifyNotes(ctx, []payment.PendingNote{{Digest: "x"}, {Digest: "y"}})).err
		}, ""},
		{"an audit", func() error { return tx.AddAudit(Audit{Who: "me", What: "x"}) }, ""},
		{"an event of somebody else that is ours", func() error {
			return second(tx.ReplaceEvent(StripeEvent{ID: "evt_1", Outcome: "x"}, "y")).err
		}, ""},
		{"a known event", func() error { return second(l.EventOutcome(ctx, "evt_1")).err }, ""},
		{"pruning bodies", func() error {
			return errors.Join(second(tx.AddEvent(StripeEvent{ID: "evt_2", Received: noon(), Outcome: "x"})).err,
				second(tx.pruneBodies(noon().Add(time.Hour))).err)
		}, ""},
		{"pruning events", func() error { return second(tx.pruneEvents(time.UnixMilli(0))).err }, ""},
		{"pruning changes", func() error { return second(tx.pruneChanges()).err }, ""},

		{"a report", func() error {
			p := testPayment("known")
			return errors.Join(second(tx.InsertPayment(p)).err, tx.AddReport(Report{PaymentID: p.ID, Reason: "x"}))
		}, ""},
		{"reports that are seen", func() error { return tx.SeeReports("x") }, ""},
		{"the reports of a payment", func() error { return second(l.Reports(ctx, "x")).err }, ""},
		{"the open reports", func() error { return second(l.OpenReports(ctx, 9)).err }, "customer_reports_open"},
		{
			"what needs attention, by reason",
			func() error { return second(l.ReviewCounts(ctx)).err },
			"payments_attention",
		},
		{"what needs attention for a reason", func() error {
			return second(l.PaymentsOfReview(ctx, "x", 9)).err
		}, "payments_attention"},
		{"how much needs attention", func() error {
			return second(l.OpenMatters(ctx)).err
		}, "payments_attention & customer_reports_open"},
		{"alerts of payments", func() error { return second(l.PaymentsToReview(ctx, 9)).err }, "payments_attention"},
		{"alerts of reports", func() error { return second(l.ReportedPayments(ctx, 9)).err }, "customer_reports_open"},
		{"alerts of disputes", func() error { return second(l.DisputesToAnswer(ctx, 9)).err }, "disputes_to_answer"},

		{"the links of some devices", func() error {
			return second(l.LinksOf(ctx, true, []string{"dev:1", "dev:2"})).err
		}, "links_of_device"},
		{"some devices", func() error {
			return errors.Join(second(l.DevicesOf(ctx, []string{"dev:1"})).err,
				second(l.VariablesOf(ctx, []string{"dev:1"})).err)
		}, ""},
		{"a session that is replaced", func() error { return tx.ReplaceSession("cs_1") }, ""},
		{"open sessions that are paid", func() error {
			s := session("cs_open", noon().Add(time.Hour))
			s.Livemode = true
			return errors.Join(tx.AddSession(s), second(l.OpenSessions(ctx, true, noon())).err)
		}, ""},
		{"a request again", func() error {
			_, _, first := tx.BeginRequest("key:2", "x")
			_, _, err := tx.BeginRequest("key:2", "x")
			return errors.Join(first, err)
		}, ""},

		{"a look-up", func() error { return tx.AddLookup(Lookup{ID: "x", DueAt: noon()}) }, ""},
		{"a look-up that was handled", func() error { return tx.HandleLookup("x", "x") }, ""},
		{"delaying a look-up", func() error { return tx.DelayLookup(Lookup{ID: "x"}, noon()) }, ""},
		{"hastening a look-up", func() error { return tx.HastenLookup("x", noon()) }, ""},

		{"new sums", func() error { return tx.replaceSums("day", "2026-11-01", nil) }, ""},
		{"the payouts", func() error { return second(l.Payouts(ctx, true, 9)).err }, "payouts_at"},
		{"a code", func() error {
			return errors.Join(second(l.GoodwillCode(ctx, "x")).err, second(tx.GoodwillCode("x")).err)
		}, ""},
		{"using a code", func() error {
			return errors.Join(tx.UseGoodwillCode(GoodwillCode{Digest: "x"}, "x"), tx.WithdrawGoodwillCode("x"))
		}, ""},
		{"those of one reason and word", func() error {
			_, _, err := l.Payments(ctx, Filter{Limit: 9, Name: strings.Repeat("x", 9), Attention: new(true)})
			return err
		}, ""},
	}
}
