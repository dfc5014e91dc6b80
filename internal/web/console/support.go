package console

import (
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"notepay/internal/bridge"
	"notepay/internal/fleet"
	"notepay/internal/goodwill"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/uid"
	"notepay/internal/web"
)

// Texts puts what operators send to customers into the customers' language.
type Texts struct {
	Payment func(machine, link string) string
	// Free is about a code for a free start. machine is "" for a code of a site.
	Free func(machine, link, code string, until time.Time) string
}

// sending is a text for a customer with the links that open a mail or message program.
type sending struct {
	Link, Text string
	Mail, SMS  template.URL
}

// send returns a text for a customer. subject is the subject of an e-mail.
func send(link, subject, text string) *sending {
	escape := func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
	return &sending{
		Link: link,
		Text: text,
		Mail: template.URL("mailto:?subject=" + escape(subject) + "&body=" + escape(text)), // safe: escaped
		// Without the "?", iPhones read no text, and without the "&", older ones.
		SMS: template.URL("sms:?&body=" + escape(text)), // safe: escaped
	}
}

// customerPanel is what the page of a payment shows about its customer.
type customerPanel struct {
	Page    *sending // the customer's live page; nil without PUBLIC_URL
	Code    string   // the access code, "" if there is none or it opens nothing
	Expects bool     // the machine opens with a code, which is over
	Codes   []goodwillRow
	Sites   []fleet.Site // for which a code can be granted
	Free    bool         // codes can be granted
	Days    int
}

type goodwillRow struct {
	ledger.GoodwillCode
	Scope string
	State word
	Open  bool // it can be withdrawn
}

// customer returns what the page of a payment shows about its customer.
func (c *Console) customer(r *http.Request, p payment.Payment) (panel customerPanel, err error) {
	panel = customerPanel{Expects: p.NeedsAccessCode, Days: goodwill.DefaultDays}
	machine := web.MachineName(p.DeviceName, p.DeviceUID)
	if c.PublicURL != "" {
		link := c.PublicURL + "/session/" + p.Token
		panel.Page = send(link, machine, c.Texts.Payment(machine, link))
	}
	if payment.AccessCodeValid(p, c.Ledger.Now()) {
		panel.Code = p.AccessCode
	}
	d := c.Fleet.Device(p.DeviceUID)
	if c.Goodwill == nil {
		return panel, nil
	}
	if panel.Free = d != nil && c.PublicURL != ""; panel.Free {
		panel.Sites = c.sitesOf(d)
	}
	codes, err := c.Ledger.GoodwillCodesOf(r.Context(), p.ID)
	for _, g := range codes {
		start, err := c.Ledger.Payment(r.Context(), g.CreditID)
		if _, err = ledger.Found(err); err != nil {
			return panel, err
		}
		panel.Codes = append(panel.Codes, c.goodwillRow(c.langOf(r), g, goodwill.ComesBack(start)))
	}
	return panel, err
}

// sitesOf returns the sites of a device.
func (c *Console) sitesOf(d *fleet.Device) (sites []fleet.Site) {
	for _, id := range d.Fleets {
		sites = append(sites, fleet.Site{UID: id, Name: c.Fleet.SiteName(id)})
	}
	return sites
}

// goodwillRow describes a code. back says that its free start failed, so that it counts again.
func (c *Console) goodwillRow(l lang, g ledger.GoodwillCode, back bool) goodwillRow {
	row := goodwillRow{GoodwillCode: g, State: word{"not used yet", "wait"}, Open: true}
	if row.Scope = g.Site; g.Site != "" {
		row.Scope = l.T("any machine of {1}", "1", c.Fleet.SiteName(g.Site))
	} else if d := c.Fleet.Device(g.DeviceUID); d != nil {
		row.Scope = web.MachineName(d.Name, d.UID)
	} else {
		row.Scope = g.DeviceUID
	}
	switch {
	case g.CreditID != "" && !back:
		row.State, row.Open = word{"used", "good"}, false
	case g.CreditID != "" && c.Ledger.Now().Before(g.ExpiresAt):
		row.State = word{"start failed, counts again", "wait"}
	case !c.Ledger.Now().Before(g.ExpiresAt):
		row.State, row.Open = word{"over", ""}, false
	}
	return row
}

