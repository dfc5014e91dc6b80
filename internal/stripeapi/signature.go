package stripeapi

import (
	"context"
	"maps"

	"github.com/stripe/stripe-go/v82"
)

// SignLink writes a process's signature on a link and changes nothing else of it.
func (s *Client) SignLink(ctx context.Context, id, process string) error {
	if err := s.readyFor(ctx, id, "plink_"); err != nil {
		return err
	}
	params := &stripe.PaymentLinkUpdateParams{Metadata: signature(process)}
	_, err := s.raw.Post(ctx, "/v1/payment_links/"+id, params, "")
	return s.outcome(err)
}

// signature returns the metadata that signs a link, nil if no process signs it. Stripe keeps the
// link's other metadata.
func signature(process string) map[string]string {
	if process == "" {
		return nil
	}
	return map[string]string{Signature: process}
}

// signedBy returns the metadata of a new link with the signature of the process that makes it. The
// link's payment intents do not carry the signature.
func signedBy(process string, metadata map[string]string) map[string]string {
	signed := signature(process)
	if signed == nil {
		return metadata
	}
	maps.Copy(signed, metadata)
	return signed
}
