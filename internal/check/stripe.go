package check

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/config"
	"notepay/internal/fleet"
	"notepay/internal/message"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// DashboardKeys is the page on which Stripe lists API keys.
const DashboardKeys = "https://dashboard.stripe.com/apikeys"

// secretFormat finds characters that enter a secret when it is copied. The settings were already
// checked for spaces.
func (r *run) secretFormat(context.Context) Result {
	s := r.Settings
	for name, secret := range map[string]config.Secret{
		"STRIPE_SECRET_KEY":     s.StripeSecretKey,
		"STRIPE_WEBHOOK_SECRET": s.StripeWebhookSecret,
		"NOTEHUB_CLIENT_ID":     config.Secret(s.NotehubClientID),
		"NOTEHUB_CLIENT_SECRET": s.NotehubClientSecret,
		"NOTEHUB_TOKEN":         s.NotehubToken,
	} {
		strange := strings.ContainsFunc(
			string(secret),
			func(c rune) bool { return c < ' ' || c > '~' || strings.ContainsRune("\"'`<>", c) },
		)
		if strange || strings.Contains(string(secret), "...") {
			r.damaged = append(r.damaged, name)
		}
	}
	if slices.Sort(r.damaged); len(r.damaged) > 0 {
		return failed(
			fix("copy the value again, complete and without quotation marks"),
			"%s: contains quotation marks, omission dots or invisible characters, which no such secret has",
			strings.Join(r.damaged, ", "),
		)
	}
	return ok("no quotation marks, omission dots or invisible characters")
}

// stripeKey lists one Payment Link, a call that the bridge also makes.
func (r *run) stripeKey(ctx context.Context) Result {
	if slices.Contains(r.damaged, "STRIPE_SECRET_KEY") {
		return skipped("the key is damaged")
	}
	err := first(r.Stripe.V1PaymentLinks.List(ctx, &stripe.PaymentLinkListParams{ListParams: one()}))
	switch code := status(err); {
	case err == nil, code == http.StatusForbidden, PermissionMissing(err):
		r.stripeWorks = true // Stripe knows the key; the next check is about its permissions
		if r.Settings.Livemode() {
			return ok("live key: real money moves")
		}
		return ok("test key: no money moves")
	case code == http.StatusUnauthorized:
		return failed(
			fix("copy the key from %s; a rolled or expired key does not work again", DashboardKeys),
			"Stripe says: %s",
			Explain(err),
		)
	case code == 0:
		return failed(
			fix("check that this host reaches %s (DNS, firewall, STRIPE_API_URL)", r.Settings.StripeAPIURL),
			"Stripe is not reached: %s",
			Explain(err),
		)
	default:
		return failed(fix("try again, and check https://status.stripe.com"),
			"Stripe says: %s (status %d)", Explain(err), code)
	}
}

// PermissionMissing reports whether Stripe knows the restricted key but rejected its permissions.
// Stripe then answers 401 or 403 and names the permission (docs/vendors.md, Q11).
func PermissionMissing(err error) bool {
	e, ok := errors.AsType[*stripe.Error](err)
	return ok && (e.HTTPStatusCode == http.StatusForbidden ||
		e.HTTPStatusCode == http.StatusUnauthorized && strings.Contains(e.Msg, "permission"))
}

// one limits a list to one object and one call.
func one() stripe.ListParams { return stripe.ListParams{Limit: stripe.Int64(1), Single: true} }

// first returns the error of a list's first object, or nil if the list is empty.
func first[T any](list stripe.Seq2[T, error]) error {
	for _, err := range list {
		return err
	}
	return nil
}

