package alert

import (
	"fmt"
	"time"
)

// Kind groups what an owner hears about together.
type Kind string

// The kinds, the most important first. Webhooks and the ledger contain them, so they must not change.
const (
	Storage  Kind = "storage"  // payments cannot be recorded, or soon cannot
	Vendors  Kind = "vendors"  // Stripe or Notehub does not answer or rejects notepay
	Refunds  Kind = "refunds"  // a refund or release failed
	Payments Kind = "payments" // payments need attention
	Reports  Kind = "reports"  // customers say that a machine did not start
	Machines Kind = "machines" // notepay paused a machine, or the machine is out of order
	Disputes Kind = "disputes" // a customer's bank demands the money back
	Upkeep   Kind = "upkeep"   // a certificate or backup is overdue
	Service  Kind = "service"  // any other problem of the service
)

// digest and test are kinds of messages that are not about something wrong.
const (
	digest Kind = "digest"
	test   Kind = "test"
)

// Kinds returns all kinds, the most important first.
func Kinds() []Kind {
	return []Kind{Storage, Vendors, Refunds, Payments, Reports, Machines, Disputes, Upkeep, Service}
}

const (
	// minInterval is the time between two messages of a kind to a target.
	minInterval = 10 * time.Minute
	// gatherTime is how long a kind waits for more of the same before its message.
	gatherTime = 15 * time.Second
	// problemPatience is how long a problem that often passes by itself must last.
	problemPatience = 2 * time.Minute
	// settleTime is how long a problem must be over. A restart begins without problems and finds those
	// that last within minutes.
	settleTime = 5 * time.Minute
)

// inLedger reports whether the items of a kind are read from the ledger, so that a restart knows them
// at once. The others are problems in memory.
func (k Kind) inLedger() bool {
	switch k {
	case Storage, Vendors, Upkeep, Service:
		return false
	}
	return true
}

// patience returns how long an item must last before it is reported.
func (k Kind) patience() time.Duration {
	if k.inLedger() || k == Storage {
		return gatherTime
	}
	return problemPatience
}

// settle returns how long an item that is over counts as open.
func (k Kind) settle() time.Duration {
	if k.inLedger() {
		return 0
	}
	return settleTime
}

// urgent reports whether the owner should look now.
func (k Kind) urgent() bool {
	switch k {
	case Storage, Vendors, Refunds, Payments, Reports:
		return true
	}
	return false
}

// page returns the console's page about a kind.
func (k Kind) page() string {
	switch k {
	case Payments, Refunds, Disputes:
		return "/operator/payments?state=attention"
	case Machines:
		return "/operator/devices"
	}
	return "/operator"
}

// title returns the first line of a message about n items.
func (k Kind) title(n int) string {
	one, many := "", ""
	switch k {
	case Storage:
		return "Trouble with the ledger or its disk"
	case Vendors:
		return "Trouble with Stripe or Notehub"
	case Upkeep:
		return "Certificate or backup overdue"
	case Service:
		return "notepay has a problem"
	case Refunds:
		one, many = "1 refund failed", "%d refunds failed"
	case Payments:
		one, many = "1 payment needs attention", "%d payments need attention"
	case Reports:
		one, many = "A customer reports a problem", "%d customers report a problem"
	case Machines:
		one, many = "1 machine is paused or out of order", "%d machines are paused or out of order"
	case Disputes:
		one, many = "1 dispute waits for your answer", "%d disputes wait for your answer"
	}
	if n == 1 {
		return one
	}
	return fmt.Sprintf(many, n)
}

// over returns the first line of the message that closes a kind.
func (k Kind) over() string {
	switch k {
	case Storage:
		return "Resolved: the ledger and its disk work again"
	case Vendors:
		return "Resolved: Stripe and Notehub work again"
	case Upkeep:
		return "Resolved: certificate and backup"
	case Service:
		return "Resolved: notepay's problem is over"
	case Refunds:
		return "Resolved: no failed refund is open"
	case Payments:
		return "Resolved: no payment needs attention"
	case Reports:
		return "Resolved: all reports of customers were seen"
	case Machines:
		return "Resolved: no machine is paused or out of order"
	}
	return "Resolved: no dispute waits for your answer"
}
