package stripeapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strconv"
	"time"

	"notepay/internal/ledger"
)

// BalanceTransactions reads one page of the balance transactions that were created from one time until
// before another, newest first, and the id after which the next page begins, "" after the last page. It
// returns those that are of a PaymentIntent: charges, refunds and disputes.
//
// A restricted key needs the permission to read balance transactions, and charges for the PaymentIntent
// (docs/vendors.md, Q31).
func (s *Client) BalanceTransactions(ctx context.Context, from, to time.Time, after string) (
	list []ledger.Fee, next string, err error,
) {
	if err := s.wait(ctx); err != nil {
		return nil, "", err
	}
	page, err := s.readPage(ctx, "/v1/balance_transactions", url.Values{
		"created[gte]": {strconv.FormatInt(from.Unix(), 10)},
		"created[lt]":  {strconv.FormatInt(to.Unix(), 10)},
		"expand[]":     {"data.source"},
	}, after)
	if err != nil {
		return nil, "", err
	}
	var odd []string
	for _, record := range page.records {
		fee, err := decodeBalanceTransaction(record)
		if err != nil {
			odd = append(odd, nameOf(err))
		} else if fee.Intent != "" {
			list = append(list, fee)
		}
	}
	s.Odd("Stripe's balance transactions", odd)
	if page.more {
		next = page.last
	}
	return list, next, nil
}

// decodeBalanceTransaction decodes a balance transaction. Its Intent is "" if it is of no payment.
func decodeBalanceTransaction(text []byte) (f ledger.Fee, err error) {
	var w struct {
		ID       string          `json:"id"`
		Fee      int64           `json:"fee"`
		Net      int64           `json:"net"`
		Currency string          `json:"currency"`
		Created  timestamp       `json:"created"`
		Type     optional        `json:"type"`
		Category optional        `json:"reporting_category"`
		Source   json.RawMessage `json:"source"`
	}
	err = decode("balance transaction", text, &w)
	if err = withID("balance transaction", w.ID, err); err != nil {
		return f, err
	}
	if w.Created == 0 || w.Currency == "" {
		return f, &oddRecord{kind: "balance transaction", id: w.ID, err: errors.New("there is no time or no currency")}
	}
	for field, amount := range map[string]int64{"fee": w.Fee, "net": w.Net} {
		if err := checkAmount("balance transaction", w.ID, field, amount); err != nil {
			return f, err
		}
	}
	var source struct {
		Intent reference `json:"payment_intent"`
	}
	_ = json.Unmarshal(w.Source, &source) // null, or the id of something that has no PaymentIntent
	f = ledger.Fee{
		ID:       w.ID,
		Intent:   string(source.Intent),
		Category: string(w.Category),
		At:       w.Created.time(),
		Amount:   w.Fee,
		Net:      w.Net,
		Currency: w.Currency,
	}
	if f.Category == "" {
		f.Category = string(w.Type)
	}
	return f, nil
}

// Payouts reads the last payouts, at most a page of 100.
func (s *Client) Payouts(ctx context.Context) (list []ledger.Payout, err error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	page, err := s.readPage(ctx, "/v1/payouts", url.Values{}, "")
	if err != nil {
		return nil, err
	}
	var odd []string
	for _, record := range page.records {
		var w struct {
			ID       string    `json:"id"`
			Livemode bool      `json:"livemode"`
			Amount   int64     `json:"amount"`
			Currency string    `json:"currency"`
			Created  timestamp `json:"created"`
			Arrival  timestamp `json:"arrival_date"`
			Status   optional  `json:"status"`
		}
		err := decode("payout", record, &w)
		if err = withID("payout", w.ID, err); err == nil && w.Created == 0 {
			err = &oddRecord{kind: "payout", id: w.ID, field: "created", err: errors.New("there is no time")}
		}
		if err != nil {
			odd = append(odd, nameOf(err))
			continue
		}
		list = append(list, ledger.Payout{
			ID:        w.ID,
			Livemode:  w.Livemode,
			At:        w.Created.time(),
			ArrivalAt: w.Arrival.time(),
			Amount:    w.Amount,
			Currency:  w.Currency,
			Status:    string(w.Status),
		})
	}
	s.Odd("Stripe's payouts", odd)
	return list, nil
}
