// Package setup creates at Stripe what notepay needs there, for `notepay setup`.
//
// It promises to create nothing twice, also after a run that was interrupted, and to replace no
// setting without the operator's consent. It does not know whether the settings work, which package
// check finds out.
package setup

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/check"
	"notepay/internal/fleet"
	"notepay/internal/stripeapi"
	"notepay/internal/web"
)

// Config configures Run. All fields are required.
type Config struct {
	Stripe    *stripe.Client
	Livemode  bool      // of the Stripe key
	PublicURL string    // https://..., without a trailing slash
	EnvFile   string    // the settings file; it need not exist
	In        io.Reader // the operator's answers, one a line; its end means no
	Out       io.Writer

	detailed bool // newPrice also asks for a duration and an access code
}

// Run finds or creates a product with a price and the webhook endpoint. It then offers to write
// them to EnvFile.
//
// Run recognizes its objects by the metadata app=notepay. So a repeated run creates nothing twice,
// and an interrupted one continues where it stopped. The error is worded for the operator.
func Run(ctx context.Context, c Config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d := newDialogue(ctx, c.In, c.Out)
	if c.Livemode {
		d.say("This is a live key. What setup makes now takes real money.")
	}
	prices, err := c.prices(ctx, d)
	if err != nil {
		return err
	}
	found := []setting{{"STRIPE_PRICE_ID", strings.Join(prices, ","), false}}
	secret, err := c.endpoint(ctx, d)
	if err != nil {
		return err
	}
	if secret != "" {
		found = append(found, setting{"STRIPE_WEBHOOK_SECRET", secret, true})
	}
	if err := offer(d, c.EnvFile, found); err != nil {
		return err
	}
	d.say("Run notepay check to see what is still missing.")
	return d.err
}

// ours returns the metadata of every object that setup creates.
func ours() map[string]string { return map[string]string{"app": stripeapi.App} }

// stripeError returns an error with Stripe's message, if there is one. doing says what failed.
func stripeError(doing string, err error) error {
	hint := ""
	if check.PermissionMissing(err) {
		hint = " (setup needs a key that may write Products, Prices and Webhook Endpoints; " +
			"notepay itself then runs with less)"
	}
	return fmt.Errorf("%s: Stripe says: %s%s", doing, check.Explain(err), hint)
}

// prices returns the prices that an earlier run created, the oldest first. If there are none it
// creates one.
func (c Config) prices(ctx context.Context, d *dialog) (ids []string, err error) {
	var product *stripe.Product
	// Stripe's search would find a new product only after a while.
	list := &stripe.ProductListParams{
		Active:     stripe.Bool(true),
		ListParams: stripe.ListParams{Limit: stripe.Int64(100)},
	}
	for p, err := range c.Stripe.V1Products.List(ctx, list) {
		if err != nil {
			return nil, stripeError("list the products", err)
		}
		if p.Metadata["app"] != stripeapi.App {
			continue
		}
		product = p
		listed := &stripe.PriceListParams{
			Product:    stripe.String(p.ID),
			Active:     stripe.Bool(true),
			Type:       stripe.String(string(stripe.PriceTypeOneTime)),
			ListParams: stripe.ListParams{Limit: stripe.Int64(100)},
		}
		for price, err := range c.Stripe.V1Prices.List(ctx, listed) {
			if err != nil {
				return nil, stripeError("list the prices", err)
			}
			if price.Metadata["app"] == stripeapi.App {
				ids = append(ids, price.ID)
				amount := web.Amount(price.UnitAmount, string(price.Currency))
				d.say("Price    %s of %q, %s, exists already.", price.ID, p.Name, amount)
			}
		}
	}
	if len(ids) > 0 {
		slices.Reverse(ids)
		return ids, nil
	}
	return c.newPrice(ctx, d, product)
}

// minorUnits parses an amount with all of the currency's decimals, such as 3.50. It rejects an
// amount without them, because 350 may mean 3.50.
func minorUnits(text string, digits int) (int64, bool) {
	whole, part, _ := strings.Cut(strings.Replace(text, ",", ".", 1), ".")
	if len(part) != digits || strings.ContainsAny(text, "+-") {
		return 0, false
	}
	n, err := strconv.ParseInt(whole+part, 10, 64)
	return n, err == nil
}

var currencyCode = regexp.MustCompile(`^[A-Za-z]{3}$`)

