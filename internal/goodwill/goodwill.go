// Package goodwill issues and redeems codes with which a customer starts a machine once for free.
//
// It promises that a code starts one machine once, also if it is typed twice at the same time or at two
// instances. A code whose free start failed can be used again until it expires. It does not decide
// whether a machine may be started now, and it does not limit guesses.
package goodwill

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"notepay/internal/bridge"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/uid"
)

const (
	// DefaultDays and MaxDays say how long a code is valid.
	DefaultDays, MaxDays = 30, 366
	// offersMaxAge is how long the open codes of other instances may be unknown.
	offersMaxAge = 10 * time.Second
	readTimeout  = 5 * time.Second
)

var (
	// ErrInvalid is returned for a code that does not exist, has expired, or was used.
	ErrInvalid = errors.New("the code is not valid")
	// ErrOtherMachine is returned if a code is not for a machine.
	ErrOtherMachine = errors.New("the code is for another machine")
)

// Granter sends a free credit to a machine.
type Granter interface {
	GrantOffer(
		ctx context.Context, device string, offer payment.Offer, by bridge.Actor, also ...bridge.Also,
	) (payment.Payment, error)
}

// Codes issues and redeems codes. It is safe for concurrent use.
type Codes struct {
	ledger *ledger.Ledger
	grant  Granter
	log    *slog.Logger

	open    atomic.Pointer[openCodes]
	reading atomic.Bool
}

// openCodes says which machines and sites have codes that may still be used.
type openCodes struct {
	until map[string]time.Time // when the last code expires, by the UID of a machine or site
	read  time.Time
}

// New returns the codes of a ledger.
func New(ctx context.Context, l *ledger.Ledger, grant Granter, log *slog.Logger) (*Codes, error) {
	c := &Codes{ledger: l, grant: grant, log: log}
	return c, c.readOpen(ctx)
}

// readOpen reads which codes are open.
func (c *Codes) readOpen(ctx context.Context) error {
	now := c.ledger.Now()
	list, err := c.ledger.OpenGoodwillCodes(ctx, now)
	if err != nil {
		return fmt.Errorf("read goodwill codes: %w", err)
	}
	open := &openCodes{until: map[string]time.Time{}, read: now}
	for _, one := range list {
		scope := cmp.Or(one.DeviceUID, one.Site)
		open.until[scope] = payment.Later(open.until[scope], one.ExpiresAt)
	}
	c.open.Store(open)
	return nil
}

// Offered reports whether a machine has a code that may still be used. It only reads memory. A code of
// another instance may be unknown for ten seconds, and one scan longer.
func (c *Codes) Offered(d *fleet.Device) bool {
	if c == nil {
		return false
	}
	now, open := c.ledger.Now(), c.open.Load()
	if age := now.Sub(open.read); (age > offersMaxAge || age < 0) && c.reading.CompareAndSwap(false, true) {
		go func() {
			defer c.reading.Store(false)
			ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
			defer cancel()
			if err := c.readOpen(ctx); err != nil {
				c.log.Warn("goodwill codes not read", "err", err)
			}
		}()
	}
	if len(open.until) == 0 {
		return false
	}
	return now.Before(open.until[d.UID]) ||
		slices.ContainsFunc(d.Fleets, func(site string) bool { return now.Before(open.until[site]) })
}

// digest returns what the ledger keeps of a code.
func digest(code string) string {
	sum := sha256.Sum256([]byte("notepay free start " + code))
	return hex.EncodeToString(sum[:])
}

// Issue creates a code and returns it. given has everything but the digest and the time. The code is in
// the audit of its payment, or else of its machine or site. before runs in the same transaction.
func (c *Codes) Issue(
	ctx context.Context, given ledger.GoodwillCode, valid time.Duration, before func(*ledger.Tx) error,
) (code string, issued ledger.GoodwillCode, err error) {
	code = uid.NewStartCode()
	given.Digest = digest(code)
	err = c.ledger.Update(ctx, func(tx *ledger.Tx) error {
		if err := before(tx); err != nil {
			return err
		}
		given.CreatedAt, given.ExpiresAt = tx.Now, tx.Now.Add(valid)
		if err := tx.AddGoodwillCode(given); err != nil {
			return err
		}
		return tx.AddAudit(ledger.Audit{
			Who:     given.By,
			What:    "goodwill",
			Subject: subject(given),
			Why:     given.Reason,
			After:   cmp.Or(given.DeviceUID, given.Site) + " until " + given.ExpiresAt.UTC().Format(time.RFC3339),
		})
	})
	if err != nil {
		return "", given, fmt.Errorf("issue a goodwill code: %w", err)
	}
	return code, given, c.readOpen(ctx)
}

// subject returns the audit's subject of a code.
func subject(g ledger.GoodwillCode) string { return cmp.Or(g.PaymentID, g.DeviceUID, g.Site) }

