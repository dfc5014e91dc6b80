package check

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/stripeapi"
)

// DashboardWebhooks is the page on which Stripe lists webhook endpoints and their secrets.
const DashboardWebhooks = "https://dashboard.stripe.com/webhooks"

// WebhookPaths returns the paths at which notepay accepts Stripe's events. Setup registers the
// first.
func WebhookPaths() []string {
	return []string{"/webhook/stripe", "/api/stripe/webhook", "/api/webhook"}
}

// Endpoints returns the webhook endpoints that lead to one of WebhookPaths at publicURL.
func Endpoints(
	ctx context.Context,
	client *stripe.Client,
	publicURL string,
) (ours []*stripe.WebhookEndpoint, err error) {
	params := &stripe.WebhookEndpointListParams{}
	params.Limit = stripe.Int64(100)
	for e, err := range client.V1WebhookEndpoints.List(ctx, params) {
		if err != nil {
			return nil, err
		}
		if leadsTo(e.URL, publicURL) {
			ours = append(ours, e)
		}
	}
	return ours, nil
}

// leadsTo reports whether an endpoint's URL is one of WebhookPaths at publicURL, as notepay answers
// it: the host in any case, perhaps with its usual port, and the path with or without a slash at
// its end.
func leadsTo(endpoint, publicURL string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	host := strings.ToLower(u.Host)
	if port := u.Port(); u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		host = strings.TrimSuffix(host, ":"+port)
	}
	return u.Scheme+"://"+host == publicURL && slices.Contains(WebhookPaths(), strings.TrimRight(u.Path, "/"))
}

// Endpoint checks that an endpoint is enabled and sends every event that notepay uses.
func Endpoint(e *stripe.WebhookEndpoint) Result {
	switch missing := MissingEvents(e); {
	case e.Status != "enabled":
		return failed(
			fix("enable it at %s; notepay finds missed payments every POLL_INTERVAL", DashboardWebhooks),
			"endpoint %s is %s: Stripe disables endpoints after days of failures",
			e.ID,
			e.Status,
		)
	case len(missing) > 0:
		return failed(
			fix("add them at %s", DashboardWebhooks),
			"endpoint %s does not send %s",
			e.ID,
			strings.Join(missing, ", "),
		)
	}
	return ok("endpoint %s sends all events that notepay uses", e.ID)
}

// MissingEvents returns the events that notepay uses and an endpoint does not send.
func MissingEvents(e *stripe.WebhookEndpoint) []string {
	return slices.DeleteFunc(stripeapi.EventTypes(), func(t string) bool {
		return slices.Contains(e.EnabledEvents, t) || slices.Contains(e.EnabledEvents, "*")
	})
}
