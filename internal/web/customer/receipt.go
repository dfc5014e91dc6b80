package customer

import (
	"html/template"
	"net/http"
	"net/url"
	"time"

	"notepay/internal/payment"
	"notepay/internal/web"
)

// receipt is the content of a payment's page.
type receipt struct {
	status
	facts      []fact
	retry      string // address for another payment, "" if that makes no sense
	refreshing bool   // the page reloads itself
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
	s := statusOf(p, now)
	if c.Missing != nil && c.Missing(p) {
		s.seemsFetched()
	}
	out := receipt{status: s, facts: c.facts(p), refreshing: s.Refresh > 0}
	if s.Again {
		out.retry = "/pay/" + url.PathEscape(p.DeviceUID)
	}
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
	if opens := payment.AccessCodeValid(p, now) && !stopping(p); opens && code == linkToCode {
		out.access = accessPage(p)
	} else if opens && code == showCode {
		out.code = p.AccessCode
		page.extra = append(page.extra, "Code: "+out.code)
	}
	if p.ReceiptURL != "" {
		page.extra = append(page.extra, "Receipt: "+p.ReceiptURL)
	}
	page.extra, page.data = append(page.extra, "Reference: "+p.ID), out
	return page
}

// facts returns the known lines of the receipt.
func (c *Handler) facts(p payment.Payment) []fact {
	list := make([]fact, 0, 10)
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
	add("receipt.paid", msgOf(money{p.Amount, p.Currency}))
	if back := refundedAmount(p); back > 0 {
		add("receipt.back", msgOf(money{back, p.Currency}))
	}
	addTime("receipt.at", p.PaidAt)
	addTime("receipt.started", p.StartedAt)
	if p.Delivery == payment.Done {
		addTime("receipt.ended", p.EndsAt)
	}
	add("receipt.machine", msgOf(literal(web.MachineName(p.DeviceName, p.DeviceUID))))
	if c.Brand.Name != "" {
		add("receipt.seller", msgOf(literal(c.Brand.Name)))
	}
	if p.ReceiptURL != "" {
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
	Lines   []string
	Steps   []factView
	Facts   []factView
	Renews  string
	Retry   string
	Code    string
	Drawing template.HTML
	Access  string
}

// factView is a line of a list. Time is for the page's script, and "" if there is none.
type factView struct{ Class, Name, Text, Time, Link string }

func (r receipt) in(l Language) receiptView {
	out := receiptView{Title: l.Translate(r.Title), Retry: r.retry, Code: r.code, Access: r.access}
	for _, m := range r.Lines {
		out.Lines = append(out.Lines, l.Translate(m))
	}
	for _, s := range r.Steps {
		line := factView{Class: s.Class, Text: l.Translate(s.Text)}
		if !s.At.IsZero() {
			line.Name, line.Time = web.Clock(s.At), web.Stamp(s.At)
		}
		out.Steps = append(out.Steps, line)
	}
	for _, f := range r.facts {
		line := factView{Name: l.T(f.name), Link: f.link}
		if f.at.IsZero() {
			line.Text = l.Translate(f.is)
		} else {
			line.Text, line.Time = web.Date(f.at), web.Stamp(f.at)
		}
		out.Facts = append(out.Facts, line)
	}
	if r.refreshing {
		out.Renews = l.T("next.renews")
	}
	if r.code != "" {
		out.Drawing, _ = web.QRCode(r.code) // without it, the page still shows the digits
	}
	return out
}
