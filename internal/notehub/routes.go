package notehub

import (
	"context"
	"encoding/json"
	"net/http"

	"notepay/internal/notefile"
)

// CreateRoute creates an HTTP route that sends the machines' confirmations to a URL, with a bearer
// token. The outcome upstream.Unknown means that the route may exist.
func (n *Client) CreateRoute(ctx context.Context, label, url, token string) error {
	body, err := json.Marshal(map[string]any{
		"label": label,
		"http": map[string]any{
			"url":          url,
			"http_headers": map[string]string{"Authorization": "Bearer " + token},
			"filter": map[string]any{
				"type":             "include", // docs/vendors.md, U25
				"files":            notefile.Both(n.config.answers()),
				"system_notefiles": false,
			},
		},
	})
	if err != nil {
		return err
	}
	slot, err := n.Limiter.Slot(ctx)
	if err != nil {
		return err
	}
	return n.callWith(ctx, call{method: http.MethodPost, path: "/routes", body: body}, slot)
}
