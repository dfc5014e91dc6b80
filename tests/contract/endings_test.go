package contract

import (
	"net/http"
	"strings"

	"notepay/internal/sandbox"
)

// confirming returns visitors whose machines confirm their starts. Those with the longest waits
// come first.
func confirming() []visitor {
	return []visitor{
		{
			name:      "unconfirmed, and started after the money went back",
			pays:      true,
			machine:   sandbox.MachineConfig{Confirms: true, MissExpiry: true},
			behavior:  sandbox.Behavior{LosePower: true},
			variables: soon(),
			visit: func(c *customer) {
				c.pay(sandbox.PayOptions{})
				c.sees("", "The machine got your payment", "waiting for the machine to confirm")
				c.sees("", "We do not know whether the machine started", "did not report a start",
					"€3.50 was refunded", "help@wash.example")
				c.machine.SetPower(true)
				c.sees("", "The machine has started", "The machine started after all, but too late. You do not "+
					"have to pay again.", "€3.50 was refunded")
			},
		},
		{name: "refunded before the start", pays: true, machine: confirms(), offline: true, visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.reads("Waiting for the machine")
			c.notehub.Always(deletesOf(c.uid), sandbox.Outcome{Status: http.StatusInternalServerError})
			c.stripe.Refund(c.session.ID, 0)
			c.sees("", "We are canceling this start", "The machine will no longer start for this payment.")
			c.notehub.Clear(deletesOf(c.uid))
			c.sees("", "The machine did not start",
				"Your payment was canceled or refunded before the machine could start.", "€3.50 was refunded")
		}},
		{name: "on its way for long", pays: true, machine: confirms(), visit: func(c *customer) {
			c.notehub.Always(notesOf(c.uid), sandbox.Outcome{Status: http.StatusInternalServerError})
			c.pay(sandbox.PayOptions{})
			c.sees("", "Payment received", "Reaching the machine is taking longer than usual.",
				"You can close this page")
			c.notehub.Clear(notesOf(c.uid))
			c.reads("The machine has started")
		}},
		{name: "started", pays: true, machine: confirms(), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.sees("live-page", "The machine has started", "Time left", "The machine confirmed its start", "€3.50")
		}},
		{name: "started later", pays: true, machine: confirms(), variables: sells(delayed), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.sees("", "The machine starts soon", "It starts in")
		}},
		{name: "done", pays: true, machine: confirms(), variables: sells(short), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.sees("", "Finished", "All done. Thank you!")
		}},
		{name: "free of charge", pays: true, machine: confirms(), variables: sells(plain), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{Free: true})
			c.sees("", "The machine has started", "There is nothing to pay.")
		}},
		{name: "recalled", pays: true, machine: confirms(), offline: true, variables: soon(), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.sees("", "The machine did not start", "did not get your payment in time",
				"€3.50 was refunded", "You can try again")
			c.pay(sandbox.PayOptions{})                                // the second in a row
			c.reads("The machine did not start", "€3.50 was refunded") // before that, a scan leads back here
			c.scans("", "This machine is not responding", "Nothing was charged for this scan.")
		}},
		{
			name:     "refused",
			pays:     true,
			machine:  confirms(),
			behavior: sandbox.Behavior{Refuse: "failed", Code: "E-DOOR"},
			visit: func(c *customer) {
				c.pay(sandbox.PayOptions{})
				c.sees("money-back", "The machine did not start", "reported that it could not start",
					"E-DOOR", "€3.50 was refunded")
			},
		},
		{
			name:      "a locker that refuses",
			pays:      true,
			machine:   confirms(),
			behavior:  sandbox.Behavior{Refuse: "failed", Code: "E-DOOR"},
			variables: map[string]string{"machine_kind": "locker", "code_E_DOOR": "Close the door"},
			visit: func(c *customer) {
				c.pay(sandbox.PayOptions{})
				c.reads("The locker did not open", "The machine reports: Close the door (E-DOOR)", "Refunded on")
				c.stripe.TraceRefund(c.session.ID, "74312345678901234567890")
				c.sees("", "The locker did not open", "74312345678901234567890", "incl. 19% VAT")
			},
		},
		{name: "refused by Notehub", pays: true, machine: confirms(), visit: func(c *customer) {
			c.notehub.Always(notesOf(c.uid),
				sandbox.Outcome{Status: http.StatusBadRequest, Body: `{"err":"this note is not liked"}`})
			c.pay(sandbox.PayOptions{})
			c.sees("", "The machine did not start", "could not be passed on", "€3.50 was refunded")
		}},
		{name: "expired", pays: true, machine: confirms(), variables: soon(), visit: func(c *customer) {
			c.notehub.Always(notesOf(c.uid), sandbox.Outcome{
				Status: http.StatusBadRequest,
				Body:   `{"err":"a maximum of 100 notes may be pending for device"}`,
			})
			c.pay(sandbox.PayOptions{})
			c.sees("", "The machine did not start", "did not reach the machine in time", "€3.50 was refunded")
		}},
		{name: "busy", pays: true, machine: confirms(), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.reads("The machine has started")
			c.pay(sandbox.PayOptions{})
			c.sees("", "The machine was already in use",
				"So it did not start for your payment.", "€3.50 was refunded")
		}},
		{name: "on its way", pays: true, machine: confirms(), offline: true, visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.sees("", "Waiting for the machine", "You can close this page")
			c.machine.SetOnline(true)
			c.reads("The machine has started")
		}},
		{name: "refunded by the operator", pays: true, machine: confirms(), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.reads("The machine has started")
			c.operator("/api/payments/"+c.session.ID+"/refund", "{}")
			c.sees("", "The machine has started", "€3.50 was refunded")
		}},
		{name: "refunded at Stripe", pays: true, machine: confirms(), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.reads("The machine has started")
			c.stripe.Refund(c.session.ID, 0)
			c.sees("", "Ended early", "This ended early because your payment was refunded.", "€3.50 was refunded")
		}},
		{name: "refunded in part", pays: true, machine: confirms(), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.reads("The machine has started")
			c.operator("/api/payments/"+c.session.ID+"/refund", `{"amount":100}`)
			c.sees("", "The machine has started", "€1.00 of €3.50 was refunded.")
		}},
		{name: "ended by the operator", pays: true, machine: confirms(), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.reads("The machine has started")
			c.operator("/api/payments/"+c.session.ID+"/end", "{}")
			c.sees("", "Ended early", "The operator ended this early.")
		}},
		{name: "disputed", pays: true, machine: confirms(), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.reads("The machine has started")
			c.stripe.Dispute(c.session.ID)
			c.sees("", "The machine has started", "Your bank has asked for the money back")
			c.stripe.CloseDispute(c.session.ID, false)
			c.sees("", "The machine has started", "Your bank has decided")
		}},
		{name: "disputed before the start", pays: true, machine: confirms(), offline: true, visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.reads("Waiting for the machine")
			c.stripe.Dispute(c.session.ID)
			c.sees("", "The machine did not start",
				"Your bank asked for the money back before the machine could start.", "will decide")
		}},
		{name: "in trouble after the start", pays: true, machine: confirms(), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.reads("The machine has started")
			c.notehub.AddEvent(c.uid, "payment_ack.qo",
				map[string]any{"credit_id": c.machine.Starts()[0].CreditID, "state": "failed", "code": "E-HEAT"})
			c.sees("", "The machine has started", "then reported a problem", "E-HEAT", "help@wash.example",
				"give the reference below")
		}},
		{name: "gone since the checkout was opened", pays: true, machine: confirms(), visit: func(c *customer) {
			checkout := c.opensCheckout()
			c.notehub.RemoveDevice(c.uid)
			c.operator("/refresh-devices", "")
			c.paysAt(checkout, sandbox.PayOptions{})
			c.sees("", "The machine did not start", "The machine is no longer in service.", "€3.50 was refunded")
		}},
		{name: "paused since the checkout was opened", pays: true, machine: confirms(), visit: func(c *customer) {
			checkout := c.opensCheckout()
			c.operator("/api/devices/"+c.uid+"/pause", `{"reason":"the door is broken"}`)
			c.paysAt(checkout, sandbox.PayOptions{})
			c.sees("", "The machine did not start", "The machine is out of service.", "€3.50 was refunded")
		}},
	}
}

