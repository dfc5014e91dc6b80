package main

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/stripe/stripe-go/v82"
	"golang.org/x/text/unicode/norm"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/stripeapi"
	"notepay/internal/uid"
)

// Link reads a link. upstream.Refused means that there is no such link in this account.
func (s *stripeAPI) Link(ctx context.Context, id string) (ledger.Link, error) {
	if err := s.readyFor(ctx, id, "plink_"); err != nil {
		return ledger.Link{}, err
	}
	link, err := readObject(ctx, s, "/v1/payment_links/"+id, nil, stripeapi.DecodeLink)
	return linkRecord(link), err
}

// Links lists the active links that this project made, oldest first. Stripe lists the newest first and cannot search by metadata.
func (s *stripeAPI) Links(ctx context.Context) (links []ledger.Link, err error) {
	var odd []string
	for after, more := "", true; more; {
		if err := s.ready(ctx); err != nil { // one page, one call: each of them waits for its slot
			return nil, err
		}
		page, err := s.readPage(ctx, "/v1/payment_links", url.Values{"active": {"true"}}, after)
		if err != nil {
			return nil, fmt.Errorf("page after %q: %w", after, err)
		}
		for _, record := range page.Records {
			link, err := stripeapi.DecodeLink(record)
			if err != nil {
				odd = append(odd, stripeapi.NameOf(err))
				continue
			}
			if link.Metadata["app"] == stripeapi.App && link.Metadata["project"] == s.project && link.Metadata["device_uid"] != "" {
				links = append(links, linkRecord(link))
			}
		}
		after, more = page.Last, page.More
	}
	s.odd("Stripe's payment links", odd)
	slices.Reverse(links)
	return links, nil
}

// captureManual holds the money until it is captured. It also stands in the metadata "capture" of what was made so.
const captureManual = "manual"

func linkRecord(link stripeapi.Link) ledger.Link {
	r := ledger.Link{ID: link.ID, Livemode: link.Livemode, DeviceUID: uid.Key(link.Metadata["device_uid"]), URL: link.URL,
		ReturnURL: link.AfterCompletion.ReturnURL, Plan: payment.Offer{PriceID: link.Metadata["price_id"]},
		Manual: link.Metadata["capture"] == captureManual, SignedBy: cmp.Or(link.Metadata[stripeapi.Signature], ledger.Unsigned)}
	r.Active, r.Limited, r.Closed = link.State()
	return r
}

// CreateLink makes the Payment Link of a device and plan. The metadata stands twice: on the link, from where it is copied to
// sessions, and on the payment intent, for the events that come without a session.
func (s *stripeAPI) CreateLink(ctx context.Context, d ledger.Device, plan payment.Offer, returnURL, process, key string) (ledger.Link, error) {
	if err := s.readyFor(ctx, plan.PriceID, "price_"); err != nil {
		return ledger.Link{}, err
	}
	metadata := map[string]string{"app": stripeapi.App, "project": s.project, "device_uid": cmp.Or(d.Spelled, d.UID), "price_id": plan.PriceID}
	params := &stripe.PaymentLinkCreateParams{
		LineItems:          []*stripe.PaymentLinkCreateLineItemParams{{Price: stripe.String(plan.PriceID), Quantity: stripe.Int64(1)}},
		Metadata:           metadata,
		PaymentIntentData:  &stripe.PaymentLinkCreatePaymentIntentDataParams{Metadata: metadata, Description: stripe.String(stripeapi.Description(d, plan)), StatementDescriptorSuffix: statementSuffix(d)},
		PaymentMethodTypes: stripe.StringSlice([]string{"card"}), // which brings the wallets; others may pay days later
		InactiveMessage:    stripe.String("This machine is not for sale through this link any more. Please scan the sticker on the machine again."),
	}
	if s.manual {
		metadata["capture"] = captureManual // on the link and on its intents: it is one map
		params.PaymentIntentData.CaptureMethod = stripe.String(captureManual)
	}
	if returnURL != "" {
		params.AfterCompletion = &stripe.PaymentLinkCreateAfterCompletionParams{Type: stripe.String("redirect"),
			Redirect: &stripe.PaymentLinkCreateAfterCompletionRedirectParams{URL: stripe.String(returnURL)}}
	}
	params.Metadata = signedBy(process, metadata)
	link, err := createObject(ctx, s, "/v1/payment_links", params, key, stripeapi.DecodeLink)
	if err != nil {
		return ledger.Link{}, err
	}
	record := linkRecord(link)
	record.Plan, record.ReturnURL = plan, returnURL
	return record, nil
}

