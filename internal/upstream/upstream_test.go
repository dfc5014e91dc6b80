package upstream

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestOutcomeOf(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want Outcome
	}{
		"no error is done":                          {nil, OK},
		"an Error says it itself":                   {&Error{Outcome: Rejected}, Rejected},
		"an Error under others is found":            {fmt.Errorf("send note: %w", errors.Join(errors.New("first"), &Error{Outcome: RateLimited})), RateLimited},
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

func TestOutcomesHaveNames(t *testing.T) {
	t.Parallel()
	for outcome, want := range map[Outcome]string{
		OK: "done", Rejected: "refused", Misconfigured: "trouble", RateLimited: "wait", Retryable: "again", Unknown: "unclear",
		-1: "outcome(-1)", Unknown + 1: "outcome(6)",
	} {
		if got := outcome.String(); got != want {
			t.Errorf("outcome %d is %q; want %q", int(outcome), got, want)
		}
	}
}

func TestErrorSaysWhatIsKnown(t *testing.T) {
	t.Parallel()
	cut := errors.New("connection reset")
	for name, c := range map[string]struct {
		err  Error
		want string
	}{
		"no reply: the cause":               {Error{Outcome: Unknown, Err: cut}, "unclear: connection reset"},
		"a reply with words: status, words": {Error{Outcome: Rejected, Status: 404, Detail: "device not found"}, "refused: status 404: device not found"},
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

func TestBackoff(t *testing.T) {
	t.Parallel()
	const s = time.Second
	for _, c := range []struct {
		failure                int
		shortest, middle, most time.Duration // by jitter 0, 0.5 and almost 1
	}{
		{0, 800 * time.Millisecond, 1 * s, 1200 * time.Millisecond}, // none yet: as after the first
		{1, 800 * time.Millisecond, 1 * s, 1200 * time.Millisecond},
		{2, 1600 * time.Millisecond, 2 * s, 2400 * time.Millisecond},
		{3, 3200 * time.Millisecond, 4 * s, 4800 * time.Millisecond},
		{4, 6400 * time.Millisecond, 8 * s, 9600 * time.Millisecond},
		{5, 12800 * time.Millisecond, 16 * s, 19200 * time.Millisecond},
		{6, 25600 * time.Millisecond, 32 * s, 38400 * time.Millisecond},
		{7, 48 * s, 60 * s, 72 * s},
		{8, 48 * s, 60 * s, 72 * s},
		{1 << 40, 48 * s, 60 * s, 72 * s}, // nothing overflows
	} {
		for _, drawn := range []struct {
			jitter float64
			want   time.Duration
		}{{0, c.shortest}, {0.5, c.middle}, {0.999999, c.most}} {
			got := Backoff(c.failure, drawn.jitter)
			if (got-drawn.want).Abs() > time.Millisecond || got > c.most {
				t.Errorf("Backoff(%d, %g) = %v; want %v", c.failure, drawn.jitter, got, drawn.want)
			}
		}
	}
}
