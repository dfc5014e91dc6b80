package people

import "strings"

// Role says what a person or a token may do. Each role includes those before it.
type Role string

// The roles. Public is the least role of routes that need no sign-in, and no actor has it.
const (
	Public  Role = ""
	View    Role = "view"    // reads everything but people and tokens, and changes nothing
	Support Role = "support" // also refunds, resends, grants and pauses
	Owner   Role = "owner"   // also changes people, tokens and settings
)

// Roles returns the roles of people and tokens, the least first.
func Roles() []Role { return []Role{View, Support, Owner} }

// ParseRole returns a role of people and tokens, and false for any other text.
func ParseRole(text string) (Role, bool) {
	for _, r := range Roles() {
		if string(r) == text {
			return r, true
		}
	}
	return "", false
}

// rank orders the roles. An unknown role has the rank 0, so it may do nothing.
func (r Role) rank() int {
	for n, known := range Roles() {
		if r == known {
			return n + 1
		}
	}
	return 0
}

// May reports whether a role includes another. An unknown role includes none.
func (r Role) May(least Role) bool { return r.rank() > 0 && r.rank() >= least.rank() }

// Rule says what a route needs.
type Rule struct {
	Least Role
	Fresh bool // the sign-in must be recent, because the route changes who can sign in
}

// RuleOf returns the rule of a route, by its pattern in http.ServeMux. known is false for a route that
// the table does not name. Its rule is the strictest one, so that a forgotten route is closed.
func RuleOf(pattern string) (rule Rule, known bool) {
	for line := range strings.Lines(table) {
		role, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.TrimSpace(rest) != pattern {
			continue
		}
		role, fresh := strings.CutSuffix(role, "!")
		if role == "public" {
			role = string(Public)
		}
		return Rule{Role(role), fresh}, true
	}
	return Rule{Owner, true}, false
}

// table holds the least role of each route. A "!" says that the sign-in must be recent.
const table = `
public  GET /{$}
public  GET /pay
public  GET /pay/{uid}
public  GET /use/{uid}
public  POST /use/{uid}
public  GET /free
public  GET /free/{code}
public  POST /free/{code}
public  GET /payment/success
public  GET /payment/cancel
public  GET /payment/find
public  POST /payment/find
public  GET /session/{token}
public  GET /session/{token}/events
public  GET /session/{token}/report
public  POST /session/{token}/report
public  GET /access/{token}
public  GET /access/{token}/events
public  GET /static/
public  GET /static/brand.css
public  GET /static/logo
public  POST /webhook/stripe
public  POST /api/stripe/webhook
public  POST /api/webhook
public  POST /webhook/notehub
public  GET /health
public  GET /metrics
public  /
support GET /refresh-devices
support POST /refresh-devices
view    GET /api/payments
view    GET /api/payments/{id}
support POST /api/payments/{id}/retry
support POST /api/payments/{id}/refund
support POST /api/payments/{id}/end
view    GET /api/devices
support POST /api/devices/{uid}/pause
support POST /api/devices/{uid}/resume
support POST /api/devices/{uid}/start
support POST /api/create-payment-link
view    GET /api/stripe-events
view    GET /api/events
view    /api
view    /api/
public  GET /operator/console.css
public  GET /operator/live.js
public  GET /operator/passkey.js
public  GET /operator/sign-in
public  GET /operator/language/{tag}
public  POST /operator/sign-in
public  POST /operator/sign-in/passkey
public  GET /operator/invite/{token}
public  POST /operator/invite/{token}
view    POST /operator/sign-out
view    GET /operator
view    GET /operator/live
view    GET /operator/devices
view    GET /operator/devices/{uid}
support POST /operator/devices
support POST /operator/devices/{uid}/maintenance
support POST /operator/devices/{uid}/maintenance/cancel
support POST /operator/devices/{uid}/pause
support POST /operator/devices/{uid}/resume
support POST /operator/devices/{uid}/start
support POST /operator/refresh
view    GET /operator/payments
view    GET /operator/payments.csv
view    GET /operator/payments/{id}
support POST /operator/payments/{id}/code
support POST /operator/payments/{id}/code/withdraw
support POST /operator/payments/{id}/retry
support POST /operator/payments/{id}/refund
support POST /operator/payments/{id}/refund/again
support POST /operator/payments/{id}/end
support POST /operator/payments/{id}/reports
support POST /operator/attention/{reason}/{action}
view    GET /operator/revenue
view    GET /operator/revenue.csv
view    GET /operator/events
view    GET /operator/events/{id}
view    GET /operator/stickers
view    GET /operator/stickers/{uid}
view    GET /operator/audit
view    GET /operator/audit.csv
view    GET /operator/setup
support POST /operator/setup
owner   POST /operator/setup/alert
view    GET /operator/me
view    POST /operator/me/sessions
view!   POST /operator/me/password
view!   POST /operator/me/codes
view!   POST /operator/me/passkeys
view!   POST /operator/me/passkeys/remove
owner   GET /operator/people
owner!  POST /operator/people
owner!  POST /operator/people/{id}/role
owner!  POST /operator/people/{id}/invite
owner!  POST /operator/people/{id}/disable
owner!  POST /operator/people/{id}/enable
owner   POST /operator/people/{id}/sessions
owner!  POST /operator/tokens
owner   POST /operator/tokens/{id}/revoke
view    GET /operator/
`
