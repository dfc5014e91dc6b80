package main

import (
	"context"
	"strings"
	"time"
	"unicode"

	"github.com/stripe/stripe-go/v82"
	"golang.org/x/text/unicode/norm"

	"notepay/internal/ledger"
	"notepay/internal/stripeevent"
)

// CreateSession makes a Checkout Session for one purchase, and returns where it is paid. As with a link, the metadata stands on it and on its
// payment intent.
func (s *stripeAPI) CreateSession(ctx context.Context, d ledger.Device, plan ledger.Plan, publicURL string, ends time.Time, key string) (ledger.Session, string, error) {
	if err := s.ready(ctx); err != nil {
		return ledger.Session{}, "", err
	}
	metadata := map[string]string{"app": stripeevent.App, "project": s.project, "device_uid": d.UID, "price_id": plan.PriceID}
	params := &stripe.CheckoutSessionCreateParams{
		Mode:               stripe.String(string(stripe.CheckoutSessionModePayment)),
		LineItems:          []*stripe.CheckoutSessionCreateLineItemParams{{Price: stripe.String(plan.PriceID), Quantity: stripe.Int64(1)}},
		Metadata:           metadata,
		PaymentIntentData:  &stripe.CheckoutSessionCreatePaymentIntentDataParams{Metadata: metadata, Description: stripe.String(description(d, plan)), StatementDescriptorSuffix: statementSuffix(d)},
		PaymentMethodTypes: stripe.StringSlice([]string{"card"}), // which brings the wallets; others may pay days later
		SuccessURL:         stripe.String(successURL(publicURL)),
		CancelURL:          stripe.String(publicURL + "/payment/cancel"),
		ExpiresAt:          stripe.Int64(ends.Unix()),
	}
	if s.manual {
		metadata["capture"] = captureManual // on the session and on its intent: it is one map
		params.PaymentIntentData.CaptureMethod = stripe.String(captureManual)
	}
	params.SetIdempotencyKey(key)
	cs, err := s.client.V1CheckoutSessions.Create(ctx, params)
	if err := s.outcome(err); err != nil {
		return ledger.Session{}, "", err
	}
	return ledger.Session{ID: cs.ID, Livemode: cs.Livemode, DeviceUID: d.UID, Manual: s.manual, Ends: ends, Plan: plan}, cs.URL, nil
}

// SessionIsOpen says whether a session can be paid still.
func (s *stripeAPI) SessionIsOpen(ctx context.Context, id string) (bool, error) {
	if err := s.ready(ctx); err != nil {
		return false, err
	}
	cs, err := s.client.V1CheckoutSessions.Retrieve(ctx, id, nil)
	if err := s.outcome(err); err != nil {
		return false, err
	}
	return cs.Status == stripe.CheckoutSessionStatusOpen, nil
}

// ExpireSession ends a session. Stripe refuses that of one which is not open any more.
func (s *stripeAPI) ExpireSession(ctx context.Context, id string) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	_, err := s.client.V1CheckoutSessions.Expire(ctx, id, nil)
	return s.outcome(err)
}

// successURL is where Stripe sends a customer who has paid. Stripe fills the session's id in.
func successURL(publicURL string) string {
	return publicURL + "/payment/success?session_id={CHECKOUT_SESSION_ID}"
}

// longestSuffix is what is left of a statement descriptor's 22 characters behind the longest prefix and the "* " between them (docs/vendors.md, Q12).
const longestSuffix = 10

// statementSuffix names the machine on the card's statement, behind the account's own name; nil where its name does not allow it. What Stripe
// takes is known from its documentation alone (docs/vendors.md, Q12): Latin letters, one of them at least, and none of < > \ ' " *. So nothing
// but letters without accents, digits, spaces and a few signs is left.
func statementSuffix(d ledger.Device) *string {
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
	clean = strings.TrimSpace(clean[:min(len(clean), longestSuffix)])
	if !strings.ContainsFunc(clean, unicode.IsLetter) {
		return nil
	}
	return &clean
}
