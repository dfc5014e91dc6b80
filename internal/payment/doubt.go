package payment

// Doubtful reports whether the machine may have started although the credit failed.
func Doubtful(p Payment) bool {
	if p.Delivery != Failed {
		return false
	}
	switch p.Reason {
	case ReasonAdopted, ReasonUnclear, ReasonRecallUnclear, ReasonUnconfirmed:
		return true
	case ReasonExpired, ReasonRefused, ReasonUnknownDevice, ReasonNotSelling:
		return p.ReviewReason == ReasonUnclear ||
			(p.MaybeAccepted && p.ConfirmBy.IsZero()) // a confirming machine rejects expired credits
	}
	return p.ReviewReason == ReasonUnclear
}
