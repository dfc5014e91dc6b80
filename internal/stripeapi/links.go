package stripeapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/uid"
)

// signatureKey is the metadata key of a Payment Link that holds which process signed it last.
const signatureKey = "installation"

// paymentLink holds the fields of a Payment Link that notepay uses.
type paymentLink struct {
	ID              string          `json:"id"`
	URL             string          `json:"url"`
	Active          bool            `json:"active"`
	Livemode        bool            `json:"livemode"`
	Metadata        metadataMap     `json:"metadata"`
	AfterCompletion afterCompletion `json:"after_completion"`
	Restrictions    restrictions    `json:"restrictions"`
	PromotionCodes  isTrue          `json:"allow_promotion_codes"`
}

// afterCompletion holds where a link leads after the payment. Another shape counts as nowhere, so
// that the fleet sets it again.
type afterCompletion struct{ returnURL string }

// UnmarshalJSON implements json.Unmarshaler.
func (a *afterCompletion) UnmarshalJSON(text []byte) error {
	var completion struct {
		Redirect struct {
			URL optional `json:"url"`
		} `json:"redirect"`
	}
	*a = afterCompletion{}
	if json.Unmarshal(text, &completion) == nil {
		a.returnURL = string(completion.Redirect.URL)
	}
	return nil
}

// restrictions hold how many payments a link has taken and may take. Another shape counts as no
// limit.
type restrictions struct{ taken, limit int64 }

// UnmarshalJSON implements json.Unmarshaler.
func (r *restrictions) UnmarshalJSON(text []byte) error {
	var object struct {
		CompletedSessions struct {
			Count int64 `json:"count"`
			Limit int64 `json:"limit"`
		} `json:"completed_sessions"`
	}
	*r = restrictions{}
	if json.Unmarshal(text, &object) == nil {
		r.taken, r.limit = object.CompletedSessions.Count, object.CompletedSessions.Limit
	}
	return nil
}

// decodeLink decodes a Payment Link.
func decodeLink(text []byte) (l paymentLink, err error) {
	err = decode("link", text, &l)
	if err = withID("link", l.ID, err); err == nil && l.URL == "" {
		err = &oddRecord{kind: "link", id: l.ID, field: "url", err: errors.New("there is no url")}
	}
	return l, err
}

// state returns whether a link takes payments, whether Stripe limits their number, and why it takes
// none. Stripe may still call a link active that has taken all payments of its limit.
func (l paymentLink) state() (payable, limited bool, why string) {
	limited = l.Restrictions.limit > 0
	switch {
	case limited && l.Restrictions.taken >= l.Restrictions.limit:
		return false, true, fmt.Sprintf(
			"its Payment Link %s was limited to %d payments in Stripe's Dashboard: raise the limit there to sell again",
			l.ID,
			l.Restrictions.limit,
		)
	case !l.Active:
		return false, limited, "its Payment Link " + l.ID +
			" was deactivated in Stripe's Dashboard: activate it there to sell again"
	}
	return true, limited, ""
}

// record converts a link into the ledger's record.
func (l paymentLink) record() ledger.Link {
	r := ledger.Link{
		ID:        l.ID,
		Livemode:  l.Livemode,
		DeviceUID: uid.Key(l.Metadata["device_uid"]),
		URL:       l.URL,
		ReturnURL: l.AfterCompletion.returnURL,
		Plan:      payment.Offer{PriceID: l.Metadata["price_id"]},
		Manual:    l.Metadata["capture"] == captureManual,
		SignedBy:  cmp.Or(l.Metadata[signatureKey], ledger.Unsigned),

		PromotionCodes: bool(l.PromotionCodes),
	}
	r.Active, r.Limited, r.Closed = l.state()
	return r
}

// Link reads a link. The outcome upstream.Rejected means that this account has no such link.
func (s *Client) Link(ctx context.Context, id string) (ledger.Link, error) {
	if err := s.waitFor(ctx, id, "plink_"); err != nil {
		return ledger.Link{}, err
	}
	link, err := readObject(ctx, s, "/v1/payment_links/"+id, nil, decodeLink)
	return link.record(), err
}

// Links lists the active links that this project made, oldest first. Stripe lists the newest first
// and cannot search by metadata.
func (s *Client) Links(ctx context.Context) (links []ledger.Link, err error) {
	var odd []string
	for after, more := "", true; more; {
		if err := s.wait(ctx); err != nil { // each page is a call and waits for its own slot
			return nil, err
		}
		page, err := s.readPage(ctx, "/v1/payment_links", url.Values{"active": {"true"}}, after)
		if err != nil {
			return nil, fmt.Errorf("page after %q: %w", after, err)
		}
		for _, record := range page.records {
			link, err := decodeLink(record)
			if err != nil {
				odd = append(odd, nameOf(err))
				continue
			}
			if link.Metadata["app"] == App && link.Metadata["project"] == s.config.Project &&
				link.Metadata["device_uid"] != "" {
				links = append(links, link.record())
			}
		}
		after, more = page.last, page.more
	}
	s.Odd("Stripe's payment links", odd)
	slices.Reverse(links)
	return links, nil
}

