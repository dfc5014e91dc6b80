package ledger

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Payout is a payout of Stripe's to the operator's bank.
type Payout struct {
	ID            string
	Livemode      bool
	At, ArrivalAt time.Time
	Amount        int64 // minor units of Currency; below 0: the bank account was debited
	Currency      string
	Status        string // Stripe's
}

// SavePayout inserts a payout or replaces it.
func (tx *Tx) SavePayout(p Payout) error {
	return tx.run(`INSERT INTO payouts (id, livemode, at, arrival_at, amount, currency, status)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO UPDATE SET
		arrival_at = excluded.arrival_at, amount = excluded.amount, status = excluded.status`,
		p.ID, bit(p.Livemode), p.At.UnixMilli(), p.ArrivalAt.UnixMilli(), p.Amount, p.Currency, p.Status)
}

// Payouts reads the last payouts, newest first.
func (l *Ledger) Payouts(ctx context.Context, livemode bool, limit int) ([]Payout, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT id, livemode, at, arrival_at, amount, currency, status FROM payouts
		WHERE livemode = $1 ORDER BY at DESC LIMIT $2 + 0`, bit(livemode), limit)
	return all(rows, err, func(row scanner) (p Payout, err error) {
		return p, row.Scan(&p.ID, flag{&p.Livemode}, instant{&p.At}, instant{&p.ArrivalAt}, &p.Amount, &p.Currency,
			&p.Status)
	})
}

// BalanceState says how far Stripe's balance transactions were read.
type BalanceState struct {
	Through time.Time // zero: none were read
	// Fees and Payouts say in Stripe's words why the last read failed, "" if it did not.
	Fees, Payouts string
}

func balanceCursor(livemode bool) string { return fmt.Sprint("balance ", bit(livemode)) }

// BalanceState reads how far the balance transactions of a mode were read.
func (l *Ledger) BalanceState(ctx context.Context, livemode bool) (s BalanceState, err error) {
	text, err := l.Cursor(ctx, balanceCursor(livemode))
	if err != nil || text == "" {
		return s, err
	}
	parts := strings.SplitN(text, "\n", 3)
	ms, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil || len(parts) < 3 {
		return s, fmt.Errorf("read the state of the balance: %q: %w", text, err)
	}
	if ms > 0 {
		s.Through = time.UnixMilli(ms).UTC()
	}
	s.Fees, s.Payouts = parts[1], parts[2]
	return s, nil
}

// SetBalanceState stores how far the balance transactions of a mode were read.
func (tx *Tx) SetBalanceState(livemode bool, s BalanceState) error {
	ms := int64(0)
	if !s.Through.IsZero() {
		ms = s.Through.UnixMilli()
	}
	line := strings.NewReplacer("\n", " ", "\r", " ").Replace
	return tx.SetCursor(balanceCursor(livemode), fmt.Sprintf("%d\n%s\n%s", ms, line(s.Fees), line(s.Payouts)))
}
