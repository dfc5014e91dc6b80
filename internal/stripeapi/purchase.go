package stripeapi

import (
	"cmp"
	"strings"
	"unicode"

	"github.com/stripe/stripe-go/v82"
	"golang.org/x/text/unicode/norm"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// captureManual is Stripe's capture method that authorizes only. The metadata "capture" of a link
// or session repeats it.
const captureManual = "manual"

// purchaseMetadata returns the metadata of a link or session and of its PaymentIntent.
func (s *Client) purchaseMetadata(d ledger.Device, plan payment.Offer) map[string]string {
	metadata := map[string]string{
		"app":        App,
		"project":    s.config.Project,
		"device_uid": cmp.Or(d.Spelled, d.UID),
		"price_id":   plan.PriceID,
	}
	if s.config.Manual {
		metadata["capture"] = captureManual
	}
	return metadata
}

// paymentMethods returns cards alone, which include the wallets. Other methods may pay days later.
func paymentMethods() []*string { return stripe.StringSlice([]string{"card"}) }

// SuccessURL returns where Stripe sends a customer who has paid. Stripe fills in the session's id.
func SuccessURL(publicURL string) string {
	return publicURL + "/payment/success?session_id={CHECKOUT_SESSION_ID}"
}

// maxDescription is Stripe's limit for the description of a payment, in characters.
const maxDescription = 1000

// description names the machine and the plan on the payment in Stripe's Dashboard.
func description(d ledger.Device, plan payment.Offer) string {
	machine := upstream.Cut(cmp.Or(d.Name, d.UID), maxDescription/2-2)
	return machine + ": " + upstream.Cut(cmp.Or(plan.Name, plan.PriceID), maxDescription/2)
}

// maxSuffix is how many of a statement descriptor's 22 characters are left after the longest prefix
// and the "* " between them (docs/vendors.md, Q12).
const maxSuffix = 10

// StatementSuffix returns the machine's name for the card statement, or nil if the name does not
// allow one. By its documentation Stripe takes Latin letters, at least one, and none of < > \ ' " *
// (docs/vendors.md, Q12). This was never tried. So only letters without accents, digits, spaces,
// hyphens and periods are kept.
func StatementSuffix(d ledger.Device) *string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return unicode.ToUpper(r)
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '.':
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return -1
	}, norm.NFD.String(d.Name)) // NFD separates accents from their letters, so that they are dropped
	clean = strings.Join(strings.Fields(clean), " ")
	clean = strings.TrimSpace(clean[:min(len(clean), maxSuffix)])
	if !strings.ContainsFunc(clean, unicode.IsLetter) {
		return nil
	}
	return &clean
}
