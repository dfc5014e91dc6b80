package stripeapi

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/stripe/stripe-go/v82"
	"golang.org/x/text/unicode/norm"

	"notepay/internal/checkout"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// Session reads a Checkout Session, by its id or by its payment intent.
func (s *Client) Session(ctx context.Context, id string) (payment.CheckoutSession, error) {
	if err := s.ready(ctx); err != nil {
		return payment.CheckoutSession{}, err
	}
	if strings.HasPrefix(id, "pi_") {
		return s.sessionOfIntent(ctx, id)
	}
	if err := checkID(id, "cs_"); err != nil {
		return payment.CheckoutSession{}, err
	}
	query := url.Values{"expand[]": {"payment_intent.latest_charge"}}
	r, err := readObject(ctx, s, "/v1/checkout/sessions/"+id, query, s.sessionRecord)
	if err == nil && r.ID != id {
		err = &upstream.Error{
			Outcome: upstream.Misconfigured,
			Status:  http.StatusOK,
			Detail:  "the reply is of another object than " + id,
		}
	}
	return s.withDisputes(ctx, r, err)
}

// withDisputes returns a session that was read with the disputes of its charge. A key that may not
// read them leaves them unknown.
func (s *Client) withDisputes(
	ctx context.Context,
	r payment.CheckoutSession,
	err error,
) (payment.CheckoutSession, error) {
	if err != nil || !r.Disputed {
		return r, err
	}
	text, err := s.raw.Get(
		ctx,
		"/v1/disputes",
		url.Values{"payment_intent": {r.PaymentIntent}, "limit": {strconv.Itoa(onePage)}},
	)
	if e, ok := errors.AsType[*stripe.Error](err); ok &&
		(e.HTTPStatusCode == http.StatusForbidden || e.HTTPStatusCode == http.StatusUnauthorized) {
		return r, nil
	}
	r.Disputes, err = decoded(s, text, err, upstream.Misconfigured, DecodeDisputes)
	return r, err
}

func (s *Client) sessionOfIntent(ctx context.Context, intent string) (payment.CheckoutSession, error) {
	if err := checkID(intent, "pi_"); err != nil {
		return payment.CheckoutSession{}, err
	}
	query := url.Values{"payment_intent": {intent}, "expand[]": {"data.payment_intent.latest_charge"}}
	page, err := readObject(ctx, s, "/v1/checkout/sessions", query, DecodePage)
	if err != nil {
		return payment.CheckoutSession{}, err
	}
	if len(page.Records) == 0 {
		return payment.CheckoutSession{}, &upstream.Error{
			Outcome: upstream.Rejected,
			Status:  200,
			Detail:  "no session of " + intent,
		}
	}
	r, err := decoded(s, page.Records[0], nil, upstream.Misconfigured, s.sessionRecord)
	return s.withDisputes(ctx, r, err)
}

// Sessions lists one page of the sessions that were completed, the newest first, of those that were
// created since then (they may have been paid up to a day later). It begins behind the session with
// the id after, or at the newest; last is where the next page begins. A session that cannot be read
// holds up none of the others: odd names it.
func (s *Client) Sessions(
	ctx context.Context,
	since time.Time,
	after string,
) (sessions []payment.CheckoutSession, odd []string, last string, more bool, err error) {
	if err := s.ready(ctx); err != nil {
		return nil, nil, "", false, err
	}
	query := url.Values{
		"status":       {"complete"},
		"created[gte]": {strconv.FormatInt(since.Unix(), 10)},
		"expand[]":     {"data.payment_intent.latest_charge"},
	}
	page, err := s.readPage(ctx, "/v1/checkout/sessions", query, after)
	if err != nil {
		return nil, nil, "", false, err
	}
	for _, record := range page.Records {
		if session, err := s.sessionRecord(record); err != nil {
			odd = append(odd, NameOf(err))
		} else {
			sessions = append(sessions, session)
		}
	}
	return sessions, odd, page.Last, page.More, nil
}

// sessionRecord decodes a session that was read.
func (s *Client) sessionRecord(text []byte) (payment.CheckoutSession, error) {
	r, complete, err := DecodeSession(text)
	r.ReceiptURL = s.Page(r.ReceiptURL)
	if !complete {
		r.PaymentStatus, r.IntentStatus = "unpaid", "" // open or expired: nobody has paid
	}
	return r, err
}

