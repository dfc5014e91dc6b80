package demo

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"notepay/internal/sandbox"
)

// paymentView is a payment on its machine's card. State is "paid", "held", "moving", "back" or
// "bad".
type paymentView struct {
	Session, Key, At string // Key is short, for element ids
	State            string
	Money, Why       string
	Attention        bool // the payment needs attention
	Actions          []action
}

// action is a button that changes a payment at Stripe.
type action struct{ Do, Name string }

const maxPayments = 3

// paymentViews returns the latest payments of a machine, newest first. Amounts come from Stripe,
// and the results from notepay's records.
func (d *Demo) paymentViews(m *machine) (views []paymentView) {
	answers := d.notehub.Answers(m.uid)
	for _, s := range slices.Backward(d.paidSessions()) {
		if s.DeviceUID != m.uid {
			continue
		}
		r, heard := d.known.payments[s.ID]
		charged, held, refunded, _ := d.stripe.Money(s.ID)
		v := paymentView{Session: s.ID, Key: s.ID[max(0, len(s.ID)-8):], At: clock(s.at)}
		switch {
		case !heard && held > 0:
			v.State, v.Money, v.Why = "held", dollars(held)+" held", "not known to notepay yet"
		case !heard:
			v.State, v.Money, v.Why = "paid", dollars(charged)+" paid", "not known to notepay yet"
		default:
			v.State, v.Money = moneyWords(r, s.Amount)
			v.Why, v.Attention = whyWords(r, answers), r.NeedsAttention
		}
		switch {
		case held > 0:
			v.Actions = []action{{"release", "Release hold"}}
		case r.Money == "disputed":
			v.Actions = []action{
				{"won", "The bank sides with the operator"},
				{"lost", "The bank sides with the customer"},
			}
		case charged > refunded && r.Money != "lost":
			v.Actions = []action{{"refund", "Refund"}, {"dispute", "Dispute"}}
		}
		if views = append(views, v); len(views) == maxPayments {
			break
		}
	}
	return views
}

// paidSession is a completed Checkout Session.
type paidSession struct {
	sandbox.Session
	at       time.Time
	received bool // notepay accepted the webhook
}

// paidSessions returns all completed sessions, oldest first. They include sessions whose webhook
// was lost.
func (d *Demo) paidSessions() (paid []paidSession) {
	for _, e := range d.stripe.Events() {
		if e.Type != "checkout.session.completed" {
			continue
		}
		if s, ok := d.stripe.Session(e.ObjectID); ok {
			paid = append(paid, paidSession{s, e.Created, e.Acked})
		}
	}
	return paid
}

// isBack reports whether a payment's money was returned, and is not only on its way.
func (d *Demo) isBack(session string) bool {
	r := d.known.payments[session]
	return d.stripe.Refunded(session) > 0 && r.Money != "refunding"
}

func dollars(amount int64) string { return fmt.Sprintf("$%d.%02d", amount/100, amount%100) }

// moneyWords describes where the money is. The amount is the paid one, in cents.
func moneyWords(r record, amount int64) (state, words string) {
	all := dollars(amount)
	switch r.Money {
	case "authorized":
		return "held", all + " held"
	case "capturing":
		return "moving", all + " held, being charged"
	case "releasing":
		return "moving", all + " held, being released"
	case "released":
		return "back", all + " released, never charged"
	case "capture_failed":
		return "bad", all + " could not be charged"
	case "refunding":
		return "moving", all + " refunding"
	case "refunded":
		return "back", all + " refunded"
	case "refund_failed":
		return "bad", all + " refund failed"
	case "disputed":
		return "bad", all + " disputed"
	case "lost":
		return "bad", all + " lost in a dispute"
	}
	if r.RefundedAmount > 0 {
		all += " paid, " + dollars(r.RefundedAmount) + " of it refunded"
		return "paid", all
	}
	return "paid", all + " paid"
}

// whyWords describes the reason of a refund, or how far the delivery is.
func whyWords(r record, answers []sandbox.Note) string {
	switch r.Reason {
	case "expired":
		return "not delivered in time"
	case "refused":
		return "Notehub rejected the note"
	case "busy":
		return "the machine was busy"
	case "failed":
		if code := codeOf(r.ID, answers); code != "" {
			return "the machine refused: " + code
		}
		return "the machine refused"
	case "recalled":
		return "not fetched in time, the note was recalled"
	case "recall_unclear":
		return "the note was recalled, perhaps too late"
	case "delivery_unclear":
		return "nobody knows whether the note arrived"
	case "unconfirmed":
		return "the machine did not answer in time"
	case "payment_reversed":
		return "refunded by hand at Stripe"
	case "disputed":
		return "the customer's bank wants the money back"
	case "started_after_money_back":
		return "the machine reported its start too late"
	case "":
		switch r.Machine {
		case "queued":
			return "the note is not at Notehub yet"
		case "sent":
			return "the note is at Notehub"
		case "fetched":
			return "waiting for the machine's answer"
		case "started":
			return "the machine reported its start"
		case "done":
			return "the machine has finished"
		}
	}
	return strings.ReplaceAll(r.Reason, "_", " ")
}

// codeOf returns the code in the machine's latest answer for a credit, or "".
func codeOf(credit string, answers []sandbox.Note) string {
	for _, a := range slices.Backward(answers) {
		if a.Body["credit_id"] == credit {
			code, _ := a.Body["code"].(string)
			return code
		}
	}
	return ""
}

// postPayment changes a payment at Stripe, without notepay.
func (d *Demo) postPayment(w http.ResponseWriter, r *http.Request) {
	id := r.PostFormValue("session")
	session, ok := d.stripe.Session(id)
	m := d.machineNamed(session.DeviceUID)
	if !ok || m == nil {
		http.Error(w, "no such payment", http.StatusNotFound)
		return
	}
	who, text, done := "operator", "", false
	switch r.PostFormValue("do") {
	case "refund":
		text, done = "gives the money for {machine} back by hand", d.stripe.Refund(id, 0)
	case "release":
		text, done = "cancels the hold for {machine} by hand", d.stripe.CancelAuthorization(id)
	case "dispute":
		who, text, done = "bank", "disputes a payment at {machine}", d.stripe.Dispute(id)
	case "won":
		who, text, done = "bank", "decides the dispute for us", d.stripe.CloseDispute(id, true)
	case "lost":
		who, text, done = "bank", "decides the dispute for the customer", d.stripe.CloseDispute(id, false)
	default:
		http.Error(w, "there is no such action", http.StatusNotFound)
		return
	}
	if !done {
		http.Error(w, "that cannot be done with this payment", http.StatusConflict)
		return
	}
	d.wire.add(line{From: who, To: "Stripe", Text: d.words(text, m.uid, "")})
	d.back(w, r, "#name-"+m.key)
}

// postResume resumes sales on a machine that notepay paused, as its operator would.
func (d *Demo) postResume(w http.ResponseWriter, r *http.Request) {
	for _, m := range d.machines {
		if m.key != r.PostFormValue("machine") {
			continue
		}
		if err := d.operate(r.Context(), http.MethodPost, "/api/devices/"+m.uid+"/resume", nil); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		d.wire.add(line{From: "operator", To: "notepay", Text: "sells on " + m.name + " again"})
		d.back(w, r, "#name-"+m.key)
		return
	}
	http.Error(w, "there is no such machine", http.StatusNotFound)
}