// CreateLink creates the Payment Link of a device and plan. Stripe copies the link's metadata to
// its sessions. The PaymentIntent carries them too, for the events that come without a session.
func (s *Client) CreateLink(ctx context.Context, n fleet.NewLink) (ledger.Link, error) {
	d, plan := n.Device, n.Plan
	if err := s.waitFor(ctx, plan.PriceID, "price_"); err != nil {
		return ledger.Link{}, err
	}
	metadata := s.purchaseMetadata(d, plan)
	params := &stripe.PaymentLinkCreateParams{
		LineItems: []*stripe.PaymentLinkCreateLineItemParams{
			{Price: stripe.String(plan.PriceID), Quantity: stripe.Int64(1)},
		},
		Metadata: signedMetadata(n.SignedBy, metadata),
		PaymentIntentData: &stripe.PaymentLinkCreatePaymentIntentDataParams{
			Metadata:                  metadata,
			Description:               stripe.String(description(d, plan)),
			StatementDescriptorSuffix: StatementSuffix(d),
		},
		PaymentMethodTypes: paymentMethods(),
		InactiveMessage: stripe.String("This machine is not for sale through this link any more. " +
			"Please scan the sticker on the machine again."),
	}
	if s.config.Manual {
		params.PaymentIntentData.CaptureMethod = stripe.String(captureManual)
	}
	if n.PromotionCodes {
		params.AllowPromotionCodes = stripe.Bool(true)
	}
	if n.ReturnURL != "" {
		params.AfterCompletion = &stripe.PaymentLinkCreateAfterCompletionParams{
			Type:     stripe.String("redirect"),
			Redirect: &stripe.PaymentLinkCreateAfterCompletionRedirectParams{URL: stripe.String(n.ReturnURL)},
		}
	}
	if n.Text != "" {
		params.CustomText = &stripe.PaymentLinkCreateCustomTextParams{
			Submit: &stripe.PaymentLinkCreateCustomTextSubmitParams{Message: stripe.String(n.Text)},
		}
	}
	link, err := createObject(ctx, s, "/v1/payment_links", params, n.IdempotencyKey, decodeLink)
	if errors.Is(err, errText) {
		params.CustomText = nil
		link, err = createObject(ctx, s, "/v1/payment_links", params, n.IdempotencyKey+withoutText, decodeLink)
	}
	if err != nil {
		return ledger.Link{}, err
	}
	record := link.record()
	record.Plan, record.ReturnURL, record.TextSum = plan, n.ReturnURL, ledger.SumText(n.Text)
	record.PromotionCodes = n.PromotionCodes
	return record, nil
}

// UpdateLink activates or deactivates a link and signs it. Of an active one it sets the return URL, the
// text, and whether it takes promotion codes. An empty text or signature leaves the old one.
// Stripe does not allow changes of price, currency and capture method. UpdateLink returns the link's
// URL, or "" if the reply does not name it.
func (s *Client) UpdateLink(ctx context.Context, link ledger.Link, text string) (address string, err error) {
	if err := s.waitFor(ctx, link.ID, "plink_"); err != nil {
		return "", err
	}
	params := &stripe.PaymentLinkUpdateParams{
		Active:   stripe.Bool(link.Active),
		Metadata: signature(link.SignedBy),
	}
	switch {
	case !link.Active:
	case link.ReturnURL != "":
		params.AfterCompletion = &stripe.PaymentLinkUpdateAfterCompletionParams{
			Type:     stripe.String("redirect"),
			Redirect: &stripe.PaymentLinkUpdateAfterCompletionRedirectParams{URL: stripe.String(link.ReturnURL)},
		}
	default:
		params.AfterCompletion = &stripe.PaymentLinkUpdateAfterCompletionParams{
			Type: stripe.String("hosted_confirmation"),
		}
	}
	if link.Active {
		params.AllowPromotionCodes = stripe.Bool(link.PromotionCodes)
	}
	if link.Active && text != "" {
		params.CustomText = &stripe.PaymentLinkUpdateCustomTextParams{
			Submit: &stripe.PaymentLinkUpdateCustomTextSubmitParams{Message: stripe.String(text)},
		}
	}
	r, err := s.post(ctx, "/v1/payment_links/"+link.ID, params, "")
	if err = s.outcome(err); errors.Is(err, errText) {
		params.CustomText = nil
		r, err = s.post(ctx, "/v1/payment_links/"+link.ID, params, "")
		err = s.outcome(err)
	}
	if err != nil {
		return "", err
	}
	changed, _ := decodeLink(r.text) // what was changed is known without the reply
	return changed.URL, nil
}

// SignLink writes a process's signature on a link and changes nothing else.
func (s *Client) SignLink(ctx context.Context, id, process string) error {
	if err := s.waitFor(ctx, id, "plink_"); err != nil {
		return err
	}
	params := &stripe.PaymentLinkUpdateParams{Metadata: signature(process)}
	_, err := s.post(ctx, "/v1/payment_links/"+id, params, "")
	return s.outcome(err)
}

// signature returns the metadata that signs a link, or nil if process is "". Stripe keeps the
// link's other metadata.
func signature(process string) map[string]string {
	if process == "" {
		return nil
	}
	return map[string]string{signatureKey: process}
}

// signedMetadata returns the metadata of a new link with the signature of the process that creates
// it. The link's PaymentIntents do not carry the signature.
func signedMetadata(process string, metadata map[string]string) map[string]string {
	signed := signature(process)
	if signed == nil {
		return metadata
	}
	maps.Copy(signed, metadata)
	return signed
}
