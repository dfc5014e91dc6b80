package check

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/fleet"
	"notepay/internal/stripeapi"
	"notepay/internal/web"
)

// SetupConfig is what Setup needs.
type SetupConfig struct {
	Stripe    *stripe.Client
	Livemode  bool      // of its key
	PublicURL string    // https://..., without a slash at its end
	EnvFile   string    // where the settings are kept; it need not exist
	In        io.Reader // the operator's answers, a line each; its end means no
	Out       io.Writer
}

// Setup finds or makes at Stripe what notepay needs there: a product with a price, and the webhook
// endpoint. It knows what it made by the metadata app=notepay, so that a run which was cut off goes
// on where it stopped, and a second one makes nothing twice. It then offers to write to EnvFile
// what it found. Its error is in words for the operator.
func Setup(ctx context.Context, c SetupConfig) error {
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

// ours is the metadata of all that is made here.
func ours() map[string]string { return map[string]string{"app": stripeapi.App} }

// saidNo is an error that is in Stripe's words where there are any.
func saidNo(doing string, err error) error {
	hint := ""
	if permissionMissing(err) {
		hint = " (setup needs a key that may write Products, Prices and Webhook Endpoints; notepay itself then " +
			"runs with less)"
	}
	return fmt.Errorf("%s: Stripe says: %s%s", doing, words(err), hint)
}

// prices returns the prices that an earlier run made, or makes one.
func (c SetupConfig) prices(ctx context.Context, d *dialogue) (ids []string, err error) {
	var product *stripe.Product
	// Not by Stripe's search, which finds what was made just now only after a while.
	list := &stripe.ProductListParams{
		Active:     stripe.Bool(true),
		ListParams: stripe.ListParams{Limit: stripe.Int64(100)},
	}
	for p, err := range c.Stripe.V1Products.List(ctx, list) {
		if err != nil {
			return nil, saidNo("list the products", err)
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
				return nil, saidNo("list the prices", err)
			}
			if price.Metadata["app"] == stripeapi.App {
				ids = append(ids, price.ID)
				d.say(
					"Price    %s of %q, %s, exists already.",
					price.ID,
					p.Name,
					web.Amount(price.UnitAmount, string(price.Currency)),
				)
			}
		}
	}
	if len(ids) > 0 {
		slices.Reverse(ids) // the oldest first
		return ids, nil
	}
	return c.newPrice(ctx, d, product)
}

// minorUnits reads an amount that is written with all of the currency's digits, such as 3.50. An
// amount without them is refused, because 350 may mean 3.50.
func minorUnits(text string, digits int) (int64, bool) {
	whole, part, _ := strings.Cut(strings.Replace(text, ",", ".", 1), ".")
	if len(part) != digits || strings.ContainsAny(text, "+-") {
		return 0, false
	}
	n, err := strconv.ParseInt(whole+part, 10, 64)
	return n, err == nil
}

var currencyCode = regexp.MustCompile(`^[A-Za-z]{3}$`)

// newPrice asks what is to be sold, and makes the price; also the product, unless there is one that
// a run which was cut off has made.
func (c SetupConfig) newPrice(ctx context.Context, d *dialogue, product *stripe.Product) ([]string, error) {
	name, err := "", error(nil)
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
	if product == nil {
		// If we stop after this, the next run finds the product and makes the price.
		if product, err = c.Stripe.V1Products.Create(ctx, &stripe.ProductCreateParams{Name: stripe.String(name), Metadata: ours()}); err != nil {
			return nil, saidNo("create the product", err)
		}
	}
	price, err := c.Stripe.V1Prices.Create(
		ctx,
		&stripe.PriceCreateParams{Product: stripe.String(product.ID), UnitAmount: stripe.Int64(amount),
			Currency: stripe.String(currency), Metadata: ours()},
	)
	if err != nil {
		return nil, saidNo("create the price", err)
	}
	d.say("Price    %s of %q, %s, was created.", price.ID, product.Name, web.Amount(amount, currency))
	return []string{price.ID}, nil
}

// endpoint makes the webhook endpoint, and returns its secret; "" for one that is there already.
func (c SetupConfig) endpoint(ctx context.Context, d *dialogue) (secret string, err error) {
	if onThisMachine(c.PublicURL) {
		d.say(
			"Webhook  PUBLIC_URL is this host, which Stripe cannot reach. " +
				"Run stripe listen: it forwards events to this host and prints their secret.",
		)
		return "", nil
	}
	endpoints, err := listEndpoints(ctx, c.Stripe, c.PublicURL)
	if err != nil {
		return "", saidNo("list the webhook endpoints", err)
	}
	if len(endpoints) > 0 {
		return "", c.mend(ctx, d, endpoints)
	}
	made, err := c.Stripe.V1WebhookEndpoints.Create(
		ctx,
		&stripe.WebhookEndpointCreateParams{URL: stripe.String(c.PublicURL + webhookPaths()[0]),
			APIVersion: stripe.String(stripe.APIVersion), EnabledEvents: stripe.StringSlice(stripeapi.EventTypes()),
			Description: stripe.String("notepay"), Metadata: ours()},
	)
	if err != nil {
		return "", saidNo("create the webhook endpoint", err)
	}
	d.say(
		"Webhook  %s for %s was created. Stripe shows its secret only once:\n\n  STRIPE_WEBHOOK_SECRET=%s\n",
		made.ID,
		made.URL,
		made.Secret,
	)
	return made.Secret, nil
}

// mend sees that one of the endpoints sends all that is followed. One that somebody else made is
// left alone.
func (c SetupConfig) mend(ctx context.Context, d *dialogue, endpoints []*stripe.WebhookEndpoint) error {
	best := endpoints[0]
	for _, e := range endpoints {
		if e.Metadata["app"] == stripeapi.App {
			best = e
		}
	}
	for _, e := range endpoints {
		if endpointProblem(e).State == OK {
			best = e
		}
	}
	problem := endpointProblem(best)
	switch {
	case problem.State == OK:
		d.say("Webhook  %s for %s exists already. Its secret is at %s.", best.ID, best.URL, dashboardWebhooks)
	case best.Metadata["app"] != stripeapi.App:
		d.say("Webhook  %s stays as it is, because setup did not create it, but %s -> %s",
			best.URL, problem.Detail, problem.Remedy)
	default:
		if _, err := c.Stripe.V1WebhookEndpoints.Update(ctx, best.ID, &stripe.WebhookEndpointUpdateParams{Disabled: stripe.Bool(false),
			EnabledEvents: stripe.StringSlice(append(missingEvents(best), best.EnabledEvents...))}); err != nil {
			return saidNo("update the webhook endpoint", err)
		}
		d.say("Webhook  %s for %s now sends all events that notepay uses.", best.ID, best.URL)
	}
	return nil
}
