package notefile

import (
	"slices"
	"strings"
	"testing"
)

func TestCheckPaymentsAndCheckAnswers(t *testing.T) {
	t.Parallel()
	for name, valid := range map[string]bool{
		"payment": true, "payment_2": true, "a": true, "9-lives": true, strings.Repeat("x", 32): true,
		"": false, "_session": false, "-x": false, "Payment": false, "pay ment": false, "pay/ment": false,
		"pay.ment": false, "payment.qi": false, strings.Repeat("x", 33): false, "z\u00e4hler": false,
		"payment\n": false, "../payment": false,
	} {
		for ending, check := range map[string]func(string) string{".qi": CheckPayments, ".qo": CheckAnswers} {
			for _, tls := range []string{"", "s"} {
				if why := check(name + ending + tls); (why == "") != valid {
					t.Errorf("%q: %q; valid: %t", name+ending+tls, why, valid)
				}
			}
		}
	}
	for _, name := range []string{
		"payment", "payment.qo", "payment.qiss", "payment.qis ", "payment.db", ".qi", ".qis", "s",
	} {
		if CheckPayments(name) == "" {
			t.Errorf("%q is accepted for payments", name)
		}
	}
	if CheckAnswers("payment_ack.qi") == "" || CheckAnswers("payment_ack.qbos") == "" {
		t.Error("an inbound name is accepted for answers")
	}
	if CheckPayments(Payments) != "" || CheckAnswers(Answers) != "" {
		t.Error("a default name is refused")
	}
}

func TestBoth(t *testing.T) {
	t.Parallel()
	if got := Both("payment.qi"); !slices.Equal(got, []string{"payment.qi", "payment.qis"}) {
		t.Errorf("got %q", got)
	}
	if got := Both("payment_ack.qos"); !slices.Equal(got, []string{"payment_ack.qos", "payment_ack.qo"}) {
		t.Errorf("got %q", got)
	}
}
