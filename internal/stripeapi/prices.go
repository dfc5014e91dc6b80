package stripeapi

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// price holds the fields of a price that notepay uses.
type price struct {
	ID              string            `json:"id"`
	Active          bool              `json:"active"`
	Nickname        optional          `json:"nickname"`
	Currency        string            `json:"currency"`
	UnitAmount      *int64            `json:"unit_amount"` // null: a fraction, or not fixed
	BillingScheme   optional          `json:"billing_scheme"`
	Recurring       *json.RawMessage  `json:"recurring"`
	CustomAmount    *json.RawMessage  `json:"custom_unit_amount"`
	Transform       quantityTransform `json:"transform_quantity"`
	Metadata        metadataMap       `json:"metadata"`
	Product         product           `json:"product"`
	CurrencyOptions currencyOptions   `json:"currency_options"`
}

// quantityTransform says whether Stripe divides the quantity and rounds it down, so that one unit
// costs nothing. Another shape counts as no division.
type quantityTransform struct{ free bool }

// UnmarshalJSON implements json.Unmarshaler.
func (q *quantityTransform) UnmarshalJSON(text []byte) error {
	var object struct {
		DivideBy int64    `json:"divide_by"`
		Round    optional `json:"round"`
	}
	*q = quantityTransform{}
	if json.Unmarshal(text, &object) == nil {
		q.free = object.DivideBy > 1 && object.Round == "down"
	}
	return nil
}

// currencyOptions are a price's amounts in other currencies. Another shape counts as none.
type currencyOptions map[string]currencyOption

// UnmarshalJSON implements json.Unmarshaler.
func (c *currencyOptions) UnmarshalJSON(text []byte) error {
	var options map[string]currencyOption
	*c = nil
	if json.Unmarshal(text, &options) == nil {
		*c = options
	}
	return nil
}

// currencyOption holds a price's amount in another currency. Another shape counts as none.
type currencyOption struct{ unitAmount *int64 }

// UnmarshalJSON implements json.Unmarshaler.
func (c *currencyOption) UnmarshalJSON(text []byte) error {
	var option struct {
		UnitAmount *int64 `json:"unit_amount"`
	}
	*c = currencyOption{}
	if json.Unmarshal(text, &option) == nil {
		c.unitAmount = option.UnitAmount
	}
	return nil
}

// product holds the fields of a price's product that notepay uses. Each field may have any shape. A
// product counts as archived only if Stripe clearly says so.
type product struct {
	name, description, image string
	archived                 bool // or deleted
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *product) UnmarshalJSON(text []byte) error {
	var object struct {
		Name        optional        `json:"name"`
		Description optional        `json:"description"`
		Images      json.RawMessage `json:"images"`
		Active      json.RawMessage `json:"active"`
		Deleted     json.RawMessage `json:"deleted"`
	}
	*p = product{}
	if json.Unmarshal(text, &object) != nil {
		return nil // an id that was not expanded
	}
	p.name, p.description = string(object.Name), string(object.Description)
	p.archived = string(object.Active) == "false" || string(object.Deleted) == "true"
	var images []optional
	if json.Unmarshal(object.Images, &images) == nil && len(images) > 0 {
		p.image = string(images[0])
	}
	return nil
}

// decodePrice decodes a price.
func decodePrice(text []byte) (p price, err error) {
	err = decode("price", text, &p)
	p.Currency = strings.ToLower(p.Currency)
	return p, withID("price", p.ID, err)
}

// options returns the amounts in other currencies as payment.Offer keeps them: "gbp=300,usd=400".
func (p price) options() string {
	var options []string
	for currency, option := range p.CurrencyOptions {
		if option.unitAmount != nil && currency != p.Currency && !strings.ContainsAny(currency, "=,") {
			options = append(options, fmt.Sprintf("%s=%d", currency, *option.unitAmount))
		}
	}
	slices.Sort(options)
	return strings.Join(options, ",")
}

// Offer reads a price. The outcome upstream.Rejected means that the price cannot be sold: it is
// missing, inactive or recurring, or its metadata cannot be read.
func (s *Client) Offer(ctx context.Context, priceID string) (payment.Offer, error) {
	if err := s.waitFor(ctx, priceID, "price_"); err != nil {
		return payment.Offer{}, err
	}
	query := url.Values{"expand[]": {"product", "currency_options"}}
	price, err := readObject(ctx, s, "/v1/prices/"+priceID, query, decodePrice)
	if err != nil {
		return payment.Offer{}, err
	}
	rejected := func(why string) (payment.Offer, error) {
		return payment.Offer{}, &upstream.Error{
			Outcome: upstream.Rejected,
			Status:  200,
			Detail:  "price " + priceID + " " + why,
		}
	}
	switch {
	case !price.Active || price.Product.archived:
		return rejected("is not active, or of a product that was archived")
	case price.Recurring != nil:
		return rejected("is recurring: machines need a one-time price")
	case price.BillingScheme == "tiered" || price.CustomAmount != nil:
		return rejected("has no fixed amount")
	case price.Transform.free:
		return rejected("divides the quantity and rounds down, so one unit costs nothing")
	case price.UnitAmount == nil:
		return rejected("has a fraction of the smallest unit as its amount")
	case *price.UnitAmount < 0 || *price.UnitAmount > maxAmount:
		return rejected("has an impossible amount")
	}
	plan := payment.Offer{
		PriceID:         priceID,
		Name:            cmp.Or(string(price.Nickname), price.Product.name),
		Description:     price.Product.description,
		Image:           price.Product.image,
		Amount:          *price.UnitAmount,
		Currency:        price.Currency,
		CurrencyOptions: price.options(),
	}
	if err := price.Metadata.describe(&plan); err != nil {
		return rejected(err.Error())
	}
	return plan, nil
}
