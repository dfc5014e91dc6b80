package message_test

import (
	"errors"
	"testing"
	"time"

	"notepay/internal/message"
)

func TestMessage(t *testing.T) {
	t.Parallel()
	german := map[string]string{
		"%d of %s are off: %s": "aus bei %[2]s: %[1]d (%[3]s)",
		"the project":          "im Projekt",
		"%s was never seen":    "%s war nie da",
		"100% done":            "zu 100% fertig",
	}
	translate := func(text string) string {
		if own, ok := german[text]; ok {
			return own
		}
		return text
	}
	late := message.List{message.New("%s was never seen", "dev:1"), message.New("%s has no key", "dev:2")}
	for _, c := range []struct {
		m            message.Message
		english, own string
	}{
		{
			message.New("%d of %s are off: %s", 2, message.New("the project"), late),
			"2 of the project are off: dev:1 was never seen; dev:2 has no key",
			"aus bei im Projekt: 2 (dev:1 war nie da; dev:2 has no key)",
		},
		{message.New("100% done"), "100% done", "zu 100% fertig"},
		{
			message.New("it says %s after %s", errors.New("no\n\tsuch  file"), 90*time.Second),
			"it says no such file after 1m30s", "it says no such file after 1m30s",
		},
		// A name that is a text of a page, too, is no text.
		{message.New("%s was never seen", "the project"), "the project was never seen", "the project war nie da"},
		{message.Message{}, "", ""},
	} {
		if got := c.m.String(); got != c.english {
			t.Errorf("%q; want %q", got, c.english)
		}
		if got := c.m.In(translate); got != c.own {
			t.Errorf("translated %q; want %q", got, c.own)
		}
	}
	if !(message.Message{}).IsZero() || message.New("x").IsZero() {
		t.Error("IsZero is wrong")
	}
}
