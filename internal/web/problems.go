package web

import (
	"slices"

	"notepay/internal/message"
	"notepay/internal/problem"
	"notepay/internal/upstream"
)

// Problems lists the current problems for health, console and metrics. Its fields are set once.
type Problems struct {
	Board    *problem.Board
	Limiters map[string]*upstream.Limiter // by vendor: "stripe", "notehub"

	// vendors holds vendors that do not answer. It is separate from Board, where another part may
	// have raised the same code with more details.
	vendors problem.Board
}

// List returns the current problems, including vendors that do not answer. If both boards have a
// code, List returns the problem of Board.
func (p *Problems) List() []problem.Problem {
	for vendor, one := range map[string]problem.Problem{
		"stripe": {
			Code: problem.StripeDown,
			Text: message.New("Stripe does not answer, or rejects notepay's requests. Run notepay check."),
		},
		"notehub": {
			Code: problem.NotehubDown,
			Text: message.New("Notehub does not answer, or rejects notepay's requests. Run notepay check."),
		},
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
		if !slices.ContainsFunc(list, func(p problem.Problem) bool { return p.Code == one.Code }) {
			list = append(list, one)
		}
	}
	return list
}