// newPrice asks the operator for a price and creates it. It also creates the product, unless an
// interrupted run has left one.
func (c Config) newPrice(ctx context.Context, d *dialog, product *stripe.Product) ([]string, error) {
	var name string
	var err error
	if product == nil {
		if name, err = d.ask("What do customers buy (Warm wash)?", func(string) string { return "" }); err != nil {
			return nil, err
		}
	}
	currency, err := d.ask("In which currency (eur)?", func(s string) string {
		if !currencyCode.MatchString(s) {
			return "Enter three letters, such as eur or usd."
		}
		return ""
	})
	if err != nil {
		return nil, err
	}
	currency = strings.ToLower(currency)
	example := web.Figure(350, currency)
	amount := int64(0)
	_, err = d.ask("What does it cost ("+example+")?", func(s string) string {
		n, ok := minorUnits(s, web.Digits(currency))
		if !ok || n <= 0 {
			return "Enter an amount above 0 and written like " + example + "."
		}
		amount = n
		if why := fleet.BelowMinimum(n, currency); why != "" {
			return "Stripe does not charge this: " + why + "."
		}
		return ""
	})
	if err != nil {
		return nil, err
	}
	metadata := ours()
	if c.detailed {
		if err := askMetadata(d, metadata); err != nil {
			return nil, err
		}
	}
	if product == nil {
		// If the process stops after this, the next run finds the product and creates the price.
		params := &stripe.ProductCreateParams{Name: stripe.String(name), Metadata: ours()}
		if product, err = c.Stripe.V1Products.Create(ctx, params); err != nil {
			return nil, stripeError("create the product", err)
		}
	}
	price, err := c.Stripe.V1Prices.Create(ctx, &stripe.PriceCreateParams{
		Product:    stripe.String(product.ID),
		UnitAmount: stripe.Int64(amount),
		Currency:   stripe.String(currency),
		Metadata:   metadata,
	})
	if err != nil {
		return nil, stripeError("create the price", err)
	}
	d.say("Price    %s of %q, %s, was created.", price.ID, product.Name, web.Amount(amount, currency))
	return []string{price.ID}, nil
}

// askMetadata asks for what a price says in its metadata, and adds it.
func askMetadata(d *dialog, metadata map[string]string) error {
	const question = "How long does the machine run (45m; Enter: it keeps its own time)?"
	length, err := d.askOr("", question, func(s string) string {
		if length, err := time.ParseDuration(s); err != nil || length <= 0 || length > maxDuration {
			return "Enter a duration such as 90s, 45m or 2h, at most " + maxDuration.String() + "."
		}
		return ""
	})
	if err != nil {
		return err
	}
	if length != "" {
		metadata["duration"] = length
	}
	code, err := d.agrees("Does it open a door, so that customers need a code?")
	if code {
		metadata["access_code"] = "true"
	}
	return err
}

// maxDuration is the longest duration of a price that notepay sells.
const maxDuration = 30 * 24 * time.Hour

// endpoint creates the webhook endpoint and returns its secret. If there is one already it returns
// "", because Stripe shows a secret only once.
func (c Config) endpoint(ctx context.Context, d *dialog) (secret string, err error) {
	if check.Loopback(c.PublicURL) {
		d.say(
			"Webhook  PUBLIC_URL is this host, which Stripe cannot reach. " +
				"Run stripe listen: it forwards events to this host and prints their secret.",
		)
		return "", nil
	}
	endpoints, err := check.Endpoints(ctx, c.Stripe, c.PublicURL)
	if err != nil {
		return "", stripeError("list the webhook endpoints", err)
	}
	if len(endpoints) > 0 {
		return "", c.repair(ctx, d, endpoints)
	}
	made, err := c.Stripe.V1WebhookEndpoints.Create(ctx, &stripe.WebhookEndpointCreateParams{
		URL:           stripe.String(c.PublicURL + check.WebhookPaths()[0]),
		APIVersion:    stripe.String(stripe.APIVersion),
		EnabledEvents: stripe.StringSlice(stripeapi.EventTypes()),
		Description:   stripe.String("notepay"),
		Metadata:      ours(),
	})
	if err != nil {
		return "", stripeError("create the webhook endpoint", err)
	}
	d.say("Webhook  %s for %s was created. Stripe shows its secret only once:\n\n  STRIPE_WEBHOOK_SECRET=%s\n",
		made.ID, made.URL, made.Secret)
	return made.Secret, nil
}

// repair makes sure that one of the endpoints sends every event that notepay uses. It changes only
// an endpoint that setup created.
func (c Config) repair(ctx context.Context, d *dialog, endpoints []*stripe.WebhookEndpoint) error {
	best := endpoints[0]
	for _, e := range endpoints {
		if e.Metadata["app"] == stripeapi.App {
			best = e
		}
	}
	for _, e := range endpoints {
		if check.Endpoint(e).State == check.OK {
			best = e
		}
	}
	problem := check.Endpoint(best)
	switch {
	case problem.State == check.OK:
		d.say("Webhook  %s for %s exists already. Its secret is at %s.",
			best.ID, best.URL, check.DashboardWebhooks)
	case best.Metadata["app"] != stripeapi.App:
		d.say("Webhook  %s stays as it is, because setup did not create it, but %s -> %s",
			best.URL, problem.Detail, problem.Remedy)
	default:
		params := &stripe.WebhookEndpointUpdateParams{
			Disabled:      stripe.Bool(false),
			EnabledEvents: stripe.StringSlice(append(check.MissingEvents(best), best.EnabledEvents...)),
		}
		if _, err := c.Stripe.V1WebhookEndpoints.Update(ctx, best.ID, params); err != nil {
			return stripeError("update the webhook endpoint", err)
		}
		d.say("Webhook  %s for %s now sends all events that notepay uses.", best.ID, best.URL)
	}
	return nil
}