// CreateSession makes a Checkout Session for one purchase, and returns where it is paid. As with a
// link, the metadata stands on it and on its payment intent.
func (s *Client) CreateSession(ctx context.Context, n checkout.NewSession) (ledger.Session, string, error) {
	d, plan := n.Device, n.Plan
	if err := s.readyFor(ctx, plan.PriceID, "price_"); err != nil {
		return ledger.Session{}, "", err
	}
	metadata := map[string]string{
		"app":        App,
		"project":    s.project,
		"device_uid": cmp.Or(d.Spelled, d.UID),
		"price_id":   plan.PriceID,
	}
	params := &stripe.CheckoutSessionCreateParams{
		Mode: stripe.String(string(stripe.CheckoutSessionModePayment)),
		LineItems: []*stripe.CheckoutSessionCreateLineItemParams{
			{Price: stripe.String(plan.PriceID), Quantity: stripe.Int64(1)},
		},
		Metadata: metadata,
		PaymentIntentData: &stripe.CheckoutSessionCreatePaymentIntentDataParams{
			Metadata:                  metadata,
			Description:               stripe.String(Description(d, plan)),
			StatementDescriptorSuffix: StatementSuffix(d),
		},
		PaymentMethodTypes: stripe.StringSlice([]string{"card"}), // which brings the wallets; others may pay days later
		SuccessURL:         stripe.String(SuccessURL(n.PublicURL)),
		CancelURL:          stripe.String(n.PublicURL + "/payment/cancel"),
		ExpiresAt:          stripe.Int64(n.Ends.Unix()),
	}
	if s.Manual {
		metadata["capture"] = captureManual // on the session and on its intent: it is one map
		params.PaymentIntentData.CaptureMethod = stripe.String(captureManual)
	}
	cs, err := createObject(ctx, s, "/v1/checkout/sessions", params, n.IdempotencyKey, DecodeOpenSession)
	if err != nil {
		return ledger.Session{}, "", err
	}
	return ledger.Session{
		ID:        cs.ID,
		Livemode:  cs.Livemode,
		DeviceUID: d.UID,
		Manual:    s.Manual,
		Ends:      n.Ends,
		Plan:      plan,
	}, cs.URL, nil
}

// SessionIsOpen says whether a session can be paid still.
func (s *Client) SessionIsOpen(ctx context.Context, id string) (bool, error) {
	if err := s.readyFor(ctx, id, "cs_"); err != nil {
		return false, err
	}
	cs, err := readObject(ctx, s, "/v1/checkout/sessions/"+id, nil, DecodeOpenSession)
	return cs.Status == "open", err
}

// ExpireSession ends a session. Stripe refuses that of one which is not open any more.
func (s *Client) ExpireSession(ctx context.Context, id string) error {
	if err := s.readyFor(ctx, id, "cs_"); err != nil {
		return err
	}
	_, err := s.raw.Post(ctx, "/v1/checkout/sessions/"+id+"/expire", nil, "")
	return s.outcome(err)
}

// SuccessURL is where Stripe sends a customer who has paid. Stripe fills the session's id in.
func SuccessURL(publicURL string) string {
	return publicURL + "/payment/success?session_id={CHECKOUT_SESSION_ID}"
}

// maxSuffix is what is left of a statement descriptor's 22 characters behind the longest prefix and
// the "* " between them (docs/vendors.md, Q12).
const maxSuffix = 10

// StatementSuffix names the machine on the card's statement, behind the account's own name; nil
// where its name does not allow it. What Stripe takes is known from its documentation alone
// (docs/vendors.md, Q12): Latin letters, one of them at least, and none of < > \ ' " *. So nothing
// but letters without accents, digits, spaces and a few signs is left.
func StatementSuffix(d ledger.Device) *string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return unicode.ToUpper(r)
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '.':
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return -1
	}, norm.NFD.String(d.Name)) // an accent is a sign of its own then, and dropped
	clean = strings.Join(strings.Fields(clean), " ")
	clean = strings.TrimSpace(clean[:min(len(clean), maxSuffix)])
	if !strings.ContainsFunc(clean, unicode.IsLetter) {
		return nil
	}
	return &clean
}
