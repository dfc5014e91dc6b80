package ledger

import (
	"errors"
	"testing"
	"time"

	"notepay/internal/payment"
)

func testOtherNonsense(t *testing.T, database string) {
	l := open(t, database)
	insert(t, l, testPayment("one"))
	attempt := Attempt{At: noon(), Action: payment.StepPostNote, Outcome: "ok"}
	event := StripeEvent{ID: "evt_1", Created: noon(), Received: noon(), Outcome: "ignored"}
	for name, c := range map[string]struct {
		rule, words string
		do          func(tx *Tx) error
	}{
		"an attempt for no payment": {"not null", "attempts.n", func(tx *Tx) error {
			return tx.AddAttempt(payment.CreditID("cs_unknown"), attempt)
		}},
		"an attempt at nothing": {"check", "action", func(tx *Tx) error {
			a := attempt
			a.Action = payment.NoStep
			return tx.AddAttempt(payment.CreditID("cs_one"), a)
		}},
		"an attempt without an outcome": {"check", "outcome", func(tx *Tx) error {
			a := attempt
			a.Outcome = ""
			return tx.AddAttempt(payment.CreditID("cs_one"), a)
		}},
		"an event that nothing came of": {"check", "outcome", func(tx *Tx) error {
			e := event
			e.Outcome = ""
			_, err := tx.AddEvent(e)
			return err
		}},
		"a device with another id": {"check", "uid LIKE", func(tx *Tx) error {
			return tx.SaveDevice(Device{UID: "imei:1"})
		}},
		"a link at a negative price": {"check", "amount", func(tx *Tx) error {
			k := link("plink_1")
			k.Plan.Amount = -1
			return tx.SaveLink(k)
		}},
		"a link for a negative duration": {"check", "duration_s", func(tx *Tx) error {
			k := link("plink_1")
			k.Plan.Duration = -time.Second
			return tx.SaveLink(k)
		}},
		"a link with a negative delay": {"check", "delayed_start_s", func(tx *Tx) error {
			k := link("plink_1")
			k.Plan.DelayedStart = -time.Second
			return tx.SaveLink(k)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			wantRefused(t, l.Update(t.Context(), c.do), c.rule, c.words)
		})
	}
}

// The schema rejects values that no method of Tx would write.
func testNonsenseStatements(t *testing.T, database string) {
	l := open(t, database)
	insert(t, l, testPayment("one"))
	mustUpdate(t, l, func(tx *Tx) error {
		_, err := tx.AddEvent(StripeEvent{ID: "evt_1", Outcome: "ignored"})
		return errors.Join(
			err,
			tx.SaveDevice(Device{UID: "dev:1"}),
			tx.SaveLink(link("plink_1")),
			tx.AddLookup(Lookup{ID: "cs_1"}),
		)
	})
	for set, words := range map[string]string{
		"payments SET id = 'py_aaaaaaaaaaaaaaaa'":       "id LIKE",
		"payments SET id = 'cr_aaaaaaaaaaaaaaa'":        "length(id)",
		"payments SET livemode = 2":                     "livemode IN",
		"payments SET in_flight = 3":                    "in_flight BETWEEN",
		"payments SET posted = 2":                       "posted IN",
		"payments SET posted = 1, unclear = 2":          "unclear IN",
		"devices SET disabled = 2":                      "disabled IN",
		"links SET livemode = 2":                        "livemode IN",
		"links SET active = 2":                          "active IN",
		"stripe_events SET livemode = 2":                "livemode IN",
		"lookups SET failures = -1":                     "failures >=",
		"payments SET with_code = 2":                    "with_code IN",
		"payments SET access_code = '493817'":           "access_code",
		"payments SET with_code = 1, access_code = '1'": "access_code",
	} {
		t.Run(set, func(t *testing.T) {
			err := l.Update(t.Context(), func(tx *Tx) error {
				_, err := tx.exec("UPDATE " + set)
				return err
			})
			wantRefused(t, err, "check", words)
		})
	}
}
