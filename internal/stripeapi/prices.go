package stripeapi

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"notepay/internal/payment"
	"notepay/internal/terms"
	"notepay/internal/upstream"
)

// Offer reads a price. upstream.Refused means that it cannot be sold: missing, inactive or
// recurring.
func (s *Client) Offer(ctx context.Context, priceID string) (payment.Offer, error) {
	if err := s.readyFor(ctx, priceID, "price_"); err != nil {
		return payment.Offer{}, err
	}
	query := url.Values{"expand[]": {"product", "currency_options"}}
	price, err := readObject(ctx, s, "/v1/prices/"+priceID, query, DecodePrice)
	if err != nil {
		return payment.Offer{}, err
	}
	refused := func(why string) (payment.Offer, error) {
		return payment.Offer{}, &upstream.Error{
			Outcome: upstream.Rejected,
			Status:  200,
			Detail:  "price " + priceID + " " + why,
		}
	}
	switch {
	case !price.Active || price.Product.Archived:
		return refused("is not active, or of a product that was archived")
	case price.Recurring != nil:
		return refused("is recurring: machines need a one-time price")
	case price.BillingScheme == "tiered" || price.CustomAmount != nil:
		return refused("has no fixed amount")
	case price.UnitAmount == nil:
		return refused("has a fraction of the smallest unit as its amount")
	}
	plan := payment.Offer{
		PriceID:         priceID,
		Name:            cmp.Or(string(price.Nickname), price.Product.Name),
		Description:     price.Product.Description,
		Image:           price.Product.Image,
		Amount:          *price.UnitAmount,
		Currency:        price.Currency,
		CurrencyOptions: price.Options(),
	}
	if text := strings.TrimSpace(price.Metadata["access_code"]); text != "" {
		var ok bool
		if plan.AccessCode, ok = terms.Switch(text); !ok {
			return refused(fmt.Sprintf("has metadata access_code=%q, which is neither true nor false", text))
		}
	}
	if plan.Duration, err = metadataDuration(price.Metadata, "duration"); err != nil {
		return refused(err.Error())
	}
	if plan.DelayedStart, err = metadataDuration(price.Metadata, "delayed_start"); err != nil {
		return refused(err.Error())
	}
	return plan, nil
}

// metadataDuration reads a duration such as 30m from a price's metadata, in whole seconds; 0 if
// there is none.
func metadataDuration(metadata map[string]string, key string) (time.Duration, error) {
	text := strings.TrimSpace(metadata[key])
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > 30*24*time.Hour {
		return 0, fmt.Errorf("has metadata %s=%q, which is no duration such as 30m", key, text)
	}
	return d.Round(time.Second), nil
}