// permissions tries one call of each kind that the bridge makes. A call that would change something
// names an object that does not exist, so it changes nothing. notepay assumes that Stripe checks
// the permission before it looks for the object (docs/vendors.md, Q21).
func (r *run) permissions(ctx context.Context) Result {
	switch {
	case !r.stripeWorks:
		return skipped("the key does not work")
	case !strings.HasPrefix(string(r.Settings.StripeSecretKey), "rk_"):
		return ok("an unrestricted key may do everything; a restricted key (rk_...) is safer")
	}
	const nothing = "notepay_check"
	var lacks, doubts message.List
	for _, probe := range []permissionProbe{
		{"read Prices", func() error {
			return first(r.Stripe.V1Prices.List(ctx, &stripe.PriceListParams{ListParams: one()}))
		}},
		{"read Products", func() error {
			return first(r.Stripe.V1Products.List(ctx, &stripe.ProductListParams{ListParams: one()}))
		}},
		{"read Checkout Sessions", func() error {
			return first(r.Stripe.V1CheckoutSessions.List(ctx, &stripe.CheckoutSessionListParams{ListParams: one()}))
		}},
		{"read Events", func() error {
			return first(r.Stripe.V1Events.List(ctx, &stripe.EventListParams{ListParams: one()}))
		}},
		{"read Disputes", func() error {
			return first(r.Stripe.V1Disputes.List(ctx, &stripe.DisputeListParams{ListParams: one()}))
		}},
		{"write Payment Links", func() error {
			off := &stripe.PaymentLinkUpdateParams{Active: stripe.Bool(false)}
			_, err := r.Stripe.V1PaymentLinks.Update(ctx, "plink_"+nothing, off)
			return err
		}},
		{"write Checkout Sessions", func() error {
			if !r.Settings.PerPurchase() {
				return nil
			}
			_, err := r.Stripe.V1CheckoutSessions.Expire(ctx, "cs_test_"+nothing, &stripe.CheckoutSessionExpireParams{})
			return err
		}},
		{"write Payment Intents", func() error {
			_, err := r.Stripe.V1PaymentIntents.Cancel(ctx, "pi_"+nothing, &stripe.PaymentIntentCancelParams{})
			return err
		}},
		{"write Charges and Refunds", func() error {
			refund := &stripe.RefundCreateParams{PaymentIntent: stripe.String("pi_" + nothing)}
			_, err := r.Stripe.V1Refunds.Create(ctx, refund)
			return err
		}},
	} {
		err := probe.call()
		notFound := status(err) == http.StatusNotFound || status(err) == http.StatusBadRequest
		switch {
		case PermissionMissing(err):
			lacks = append(lacks, message.New("%s (Stripe says: %s)", message.New(probe.permission), Explain(err)))
		case err != nil && !notFound:
			doubts = append(doubts, message.New("%s (%s)", message.New(probe.permission), Explain(err)))
		}
	}
	switch {
	case len(lacks) > 0:
		return failed(
			fix("give the key these permissions at %s", DashboardKeys),
			"%s",
			lacks,
		)
	case len(doubts) > 0:
		return warned(fix("try again"), "not known: %s", doubts)
	}
	if lacks = r.revenuePermissions(ctx); len(lacks) > 0 {
		return warned(
			fix("for fees and payouts in the console, give the key these permissions at %s", DashboardKeys),
			"%s",
			lacks,
		)
	}
	return ok("the restricted key has all permissions that notepay needs")
}

// permissionProbe is a call that needs a permission.
type permissionProbe struct {
	permission string
	call       func() error
}

// revenuePermissions returns the permissions that the key lacks for the page about revenue. No machine
// depends on them.
func (r *run) revenuePermissions(ctx context.Context) (lacks message.List) {
	for _, probe := range []permissionProbe{
		{"read Balance transactions", func() error { return r.Fees(ctx) }},
		{"read Payouts", func() error { return r.Payouts(ctx) }},
	} {
		e, ok := errors.AsType[*upstream.Error](probe.call())
		if ok && (e.Status == http.StatusForbidden || e.Status == http.StatusUnauthorized) {
			lacks = append(lacks, message.New("%s (Stripe says: %s)", message.New(probe.permission), e.Detail))
		}
	}
	return lacks
}

// price is the result of reading a price. All checks share one read.
type price struct {
	plan      payment.Offer
	why       string // why the price cannot be sold; "" if it can
	otherMode bool   // Stripe has the price in live mode instead of test mode, or the reverse
	err       error  // why the price could not be read
}

// price reads a price, or returns what an earlier check read.
func (r *run) price(ctx context.Context, id string) *price {
	if p, known := r.prices[id]; known {
		return p
	}
	p := &price{}
	p.err = retryLimited(ctx, func() (err error) { p.plan, err = r.Plan(ctx, id); return err })
	switch {
	case p.err == nil:
		p.why = fleet.BelowMinimum(p.plan.Amount, p.plan.Currency)
	case upstream.OutcomeOf(p.err) == upstream.Rejected:
		// Stripe's message: "a similar object exists in live mode, but a test mode key was used to
		// make this request."
		p.why, p.otherMode, p.err = Explain(p.err), strings.Contains(Explain(p.err), "a similar object exists in"), nil
	}
	r.prices[id] = p
	return p
}