// Withdraw ends the validity of the code with a digest. It returns ErrInvalid if the code cannot be used
// any more.
func (c *Codes) Withdraw(ctx context.Context, digest string, by bridge.Actor, before func(*ledger.Tx) error) error {
	err := c.ledger.Update(ctx, func(tx *ledger.Tx) error {
		if err := before(tx); err != nil {
			return err
		}
		g, err := tx.GoodwillCode(digest)
		if err == nil {
			err = c.usable(tx, g)
		}
		if err == nil {
			err = tx.WithdrawGoodwillCode(digest)
		}
		if err != nil {
			return err
		}
		return tx.AddAudit(ledger.Audit{Who: by.Name, What: "goodwill_end", Subject: subject(g), Why: by.Reason})
	})
	if errors.Is(err, ledger.ErrNotFound) {
		return ErrInvalid
	}
	if err != nil {
		return fmt.Errorf("withdraw a goodwill code: %w", err)
	}
	return c.readOpen(ctx)
}

// Code is what a customer may know of a code.
type Code struct {
	ledger.GoodwillCode
	Started payment.Payment // the free start of a code that was used; zero for one that may be used
}

// Find returns a code. It returns ErrInvalid for one that does not exist or has expired. A code that was
// used has the payment that it started.
func (c *Codes) Find(ctx context.Context, code string) (found Code, err error) {
	found.GoodwillCode, err = c.ledger.GoodwillCode(ctx, digest(code))
	if errors.Is(err, ledger.ErrNotFound) {
		return found, ErrInvalid
	}
	if err != nil {
		return found, fmt.Errorf("read a goodwill code: %w", err)
	}
	if found.CreditID != "" {
		p, err := c.ledger.Payment(ctx, found.CreditID)
		if _, err = ledger.Found(err); err != nil {
			return found, fmt.Errorf("read a goodwill code: %w", err)
		}
		if !ComesBack(p) {
			found.Started = p
			return found, nil
		}
	}
	if !c.ledger.Now().Before(found.ExpiresAt) {
		return found, ErrInvalid
	}
	return found, nil
}

// ComesBack reports whether a code may be used again, because its free start failed. One that the
// operator ended, or that may have started the machine, does not come back.
func ComesBack(p payment.Payment) bool {
	return p.Delivery == payment.Failed && !payment.Doubtful(p) &&
		p.Reason != payment.ReasonEnded && p.Reason != payment.ReasonStartedAfter
}

// usable returns ErrNotFound if a code has expired, or was used and does not come back.
func (c *Codes) usable(tx *ledger.Tx, g ledger.GoodwillCode) error {
	if !tx.Now.Before(g.ExpiresAt) {
		return ledger.ErrNotFound
	}
	if g.CreditID == "" {
		return nil
	}
	p, err := tx.Payment(g.CreditID)
	if err == nil && !ComesBack(p) {
		err = ledger.ErrNotFound
	}
	return err
}

// fits reports whether a code is for a machine.
func fits(g ledger.GoodwillCode, d *fleet.Device) bool {
	return g.DeviceUID == d.UID || g.Site != "" && slices.Contains(d.Fleets, g.Site)
}

// Redeem starts a machine with a code. It returns ErrInvalid for a code that cannot be used (any more),
// ErrOtherMachine if it is not for the machine, and payment.ErrState if the machine is in use.
func (c *Codes) Redeem(ctx context.Context, code string, d *fleet.Device) (payment.Payment, error) {
	var used ledger.GoodwillCode
	found, err := c.Find(ctx, code)
	switch {
	case err != nil:
		return payment.Payment{}, err
	case found.Started.ID != "":
		return payment.Payment{}, ErrInvalid
	case !fits(found.GoodwillCode, d):
		return payment.Payment{}, ErrOtherMachine
	case len(d.Offers) == 0:
		return payment.Payment{}, payment.ErrState
	}
	offer := d.Offers[0].Plan
	for _, o := range d.Offers {
		if o.Plan.PriceID == found.PriceID {
			offer = o.Plan
		}
	}
	by := bridge.Actor{
		Name:   "customer",
		Reason: "goodwill code of " + found.CreatedAt.UTC().Format("2006-01-02") + ": " + found.Reason,
	}
	p, err := c.grant.GrantOffer(ctx, d.UID, offer, by, bridge.Also{
		Before: func(tx *ledger.Tx) (err error) {
			if used, err = tx.GoodwillCode(found.Digest); err != nil {
				return err
			}
			return c.usable(tx, used)
		},
		After: func(tx *ledger.Tx, p payment.Payment) error { return tx.UseGoodwillCode(used, p.ID) },
	})
	if errors.Is(err, ledger.ErrNotFound) {
		return p, ErrInvalid
	}
	if err != nil {
		return p, fmt.Errorf("redeem a goodwill code: %w", err)
	}
	if err := c.readOpen(ctx); err != nil {
		c.log.Warn("goodwill codes not read", "err", err) // the code is used all the same
	}
	return p, nil
}
