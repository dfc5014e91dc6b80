package customer

import (
	"html/template"
	"net/http"
	"net/url"
	"time"

	"notepay/internal/payment"
	"notepay/internal/web"
)

// receipt is what the page of a payment shows.
type receipt struct {
	status
	facts    []fact
	retry    string // where to pay anew, "" where that makes no sense
	renewing bool   // the page is asked for anew by itself
	code     string // that opens the machine, "" where it is not shown
	access   string // where the code is shown, "" for nowhere
}

// fact is a line of the receipt: a phrase or a time.
type fact struct {
	name string // a key of the catalogs
	is   Phrase
	at   time.Time
	link string // where the phrase leads, "" for nowhere
}

// codeShown is what a page of a payment tells of a code that opens the machine.
type codeShown int

const (
	receiptAlone codeShown = iota // nothing
	linkToCode
	withCode
)

// payment is the page of a payment as it stands at now.
func (c *Handler) payment(p payment.Payment, now time.Time, code codeShown) Page {
	s := statusOf(p, now)
	if c.Missing != nil && c.Missing(p) {
		s.seemsFetched()
	}
	out := receipt{status: s, facts: c.facts(p), renewing: s.Renewed > 0}
	if s.Again {
		out.retry = "/pay/" + url.PathEscape(p.DeviceUID)
	}
	page := Page{
		Status:   http.StatusOK,
		Title:    s.Title,
		Machine:  web.MachineName(p.DeviceName, p.DeviceUID),
		Lines:    s.Lines,
		Reload:   s.Renewed,
		Help:     s.Help,
		Template: "payment",
		real:     p.Livemode,
	}
	if opens := payment.AccessCodeValid(p, now) && !stopping(p); opens && code == linkToCode {
		out.access = accessPage(p)
	} else if opens && code == withCode {
		out.code = p.AccessCode
		page.extra = append(page.extra, "Code: "+out.code)
	}
	if p.ReceiptURL != "" {
		page.extra = append(page.extra, "Receipt: "+p.ReceiptURL)
	}
	page.extra, page.data = append(page.extra, "Reference: "+p.ID), out
	return page
}

// facts are the lines of the receipt, as far as they are known.
func (c *Handler) facts(p payment.Payment) []fact {
	list := make([]fact, 0, 10)
	say := func(name string, is Phrase) { list = append(list, fact{name: name, is: is}) }
	tell := func(name string, at time.Time) {
		if !at.IsZero() {
			list = append(list, fact{name: name, at: at})
		}
	}
	if p.Plan != "" {
		say("receipt.plan", plain(verbatim(p.Plan)))
	}
	if p.Duration > 0 {
		say("receipt.time", plain(length(p.Duration)))
	}
	say("receipt.paid", plain(money{p.Amount, p.Currency}))
	if back := givenBack(p); back > 0 {
		say("receipt.back", plain(money{back, p.Currency}))
	}
	tell("receipt.at", p.PaidAt)
	tell("receipt.started", p.StartedAt)
	if p.Delivery == payment.Done {
		tell("receipt.ended", p.EndsAt)
	}
	say("receipt.machine", plain(verbatim(web.MachineName(p.DeviceName, p.DeviceUID))))
	if c.Brand.Name != "" {
		say("receipt.seller", plain(verbatim(c.Brand.Name)))
	}
	if p.ReceiptURL != "" {
		list = append(list, fact{name: "receipt.stripe", is: phrase("receipt.open"), link: p.ReceiptURL})
	}
	say("receipt.reference", plain(verbatim(p.ID)))
	return list
}

// givenBack is what has left us: Stripe counts a refund that is pending, too.
func givenBack(p payment.Payment) int64 {
	if p.Funds == payment.Refunding && p.RefundedAmount >= p.RefundTarget {
		return p.RefundedAmount - p.RefundAmount + p.LostAmount
	}
	return p.RefundedAmount + p.LostAmount
}

// saidReceipt is a receipt in a language, as its template reads it: texts alone, for thousands may
// be told at once, and of what a template costs most are the calls that it makes.
type saidReceipt struct {
	Title   string
	Lines   []string
	Steps   []saidFact
	Facts   []saidFact
	Renews  string
	Retry   string
	Code    string
	Drawing template.HTML
	Access  string
}

// saidFact is a line of a list. Its time is "" for none, and else as the script reads it.
type saidFact struct{ Class, Name, Text, Time, Link string }

func (r receipt) in(l Language) saidReceipt {
	out := saidReceipt{Title: l.Translate(r.Title), Retry: r.retry, Code: r.code, Access: r.access}
	for _, line := range r.Lines {
		out.Lines = append(out.Lines, l.Translate(line))
	}
	for _, s := range r.Steps {
		said := saidFact{Class: s.Class, Text: l.Translate(s.Text)}
		if !s.At.IsZero() {
			said.Name, said.Time = web.Clock(s.At), web.Stamp(s.At)
		}
		out.Steps = append(out.Steps, said)
	}
	for _, f := range r.facts {
		said := saidFact{Name: l.T(f.name), Link: f.link}
		if f.at.IsZero() {
			said.Text = l.Translate(f.is)
		} else {
			said.Text, said.Time = web.Date(f.at), web.Stamp(f.at)
		}
		out.Facts = append(out.Facts, said)
	}
	if r.renewing {
		out.Renews = l.T("next.renews")
	}
	if r.code != "" {
		out.Drawing, _ = web.QRCode(r.code) // the digits stand beside it
	}
	return out
}
