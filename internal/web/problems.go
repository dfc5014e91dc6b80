package web

import (
	"slices"

	"notepay/internal/problem"
	"notepay/internal/upstream"
)

// Problems is what health, console and metrics show of what is wrong. Its fields are set once.
type Problems struct {
	Board    *problem.Board
	Limiters map[string]*upstream.Limiter // of "stripe" and "notehub"

	// those that do not answer; not on the board, where another part may have said more of the same
	vendors problem.Board
}

// List returns what is wrong now, the vendors that do not answer included. Of one code the board's
// problem counts.
func (p *Problems) List() []problem.Problem {
	for vendor, one := range map[string]problem.Problem{
		"stripe": {Code: problem.StripeDown, Text: "Stripe does not answer, or rejects notepay's requests. " +
			"Run notepay check."},
		"notehub": {Code: problem.NotehubDown, Text: "Notehub does not answer, or rejects notepay's requests. " +
			"Run notepay check."},
	} {
		limiter := p.Limiters[vendor]
		if limiter == nil || limiter.Unreachable() == "" {
			p.vendors.Clear(one.Code)
			continue
		}
		one.Detail = limiter.Unreachable()
		p.vendors.Raise(one)
	}
	list := p.Board.List()
	for _, one := range p.vendors.List() {
		if !slices.ContainsFunc(list, func(said problem.Problem) bool { return said.Code == one.Code }) {
			list = append(list, one)
		}
	}
	return list
}
