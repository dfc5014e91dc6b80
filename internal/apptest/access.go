package apptest

import (
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

// Locker makes the washer a locker.
func (f *Front) Locker(duration string) {
	f.Stripe.SetPrice(fixture.Warm, func(p *sandbox.Price) {
		p.Name, p.Metadata = "Locker", map[string]string{"access_code": "true", "duration": duration}
	})
}
