package upstream

import (
	"errors"
	"fmt"
	"testing"
)

func TestOutcomeOf(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want Outcome
	}{
		"no error is done":        {nil, OK},
		"an Error says it itself": {&Error{Outcome: Rejected}, Rejected},
		"an Error under others is found": {
			fmt.Errorf("send note: %w", errors.Join(errors.New("first"), &Error{Outcome: RateLimited})), RateLimited,
		},
		"what nobody has judged may have been done": {errors.New("connection reset"), Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := OutcomeOf(c.err); got != c.want {
				t.Errorf("OutcomeOf(%v) = %v; want %v", c.err, got, c.want)
			}
		})
	}
}

func TestOutcomeString(t *testing.T) {
	t.Parallel()
	for outcome, want := range map[Outcome]string{
		OK: "done", Rejected: "refused", Misconfigured: "trouble", RateLimited: "wait", Retryable: "again",
		Unknown: "unclear",
		-1:      "outcome(-1)", Unknown + 1: "outcome(6)",
	} {
		if got := outcome.String(); got != want {
			t.Errorf("outcome %d is %q; want %q", int(outcome), got, want)
		}
	}
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	cut := errors.New("connection reset")
	for name, c := range map[string]struct {
		err  Error
		want string
	}{
		"no reply: the cause": {Error{Outcome: Unknown, Err: cut}, "unclear: connection reset"},
		"a reply with words: status, words": {
			Error{Outcome: Rejected, Status: 404, Detail: "device not found"},
			"refused: status 404: device not found",
		},
		"a reply without words: its status": {Error{Outcome: Retryable, Status: 503}, "again: status 503"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := c.err.Error(); got != c.want {
				t.Errorf("got %q; want %q", got, c.want)
			}
		})
	}
	if err := error(&Error{Outcome: Unknown, Err: cut}); !errors.Is(err, cut) {
		t.Errorf("the cause is not found in %v", err)
	}
}
