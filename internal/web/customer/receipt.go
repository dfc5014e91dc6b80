package customer

import (
	"html/template"
	"net/http"
	"strings"
	"time"

	"notepay/internal/payment"
	"notepay/internal/web"
)

// receipt is the content of a payment's page.
type receipt struct {
	status
	facts      []fact
	report     string  // address of the form to report that it did not start, "" for none
	ask        Message // label of the button to that form
	more       bool    // the machine can be paid for once more, although this payment started it
	refreshing bool    // the page reloads itself
	zone       *time.Location
	code       string // access code, "" if it is not shown
	access     string // address of the page with the code, "" for none
}

// fact is a line of the receipt: a message or a time.
type fact struct {
	name string // a key of the catalogs
	is   Message
	at   time.Time
	link string // address behind the message, "" for none
}

// codeDisplay says how a payment's page shows the access code.
type codeDisplay int

const (
	hideCode codeDisplay = iota
	linkToCode
	showCode
)

// payment returns the page of a payment at the time now.
func (c *Handler) payment(p payment.Payment, now time.Time, code codeDisplay) Page {
	s := statusOf(p, now, c.zone())
	if c.Missing != nil && c.Missing(p) {
		s.seemsFetched()
	}
	free := c.Free == nil || c.Free(p.DeviceUID)
	if s.Again && !free {
		s.busyNow()
	}
	d := c.known(p.DeviceUID)
	s.ofDevice(d)
	out := receipt{status: s, facts: c.facts(p, now), refreshing: s.Refresh > 0, zone: c.zone()}
	page := Page{
		Status:   http.StatusOK,
		Title:    s.Title,
		Machine:  web.MachineName(p.DeviceName, p.DeviceUID),
		Lines:    s.Lines,
		Reload:   s.Refresh,
		Help:     s.Help,
		Template: "payment",
		livemode: p.Livemode,
	}
	if code != hideCode && reportable(p, now) { // the form's address has the page's token
		out.report, out.ask = reportPage(p), ofKind(msg("report.open"), d.Kind())
	}
	switch {
	case !free:
	case s.Again:
		page.retry, page.again = payAgain(p.DeviceUID), msg("frame.again", "machine", page.Machine)
	case mayBuyMore(p):
		page.retry, page.again = payAgain(p.DeviceUID), msg("frame.more", "machine", page.Machine)
		out.more = true
	}
	if opens := payment.AccessCodeValid(p, now) && !stopping(p); opens && code == linkToCode {
		out.access = accessPage(p)
	} else if opens && code == showCode {
		out.code = p.AccessCode
		page.extra = append(page.extra, "Code: "+out.code)
	}
	if s.Clock.text.Key != "" {
		page.extra = append(page.extra, english().Translate(s.Clock.text))
	}
	if p.ReceiptURL != "" && p.Captured() > 0 {
		page.extra = append(page.extra, "Receipt: "+p.ReceiptURL)
	}
	page.extra, page.data = append(page.extra, "Reference: "+p.ID), out
	return page
}

