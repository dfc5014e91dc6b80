package notehub

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strconv"

	"notepay/internal/payment"
	"notepay/internal/uid"
	"notepay/internal/upstream"
)

// Confirmations reads a page of machines' answers, oldest first. The cursor is the id of the last
// event that was seen, "" to begin with the oldest that Notehub keeps, as it also does where it no
// longer knows the cursor. The event under the cursor comes once more: who reads tells repeats by
// their EventID. next is the cursor for the next call; more says that there is something behind it
// already. What is no confirmation is passed over. That nothing is recorded before the cursor later
// on is assumed (docs/vendors.md, U21).
func (n *Client) Confirmations(
	ctx context.Context,
	cursor string,
) (list []payment.Confirmation, next string, more bool, err error) {
	query := url.Values{"files": {ConfirmationFiles}, "sortOrder": {"asc"}, "limit": {strconv.Itoa(EventsPerPage)}}
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	var reply Page
	err = n.read(ctx, call{path: "/events-cursor", query: query.Encode(), decode: func(text []byte) (err error) {
		reply, err = DecodePage(text, "events")
		return err
	}})
	if err != nil {
		return nil, cursor, false, err
	}
	next = cursor
	for _, raw := range reply.Records {
		var event struct {
			ID string `json:"event"`
		}
		if json.Unmarshal(raw, &event) == nil && event.ID != "" {
			next = event.ID
		}
		switch c, _, err := DecodeConfirmation(raw, uid.Parse); {
		case err == nil:
			list = append(list, c)
		case errors.Is(err, ErrNoCredit):
			n.Ignored(event.ID, IgnoredNoCredit)
		case errors.Is(err, ErrMalformed):
			n.Ignored(event.ID, ignoredMalformed)
		}
	}
	if reply.More && next == cursor && reply.Next != "" {
		next = reply.Next // none of the page's events has an id
	}
	if reply.More && next == cursor {
		return nil, cursor, false, &upstream.Error{
			Outcome: upstream.Retryable,
			Status:  200,
			Detail:  "a page without a new event that is not the last",
		}
	}
	return list, next, reply.More, nil
}

// Ignored names, logs and counts an answer that is not applied to any payment, once.
func (n *Client) Ignored(event, why string) {
	if n.Odd.Add("machines' answers", Odd{ID: "event " + Name(event), Field: why}) && n.Counted != nil {
		n.Counted(why)
	}
}