func holding() []visitor {
	return []visitor{
		{name: "held and taken", pays: true, machine: confirms(), offline: true, visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.sees("", "Waiting for the machine", "€3.50 is reserved on your card, not charged.")
			c.machine.SetOnline(true)
			c.sees("", "The machine has started", "Time left")
		}},
		{
			name:     "held and released",
			pays:     true,
			machine:  confirms(),
			offline:  true,
			behavior: sandbox.Behavior{Refuse: "failed", Code: "E-DOOR"},
			visit: func(c *customer) {
				c.pay(sandbox.PayOptions{})
				c.stripe.Always(c.intent("cancel"), sandbox.Outcome{Status: http.StatusInternalServerError})
				c.machine.SetOnline(true)
				c.sees("", "The machine did not start", "The reservation of €3.50 is being canceled.")
				c.stripe.Clear(c.intent("cancel"))
				c.sees("", "The machine did not start",
					"You were not charged. The reservation of €3.50 was canceled.")
			},
		},
		{
			name:    "authorized, and expired before the capture",
			pays:    true,
			machine: confirms(),
			offline: true,
			visit: func(c *customer) {
				c.pay(sandbox.PayOptions{})
				c.stripe.Always(c.intent("capture"), sandbox.Outcome{Status: http.StatusInternalServerError})
				c.machine.SetOnline(true)
				c.sees("", "The machine has started", "The reserved €3.50 is being charged now.")
				c.stripe.ExpireAuthorization(c.session.ID)
				c.sees("", "The machine has started",
					"You were not charged. The reservation of €3.50 had already ended.")
			},
		},
		// No other visitor here has a refund.
		{
			name:      "refunds that do not come at once",
			pays:      true,
			machine:   confirms(),
			variables: sells(plain),
			visit: func(c *customer) {
				refunded := func(mode sandbox.RefundMode, says ...string) {
					c.t.Helper()
					c.stripe.SetRefunds(mode)
					c.pay(sandbox.PayOptions{})
					c.reads("The machine has started")
					c.p.payment(c.session.ID, `"money":"paid"`)
					c.operator("/api/payments/"+c.session.ID+"/refund", "{}")
					c.sees("", "The machine has started", says...)
				}
				refunded(sandbox.RefundsPend, "We are refunding €1.20 to you.", "Refund requested")
				c.stripe.SettleRefund(c.session.ID, true)
				c.reads("The machine has started", "€1.20 was refunded.")
				refunded(sandbox.RefundsLackBalance, "Your refund of €1.20 has not gone through yet.",
					"help@wash.example", "give the reference below", "cr_")
				refunded(sandbox.RefundsFail, "The refund of €1.20 failed", "help@wash.example",
					"give the reference below", "cr_")
			},
		},
	}
}