// facts returns the known lines of the receipt.
func (c *Handler) facts(p payment.Payment, now time.Time) []fact {
	list := make([]fact, 0, 12)
	add := func(name string, is Message) { list = append(list, fact{name: name, is: is}) }
	addTime := func(name string, at time.Time) {
		if !at.IsZero() {
			list = append(list, fact{name: name, at: at})
		}
	}
	if p.Plan != "" {
		add("receipt.plan", msgOf(literal(p.Plan)))
	}
	if p.Duration > 0 {
		add("receipt.time", msgOf(duration(p.Duration)))
	}
	if p.Discount > 0 {
		add("receipt.price", msgOf(money{p.Amount + p.Discount, p.Currency}))
		add("receipt.discount", msgOf(money{p.Discount, p.Currency}))
	}
	charged := p.Captured() > 0 || p.Amount == 0
	if charged {
		add("receipt.paid", msgOf(money{p.Amount, p.Currency}))
	} else {
		add("receipt.held", msgOf(money{p.Amount, p.Currency}))
	}
	if back := refundedAmount(p); back > 0 {
		add("receipt.back", msgOf(money{back, p.Currency}))
		addTime("receipt.back_at", p.RefundDate())
		if p.RefundReference != "" {
			add("receipt.bank", msgOf(literal(p.RefundReference)))
		}
	}
	addTime("receipt.at", p.PaidAt)
	if begins := p.StartedAt.Add(p.DelayedStart); !p.StartedAt.IsZero() {
		if now.Before(begins) {
			addTime("receipt.starts", begins)
		} else {
			addTime("receipt.started", begins)
		}
	}
	if p.Delivery == payment.Done {
		addTime("receipt.ended", p.EndsAt)
	}
	add("receipt.machine", msgOf(literal(web.MachineName(p.DeviceName, p.DeviceUID))))
	if c.Brand.Name != "" {
		add("receipt.seller", msgOf(literal(c.Brand.Name)))
	}
	if c.Brand.Address != "" {
		add("receipt.address", msgOf(literal(c.Brand.Address)))
	}
	if c.Brand.Tax != "" && charged && p.Amount > 0 {
		add("receipt.tax", msgOf(literal(c.Brand.Tax)))
	}
	if p.ReceiptURL != "" && charged {
		list = append(list, fact{name: "receipt.stripe", is: msg("receipt.open"), link: p.ReceiptURL})
	}
	add("receipt.reference", msgOf(literal(p.ID)))
	return list
}

// refundedAmount returns the amount that was refunded or lost. Stripe also counts a pending refund,
// which is subtracted.
func refundedAmount(p payment.Payment) int64 {
	if p.Funds == payment.Refunding && p.RefundedAmount >= p.RefundTarget {
		return p.RefundedAmount - p.RefundAmount + p.LostAmount
	}
	return p.RefundedAmount + p.LostAmount
}

// receiptView is a receipt in one language, as its template reads it. It holds texts only, because
// method calls are the slowest part of a template, and thousands of pages may be rendered at once.
type receiptView struct {
	Title   string
	Lines   []lineView
	Clock   *countdownView
	Over    string // a notification when the countdown ends
	Steps   []factView
	Facts   []factView
	Renews  string
	More    bool
	Report  string
	Ask     string
	Code    string
	Digits  string // the code for screen readers, digit by digit
	Drawing template.HTML
	Access  string
}

// factView is a line of a list. Time is for the page's script, and "" if there is none. Same says
// that the text is the same in every language.
type factView struct {
	Class, Name, Text, Time, Link string
	Same                          bool
}

func (r receipt) in(l Language) receiptView {
	out := receiptView{
		Title:  l.Translate(r.Title),
		More:   r.more,
		Report: r.report,
		Ask:    l.Translate(r.ask),
		Code:   r.code,
		Access: r.access,
	}
	for _, m := range r.Lines {
		out.Lines = append(out.Lines, lineOf(l, m))
	}
	for _, s := range r.Steps {
		line := factView{Class: s.Class, Text: l.Translate(s.Text)}
		if !s.At.IsZero() {
			line.Name, line.Time = l.digits(web.Clock(s.At, zoneOr(r.zone))), web.Stamp(s.At)
		}
		out.Steps = append(out.Steps, line)
	}
	for _, f := range r.facts {
		line := factView{Name: l.T(f.name), Link: f.link}
		if f.at.IsZero() {
			line.Text = l.Translate(f.is)
			line.Same = f.is.same()
		} else {
			line.Text, line.Time = l.digits(web.Date(f.at, zoneOr(r.zone))), web.Stamp(f.at)
		}
		out.Facts = append(out.Facts, line)
	}
	if out.Clock = r.Clock.in(l); out.Clock != nil && r.Clock.text.Key == "clock.left" {
		out.Over = l.T("clock.over")
	}
	if r.refreshing {
		out.Renews = l.T("next.renews")
	}
	if r.code != "" {
		out.Digits = strings.Join(strings.Split(r.code, ""), " ")
		out.Drawing, _ = web.QRCode(r.code) // without it, the page still shows the digits
	}
	return out
}
