package stripeapi

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"notepay/internal/bridge"
)

// Events lists one page of the events of the followed types, the newest first, of those that were
// created since then; Stripe keeps them for 30 days. It begins behind the event with the id after,
// or at the newest; last is where the next page begins. An event that cannot be read is given with
// Odd, and holds up none of the others.
func (s *Client) Events(
	ctx context.Context,
	since time.Time,
	after string,
) (events []bridge.Event, last string, more bool, err error) {
	if err := s.ready(ctx); err != nil {
		return nil, "", false, err
	}
	query := url.Values{"types[]": s.config.EventTypes, "created[gte]": {strconv.FormatInt(since.Unix(), 10)}}
	page, err := s.readPage(ctx, "/v1/events", query, after)
	if err != nil {
		return nil, "", false, err
	}
	for _, record := range page.Records {
		events = append(events, s.config.DecodeEvent(record))
	}
	return events, page.Last, page.More, nil
}

// AskTime makes the cheapest call that a restricted key allows. What counts is the reply's Date,
// whatever the reply says.
func (s *Client) AskTime(ctx context.Context) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	_, err := s.raw.Get(ctx, "/v1/events", url.Values{"limit": {"1"}})
	return s.outcome(err)
}