func delivering() []visitor {
	return []visitor{
		{name: "fetched", pays: true, variables: soon(), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.sees("", "The machine got your payment",
				"This machine does not report when it starts.", "help@wash.example")
			c.stripe.Refund(c.session.ID, 0)
			c.sees("", "The machine got your payment", "may start anyway", "€3.50 was refunded")
		}},
		{name: "delivery unclear", pays: true, variables: soon(), visit: func(c *customer) {
			c.notehub.Always(notesOf(c.uid), sandbox.Outcome{}) // always cut, and never stored
			c.pay(sandbox.PayOptions{})
			c.sees("", "Payment received", "We are sending your payment to the machine.")
			c.sees("", "We do not know whether the machine started", "You paid €3.50.", "help@wash.example")
		}},
		{name: "taken back, perhaps too late", pays: true, offline: true, variables: soon(), visit: func(c *customer) {
			// deleted, and the response is lost
			c.notehub.Next(deletesOf(c.uid), sandbox.Outcome{Applied: true})
			c.pay(sandbox.PayOptions{})
			c.sees("", "We do not know whether the machine started", "may have got it just before",
				"€3.50 was refunded", "help@wash.example")
		}},
	}
}

// notesOf returns the pattern of the request that posts a note for a device.
func notesOf(uid string) string { return strings.Replace(postNote, "{device}", uid, 1) }

// deletesOf returns the pattern of the request that recalls a note from a device.
func deletesOf(uid string) string {
	return "DELETE " + strings.TrimPrefix(notesOf(uid), "POST ") + "/{note}"
}

// intent returns the pattern of a request that changes the customer's PaymentIntent.
func (c *customer) intent(action string) string {
	return "POST /v1/payment_intents/" + c.session.PaymentIntent + "/" + action
}