// modes finds objects of live mode used together with objects of test mode.
func (r *run) modes(ctx context.Context) Result {
	if !r.stripeWorks {
		return skipped("the key does not work")
	}
	mode, other := message.New("test"), message.New("live")
	if r.Settings.Livemode() {
		mode, other = other, mode
	}
	for _, id := range r.Settings.PriceIDs() {
		if r.price(ctx, id).otherMode {
			return failed(
				fix("use a key and prices of the same mode; "+
					"webhook endpoints and their secrets also belong to one mode"),
				"the key is a %s key and price %s is a %s price",
				mode,
				id,
				other,
			)
		}
	}
	if public := r.Settings.PublicURL; r.Settings.Livemode() && public != "" &&
		(!strings.HasPrefix(public, "https://") || Loopback(public)) {
		return failed(
			fix("set PUBLIC_URL to the https:// address at which customers reach notepay, or use a test key"),
			"the key is a live key, but PUBLIC_URL is %s",
			public,
		)
	}
	return ok("the key and all prices are in %s mode", mode)
}

func (r *run) defaultPrices(ctx context.Context) Result {
	if !r.stripeWorks {
		return skipped("the key does not work")
	}
	var bad, good message.List
	for _, id := range r.Settings.PriceIDs() {
		switch p := r.price(ctx, id); {
		case status(p.err) == http.StatusForbidden, status(p.err) == http.StatusUnauthorized:
			return skipped("the key may not read prices")
		case p.err != nil:
			bad = append(bad, message.New("%s could not be read: %s", id, Explain(p.err)))
		case p.otherMode:
			return skipped("%s is in the other mode", id)
		case p.why != "":
			bad = append(bad, message.New("%s: %s", id, message.New(p.why)))
		default:
			var name any = p.plan.Name
			if name == "" {
				name = message.New("nameless")
			}
			good = append(good, message.New("%s is %s, %d %s in its smallest unit",
				id, name, p.plan.Amount, p.plan.Currency))
		}
	}
	if len(bad) > 0 {
		return failed(
			fix("STRIPE_PRICE_ID needs active one-time prices with a fixed amount; notepay setup creates one"),
			"%s",
			bad,
		)
	}
	return ok("%s", good)
}

func (r *run) webhookSecret(context.Context) Result {
	switch n := len(r.Settings.WebhookSecrets()); n {
	case 0:
		return warned(
			fix("set STRIPE_WEBHOOK_SECRET unless Stripe cannot reach notepay"),
			"webhooks are off: notepay sees a payment when the customer returns, or within %s",
			r.Settings.PollInterval,
		)
	case 1:
		return ok("one secret is set")
	default:
		return ok("%d secrets are set; events may use any of them", n)
	}
}

// webhook requires one endpoint of ours that receives every event.
func (r *run) webhook(ctx context.Context) Result {
	switch {
	case r.Settings.StripeWebhookSecret == config.WebhooksOff:
		return skipped("webhooks are off")
	case !r.stripeWorks:
		return skipped("the key does not work")
	case r.Settings.PublicURL == "":
		return skipped("PUBLIC_URL is not set, so the endpoint cannot be identified")
	case Loopback(r.Settings.PublicURL):
		return skipped("PUBLIC_URL is this host, which Stripe cannot reach; stripe listen forwards events to it")
	}
	endpoints, err := Endpoints(ctx, r.Stripe, r.Settings.PublicURL)
	switch {
	case PermissionMissing(err):
		return skipped(
			"the restricted key may not read webhook endpoints and does not need to (Stripe says: %s)",
			Explain(err),
		)
	case err != nil:
		return failed(fix("try again"), "the endpoints could not be read: %s", Explain(err))
	case len(endpoints) == 0:
		return failed(
			fix("run notepay setup to create it, and put its secret into STRIPE_WEBHOOK_SECRET"),
			"this account has no endpoint for %s in the key's mode",
			r.Settings.PublicURL+WebhookPaths()[0],
		)
	}
	var why Result
	for _, e := range endpoints {
		r.endpoint = e
		if why = Endpoint(e); why.State == OK {
			break
		}
	}
	return why
}

// webhookVersion warns at most, because notepay reads only fields that no version has changed.
func (r *run) webhookVersion(context.Context) Result {
	switch {
	case r.endpoint == nil:
		return skipped("there is no endpoint to check")
	case train(r.endpoint.APIVersion) == train(stripe.APIVersion):
		return ok("%s", r.endpoint.APIVersion)
	}
	var sends any = r.endpoint.APIVersion
	if sends == "" {
		sends = message.New("the account's default version")
	}
	return warned(
		fix("an endpoint keeps its version: delete this one, then make another with notepay setup"),
		"endpoint %s sends %s, but notepay expects %s",
		r.endpoint.ID,
		sends,
		stripe.APIVersion,
	)
}

// train returns the release train of an API version, such as basil for 2025-08-27.basil.
func train(version string) string {
	_, name, _ := strings.Cut(version, ".")
	return name
}
