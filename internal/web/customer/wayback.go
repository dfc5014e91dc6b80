package customer

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"notepay/internal/payment"
	"notepay/internal/web"
)

// paymentsCookie holds the tokens of the live pages that a browser has opened, newest first. It
// leads a payer who scans the machine again back to the payment's page.
const paymentsCookie = "notepay_payments"

const (
	// maxCookieTokens bounds the cookie, and the payments that one scan may read.
	maxCookieTokens = 8
	// payerCookieLifetime is how long a browser keeps the cookie after it last opened a live page.
	payerCookieLifetime = 30 * 24 * time.Hour
	// justFetched is how long a payment counts as open after a machine fetched it that reports no
	// start. The payer may still wait for the machine.
	justFetched = 2 * time.Minute
	// justFailed is how long a payment counts as open after its credit failed, while the money is
	// not back.
	justFailed = time.Hour
)

// cookieTokens returns the tokens in the request's cookie. It returns nil for a browser without the
// cookie, and costs nothing then.
func cookieTokens(r *http.Request) (tokens []string) {
	if len(r.Header["Cookie"]) == 0 {
		return nil
	}
	cookie, err := r.Cookie(paymentsCookie)
	if err != nil {
		return nil
	}
	for token := range strings.SplitSeq(cookie.Value, ".") {
		if len(tokens) == maxCookieTokens {
			break
		}
		if pageToken.MatchString(token) && !slices.Contains(tokens, token) {
			tokens = append(tokens, token)
		}
	}
	return tokens
}

// remember sets the cookie that leads the browser back to a payment's page.
func (c *Handler) remember(w http.ResponseWriter, r *http.Request, p payment.Payment) {
	others := slices.DeleteFunc(cookieTokens(r), func(token string) bool { return token == p.Token })
	tokens := append([]string{p.Token}, others[:min(len(others), maxCookieTokens-1)]...)
	http.SetCookie(w, &http.Cookie{
		Name:     paymentsCookie,
		Value:    strings.Join(tokens, "."),
		Path:     "/",
		MaxAge:   int(payerCookieLifetime / time.Second),
		HttpOnly: true,
		Secure:   c.HTTPS,
		SameSite: http.SameSiteLaxMode,
	})
}

// ownPayments returns the open payments of the browser, newest first. Those of other machines are
// left out unless uid is "". A failed read is logged and counts as none: the scan goes on.
func (c *Handler) ownPayments(r *http.Request, uid string) (open []payment.Payment) {
	tokens := cookieTokens(r)
	if len(tokens) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), web.ReadTimeout)
	defer cancel()
	payments, err := c.Ledger.PaymentsOfTokens(ctx, tokens)
	if err != nil {
		c.Log.Error("payments of a browser not read", "err", err)
		return nil
	}
	now := c.now()
	for _, p := range payments {
		if (uid == "" || p.DeviceUID == uid) && openForPayer(p, now) {
			open = append(open, p)
		}
	}
	slices.SortFunc(open, func(a, b payment.Payment) int { return b.PaidAt.Compare(a.PaidAt) })
	return open
}

// OwnPage returns the page of the browser's open payment for a machine, or "". A payer who scans the
// machine again is sent there. A payer who asks for another payment (?again=1) is not.
func (c *Handler) OwnPage(r *http.Request, uid string) string {
	if len(r.Header["Cookie"]) == 0 || buyingAgain(r) {
		return ""
	}
	own := c.ownPayments(r, uid)
	if len(own) == 0 {
		return ""
	}
	return c.pageOf(own[0])
}

// pageOf returns the address of a payment's live page, with its code while that is valid.
func (c *Handler) pageOf(p payment.Payment) string {
	if payment.AccessCodeValid(p, c.now()) && !stopping(p) {
		return accessPage(p)
	}
	return livePage(p)
}

// buyingAgain reports whether the customer asks for another payment although one may be open.
func buyingAgain(r *http.Request) bool { return r.URL.Query().Get("again") == "1" }

// payAgain returns the address at which a machine is paid for once more.
func payAgain(uid string) string { return "/pay/" + url.PathEscape(uid) + "?again=1" }

// openForPayer reports whether a payer who scans the machine again should see the payment: it may
// still change, or its access code is valid.
func openForPayer(p payment.Payment, now time.Time) bool {
	switch {
	case p.Delivery == payment.Queued, p.Delivery == payment.Sent, p.HoldsDevice, payment.AccessCodeValid(p, now):
		return true
	case p.Delivery == payment.Fetched && !returned(p):
		return confirming(p) || now.Sub(p.DeliveryAt) < justFetched
	case p.Delivery == payment.Started:
		return now.Before(p.EndsAt)
	case p.Delivery == payment.Failed:
		return !moneySettled(p) && now.Sub(p.DeliveryAt) < justFailed
	}
	return false
}

// moneySettled reports whether nothing more happens to the money of a failed credit by itself.
func moneySettled(p payment.Payment) bool {
	switch p.Funds {
	case payment.Refunded, payment.Canceled, payment.CaptureFailed, payment.Disputed, payment.DisputeLost:
		return true
	}
	return p.Amount == 0
}
