package stripeapi

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/uid"
)

// Link reads a link. upstream.Refused means that there is no such link in this account.
func (s *Client) Link(ctx context.Context, id string) (ledger.Link, error) {
	if err := s.readyFor(ctx, id, "plink_"); err != nil {
		return ledger.Link{}, err
	}
	link, err := readObject(ctx, s, "/v1/payment_links/"+id, nil, DecodeLink)
	return linkRecord(link), err
}

// Links lists the active links that this project made, oldest first. Stripe lists the newest first
// and cannot search by metadata.
func (s *Client) Links(ctx context.Context) (links []ledger.Link, err error) {
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
			link, err := DecodeLink(record)
			if err != nil {
				odd = append(odd, NameOf(err))
				continue
			}
			if link.Metadata["app"] == App && link.Metadata["project"] == s.project &&
				link.Metadata["device_uid"] != "" {
				links = append(links, linkRecord(link))
			}
		}
		after, more = page.Last, page.More
	}
	s.Odd("Stripe's payment links", odd)
	slices.Reverse(links)
	return links, nil
}

// captureManual holds the money until it is captured. It also stands in the metadata "capture" of
// what was made so.
const captureManual = "manual"

func linkRecord(link Link) ledger.Link {
	r := ledger.Link{
		ID:        link.ID,
		Livemode:  link.Livemode,
		DeviceUID: uid.Key(link.Metadata["device_uid"]),
		URL:       link.URL,
		ReturnURL: link.AfterCompletion.ReturnURL,
		Plan:      payment.Offer{PriceID: link.Metadata["price_id"]},
		Manual:    link.Metadata["capture"] == captureManual,
		SignedBy:  cmp.Or(link.Metadata[Signature], ledger.Unsigned),
	}
	r.Active, r.Limited, r.Closed = link.State()
	return r
}

// CreateLink makes the Payment Link of a device and plan. The metadata stands twice: on the link,
// from where it is copied to sessions, and on the payment intent, for the events that come without
// a session.
func (s *Client) CreateLink(ctx context.Context, n fleet.NewLink) (ledger.Link, error) {
	d, plan := n.Device, n.Plan
	if err := s.readyFor(ctx, plan.PriceID, "price_"); err != nil {
		return ledger.Link{}, err
	}
	metadata := map[string]string{
		"app":        App,
		"project":    s.project,
		"device_uid": cmp.Or(d.Spelled, d.UID),
		"price_id":   plan.PriceID,
	}
	params := &stripe.PaymentLinkCreateParams{
		LineItems: []*stripe.PaymentLinkCreateLineItemParams{
			{Price: stripe.String(plan.PriceID), Quantity: stripe.Int64(1)},
		},
		Metadata: metadata,
		PaymentIntentData: &stripe.PaymentLinkCreatePaymentIntentDataParams{
			Metadata:                  metadata,
			Description:               stripe.String(Description(d, plan)),
			StatementDescriptorSuffix: StatementSuffix(d),
		},
		PaymentMethodTypes: stripe.StringSlice([]string{"card"}), // which brings the wallets; others may pay days later
		InactiveMessage: stripe.String(
			"This machine is not for sale through this link any more. Please scan the sticker on the machine again.",
		),
	}
	if s.Manual {
		metadata["capture"] = captureManual // on the link and on its intents: it is one map
		params.PaymentIntentData.CaptureMethod = stripe.String(captureManual)
	}
	if n.ReturnURL != "" {
		params.AfterCompletion = &stripe.PaymentLinkCreateAfterCompletionParams{Type: stripe.String("redirect"),
			Redirect: &stripe.PaymentLinkCreateAfterCompletionRedirectParams{URL: stripe.String(n.ReturnURL)}}
	}
	params.Metadata = signedBy(n.SignedBy, metadata)
	link, err := createObject(ctx, s, "/v1/payment_links", params, n.IdempotencyKey, DecodeLink)
	if err != nil {
		return ledger.Link{}, err
	}
	record := linkRecord(link)
	record.Plan, record.ReturnURL = plan, n.ReturnURL
	return record, nil
}

// UpdateLink makes a link active or not, and sets its return URL. Price, currency and capture
// method cannot be changed.
func (s *Client) UpdateLink(ctx context.Context, link ledger.Link) error {
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
		params.AfterCompletion = &stripe.PaymentLinkUpdateAfterCompletionParams{
			Type: stripe.String("hosted_confirmation"),
		}
	}
	_, err := s.raw.Post(ctx, "/v1/payment_links/"+link.ID, params, "")
	return s.outcome(err)
}
