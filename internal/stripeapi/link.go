package stripeapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Signature is the metadata key of a Payment Link that holds which process signed it last.
const Signature = "installation"

// Link is what is used of a Payment Link.
type Link struct {
	ID              string            `json:"id"`
	URL             string            `json:"url"`
	Active          bool              `json:"active"`
	Livemode        bool              `json:"livemode"`
	Metadata        map[string]string `json:"metadata"`
	AfterCompletion after             `json:"after_completion"`
	Restrictions    restrictions      `json:"restrictions"`
}

// after is where a link leads when it was paid. Another shape counts as none, and is then set
// again.
type after struct{ ReturnURL string }

// UnmarshalJSON implements json.Unmarshaler.
func (a *after) UnmarshalJSON(text []byte) error {
	var completion struct {
		Redirect struct {
			URL Text `json:"url"`
		} `json:"redirect"`
	}
	*a = after{}
	if json.Unmarshal(text, &completion) == nil {
		a.ReturnURL = string(completion.Redirect.URL)
	}
	return nil
}

// DecodeLink reads a Payment Link.
func DecodeLink(text []byte) (l Link, err error) {
	err = decode("link", text, &l)
	if err = withID("link", l.ID, err); err == nil && l.URL == "" {
		err = &Odd{Kind: "link", ID: l.ID, Field: "url", Err: errors.New("there is no url")}
	}
	return l, err
}

// Price is what is used of a price.
type Price struct {
	ID              string                    `json:"id"`
	Active          bool                      `json:"active"`
	Nickname        Text                      `json:"nickname"`
	Currency        string                    `json:"currency"`
	UnitAmount      *int64                    `json:"unit_amount"` // null: a fraction, or not fixed
	BillingScheme   Text                      `json:"billing_scheme"`
	Recurring       *json.RawMessage          `json:"recurring"`
	CustomAmount    *json.RawMessage          `json:"custom_unit_amount"`
	Metadata        map[string]string         `json:"metadata"`
	Product         product                   `json:"product"`
	CurrencyOptions map[string]currencyOption `json:"currency_options"`
}

// currencyOption is a price in another currency. One in a shape that is not used is left out.
type currencyOption struct{ UnitAmount *int64 }

// UnmarshalJSON implements json.Unmarshaler.
func (c *currencyOption) UnmarshalJSON(text []byte) error {
	var option struct {
		UnitAmount *int64 `json:"unit_amount"`
	}
	*c = currencyOption{}
	if json.Unmarshal(text, &option) == nil {
		c.UnitAmount = option.UnitAmount
	}
	return nil
}

// product is what is used of a price's product. Each field may have any shape: one that says
// neither yes nor no is not archived.
type product struct {
	Name, Description, Image string
	Archived                 bool // or deleted
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *product) UnmarshalJSON(text []byte) error {
	var object struct {
		Name        Text            `json:"name"`
		Description Text            `json:"description"`
		Images      json.RawMessage `json:"images"`
		Active      json.RawMessage `json:"active"`
		Deleted     json.RawMessage `json:"deleted"`
	}
	*p = product{}
	if json.Unmarshal(text, &object) != nil {
		return nil // its id alone
	}
	p.Name, p.Description = string(object.Name), string(object.Description)
	p.Archived = string(object.Active) == "false" || string(object.Deleted) == "true"
	var images []Text
	if json.Unmarshal(object.Images, &images) == nil && len(images) > 0 {
		p.Image = string(images[0])
	}
	return nil
}

// DecodePrice reads a price.
func DecodePrice(text []byte) (p Price, err error) {
	err = decode("price", text, &p)
	return p, withID("price", p.ID, err)
}

// Options returns what the price costs in other currencies, as ledger.Plan keeps it:
// "gbp=300,usd=400".
func (p Price) Options() string {
	var options []string
	for currency, option := range p.CurrencyOptions {
		if option.UnitAmount != nil && currency != p.Currency && !strings.ContainsAny(currency, "=,") {
			options = append(options, fmt.Sprintf("%s=%d", currency, *option.UnitAmount))
		}
	}
	slices.Sort(options)
	return strings.Join(options, ",")
}