// UpdateLink makes a link active or not, and sets its return URL. Price, currency and capture method cannot be changed.
func (s *stripeAPI) UpdateLink(ctx context.Context, link ledger.Link) error {
	if err := s.readyFor(ctx, link.ID, "plink_"); err != nil {
		return err
	}
	params := &stripe.PaymentLinkUpdateParams{Active: stripe.Bool(link.Active), Metadata: signature(link.SignedBy)}
	switch {
	case !link.Active:
	case link.ReturnURL != "":
		params.AfterCompletion = &stripe.PaymentLinkUpdateAfterCompletionParams{Type: stripe.String("redirect"),
			Redirect: &stripe.PaymentLinkUpdateAfterCompletionRedirectParams{URL: stripe.String(link.ReturnURL)}}
	default:
		params.AfterCompletion = &stripe.PaymentLinkUpdateAfterCompletionParams{Type: stripe.String("hosted_confirmation")}
	}
	_, err := s.raw.Post(ctx, "/v1/payment_links/"+link.ID, params, "")
	return s.outcome(err)
}

// CreateSession makes a Checkout Session for one purchase, and returns where it is paid. As with a link, the metadata stands on it and on its
// payment intent.
func (s *stripeAPI) CreateSession(ctx context.Context, d ledger.Device, plan payment.Offer, publicURL string, ends time.Time, key string) (ledger.Session, string, error) {
	if err := s.readyFor(ctx, plan.PriceID, "price_"); err != nil {
		return ledger.Session{}, "", err
	}
	metadata := map[string]string{"app": stripeapi.App, "project": s.project, "device_uid": cmp.Or(d.Spelled, d.UID), "price_id": plan.PriceID}
	params := &stripe.CheckoutSessionCreateParams{
		Mode:               stripe.String(string(stripe.CheckoutSessionModePayment)),
		LineItems:          []*stripe.CheckoutSessionCreateLineItemParams{{Price: stripe.String(plan.PriceID), Quantity: stripe.Int64(1)}},
		Metadata:           metadata,
		PaymentIntentData:  &stripe.CheckoutSessionCreatePaymentIntentDataParams{Metadata: metadata, Description: stripe.String(stripeapi.Description(d, plan)), StatementDescriptorSuffix: statementSuffix(d)},
		PaymentMethodTypes: stripe.StringSlice([]string{"card"}), // which brings the wallets; others may pay days later
		SuccessURL:         stripe.String(successURL(publicURL)),
		CancelURL:          stripe.String(publicURL + "/payment/cancel"),
		ExpiresAt:          stripe.Int64(ends.Unix()),
	}
	if s.manual {
		metadata["capture"] = captureManual // on the session and on its intent: it is one map
		params.PaymentIntentData.CaptureMethod = stripe.String(captureManual)
	}
	cs, err := createObject(ctx, s, "/v1/checkout/sessions", params, key, stripeapi.DecodeOpenSession)
	if err != nil {
		return ledger.Session{}, "", err
	}
	return ledger.Session{ID: cs.ID, Livemode: cs.Livemode, DeviceUID: d.UID, Manual: s.manual, Ends: ends, Plan: plan}, cs.URL, nil
}

// SessionIsOpen says whether a session can be paid still.
func (s *stripeAPI) SessionIsOpen(ctx context.Context, id string) (bool, error) {
	if err := s.readyFor(ctx, id, "cs_"); err != nil {
		return false, err
	}
	cs, err := readObject(ctx, s, "/v1/checkout/sessions/"+id, nil, stripeapi.DecodeOpenSession)
	return cs.Status == "open", err
}

// ExpireSession ends a session. Stripe refuses that of one which is not open any more.
func (s *stripeAPI) ExpireSession(ctx context.Context, id string) error {
	if err := s.readyFor(ctx, id, "cs_"); err != nil {
		return err
	}
	_, err := s.raw.Post(ctx, "/v1/checkout/sessions/"+id+"/expire", nil, "")
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
