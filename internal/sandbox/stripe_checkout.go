package sandbox

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"
)

//go:embed checkout.html
var checkoutPage string

var checkoutTemplate = template.Must(template.New("checkout").Parse(checkoutPage))

// checkoutView is the data of the hosted page. State is "open", "confirm", "paid", "receipt",
// "expired", "inactive" or "unknown".
type checkoutView struct {
	State, Action, Item, Machine, Amount, Problem, Message, Cancel string

	Text  string // beside the button
	Codes bool   // the page takes promotion codes
}

// checkout serves /c/{plink}, which begins a session, and /c/pay/{session}. It accepts test cards
// only and stores no card number.
func (s *Stripe) checkout(c *call) reply {
	_, seen := c.meet(func() reply {
		if c.Method != http.MethodGet && c.Method != http.MethodPost {
			return page(http.StatusMethodNotAllowed, checkoutView{State: "unknown"})
		}
		view, status, redirect, sent := s.customer(c)
		if redirect == "" {
			return page(status, view)
		}
		s.awaitWebhook(c, sent)
		return reply{status: http.StatusSeeOther, header: http.Header{"Location": {redirect}}}
	})
	return seen
}

// customer shows the page, or does what the submitted form says. With a redirect, it returns a
// channel that is closed after the first attempt to send the webhook. The channel is nil if the
// redirect does not wait.
func (s *Stripe) customer(c *call) (view checkoutView, status int, redirect string, sent <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := lastSegment(c.path)
	if l := s.links.get(id); l != nil && (!l.Active || l.limit > 0 && l.completed >= l.limit) {
		return checkoutView{State: "inactive", Message: l.inactiveMessage}, http.StatusOK, "", nil
	}
	x, err := s.open(id, 0)
	if err != nil {
		return checkoutView{State: "unknown"}, http.StatusNotFound, "", nil
	}
	view = s.checkoutView(x)
	after := strings.ReplaceAll(s.sessionView(x).SuccessURL, "{CHECKOUT_SESSION_ID}", x.ID)
	switch {
	case c.Method == http.MethodPost && x.Status == "complete" && after != "":
		return view, 0, after, nil // the button was pressed twice
	case c.Method == http.MethodGet || x.Status != "open":
		return view, http.StatusOK, "", nil
	}
	form, err := url.ParseQuery(string(c.body))
	if err != nil {
		return checkoutView{State: "unknown"}, http.StatusBadRequest, "", nil
	}
	card := strings.ReplaceAll(form.Get("card"), " ", "")
	switch {
	case form.Get("confirm") == "complete":
		card = ""
	case form.Get("confirm") == "fail":
		view.Problem = "We are unable to authenticate your payment method. Please choose a different payment method " +
			"and try again."
		return view, http.StatusOK, "", nil
	case card == cardToConfirm:
		view.State = "confirm"
		return view, http.StatusOK, "", nil
	case card == "":
		view.Problem = "Your card number is incomplete."
		return view, http.StatusOK, "", nil
	}
	sent, err = s.attempt(x, PayOptions{Method: card, Promotion: strings.TrimSpace(form.Get("promotion"))})
	if err != nil {
		view.Problem = err.Error()
		return view, http.StatusOK, "", nil
	}
	if after == "" {
		return s.checkoutView(x), http.StatusOK, "", nil
	}
	if x.PaymentLink != "" && s.config.Unknown.LinksDoNotWait {
		sent = nil
	}
	return view, 0, after, sent
}

func (s *Stripe) awaitWebhook(c *call, sent <-chan struct{}) {
	if sent == nil {
		return
	}
	timer := time.NewTimer(checkoutWait)
	defer timer.Stop()
	select {
	case <-sent:
	case <-timer.C:
	case <-c.Context().Done():
	}
}

func (s *Stripe) checkoutView(x *session) checkoutView {
	view := checkoutView{
		State:   x.Status,
		Action:  "/c/pay/" + x.ID,
		Machine: x.Metadata["device_uid"],
		Amount:  money(x.Amount, x.Currency),
		Cancel:  x.cancelURL,
		Text:    submitText(x.text),
		Codes:   x.promotionCodes,
	}
	if l := s.links.get(x.PaymentLink); l != nil {
		view.Text = submitText(l.text)
	}
	if x.Status == "complete" {
		view.State = "paid"
	}
	for _, i := range x.items {
		view.Item = s.prices.get(i.price).Name
	}
	return view
}

// submitText returns the message of custom_text[submit], or "".
func submitText(text object) string {
	submit, _ := text["submit"].(object)
	message, _ := submit["message"].(string)
	return message
}

func page(status int, view checkoutView) reply {
	var body bytes.Buffer
	if err := checkoutTemplate.Execute(&body, view); err != nil {
		panic("sandbox: render the checkout page: " + err.Error())
	}
	return reply{status: status, body: body.Bytes(), header: http.Header{
		"Content-Type":  {"text/html; charset=utf-8"},
		"Cache-Control": {"no-store"},
	}}
}

// receipts is the path of the charges' receipts.
const receipts = "/receipts/"

// receipt serves /receipts/{charge} to any caller that knows the charge's id.
func (s *Stripe) receipt(c *call) reply {
	_, seen := c.meet(func() reply {
		s.mu.Lock()
		defer s.mu.Unlock()
		i := s.chargedIntent(lastSegment(c.path))
		if i == nil {
			return page(http.StatusNotFound, checkoutView{State: "unknown"})
		}
		view := s.checkoutView(s.sessions.get(i.session))
		view.State = "receipt"
		if i.refunded > 0 {
			view.Message = money(i.refunded, i.currency) + " was refunded."
		}
		return page(http.StatusOK, view)
	})
	return seen
}

// checkoutRefusal returns the error page for a scripted failure of the checkout.
func checkoutRefusal(status int) reply {
	return page(status, checkoutView{State: "unknown", Message: "Something went wrong. Try again."})
}