type goodwillPage struct {
	Code    string // as people read it
	Send    *sending
	Scope   string
	Until   time.Time
	Payment string
}

// grantCode issues a code for a free start, and shows it once.
func (c *Console) grantCode(w http.ResponseWriter, r *http.Request) error {
	p, err := c.Ledger.Payment(r.Context(), r.PathValue("id"))
	if errors.Is(err, ledger.ErrNotFound) {
		return c.problem(w, r, http.StatusNotFound, "No payment has this reference. Nothing was changed.")
	}
	if err != nil {
		return err
	}
	who, d := by(r), c.Fleet.Device(p.DeviceUID)
	days, err := strconv.Atoi(strings.TrimSpace(r.PostFormValue("days")))
	site := r.PostFormValue("site")
	switch {
	case d == nil || c.Goodwill == nil || c.PublicURL == "":
		return c.showPayment(w, r, http.StatusConflict,
			"This machine is not in the Notehub project any more. Nothing was changed.")
	case who.Reason == "":
		return c.showPayment(w, r, http.StatusBadRequest,
			"Please enter a reason. It is kept in the audit log. Nothing was changed.")
	case err != nil || days < 1 || days > goodwill.MaxDays:
		return c.showPayment(w, r, http.StatusBadRequest,
			"Enter for how many days the code is valid, 1 to "+strconv.Itoa(goodwill.MaxDays)+". Nothing was changed.")
	case site != "" && !slices.Contains(d.Fleets, site):
		return c.showPayment(w, r, http.StatusBadRequest, "The machine is not at this site. Nothing was changed.")
	}
	given := ledger.GoodwillCode{
		DeviceUID: d.UID,
		PriceID:   p.PriceID,
		PaymentID: p.ID,
		By:        who.Name,
		Reason:    who.Reason,
	}
	machine := web.MachineName(d.Name, d.UID)
	if site != "" {
		given.DeviceUID, given.PriceID, given.Site, machine = "", "", site, ""
	}
	valid := time.Duration(days) * 24 * time.Hour
	code, issued, err := c.Goodwill.Issue(r.Context(), given, valid, consumeFormToken(r).Before)
	if err != nil {
		return err
	}
	shown := uid.ShowStartCode(code)
	link := c.PublicURL + "/free/" + shown
	return c.write(w, r, "goodwill", view{Title: "Code for a free start", Nav: "payments", Data: goodwillPage{
		Code:    shown,
		Send:    send(link, machine, c.Texts.Free(machine, link, shown, issued.ExpiresAt)),
		Scope:   c.goodwillRow(c.langOf(r), issued, false).Scope,
		Until:   issued.ExpiresAt,
		Payment: p.ID,
	}})
}

// withdrawCode ends the validity of a code.
func (c *Console) withdrawCode(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	codes, err := c.Ledger.GoodwillCodesOf(r.Context(), id)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(r.PostFormValue("number"))
	if err != nil || number < 1 || number > len(codes) || c.Goodwill == nil {
		return c.problem(w, r, http.StatusNotFound, "There is no such code. Nothing was changed.")
	}
	err = c.Goodwill.Withdraw(r.Context(), codes[number-1].Digest, bridge.Actor{Name: by(r).Name, Reason: "withdrawn"},
		consumeFormToken(r).Before)
	if errors.Is(err, goodwill.ErrInvalid) {
		return c.showPayment(w, r, http.StatusConflict, "The code was used or has expired. Nothing was changed.")
	}
	if err != nil {
		return err
	}
	return goBack(w, r, "withdraw")
}
