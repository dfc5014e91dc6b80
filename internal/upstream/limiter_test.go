package upstream

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// inBubble runs a test in fake time, which jumps when all goroutines wait.
func inBubble(test func(t *testing.T)) func(t *testing.T) {
	return func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, test)
	}
}

// wantDelay checks the delay, and that Available and Reserve agree with it.
func wantDelay(t *testing.T, p *Limiter, want time.Duration) {
	t.Helper()
	got := p.Delay(time.Now())
	if (got - want).Abs() > 10*time.Microsecond {
		t.Errorf("the next call has to wait %v; want %v", got, want)
	}
	if mayCall := p.Available() > 0; mayCall != (got == 0) {
		t.Errorf("Allowance is %d while Delay is %v", p.Available(), got)
	}
}

func TestLimiter(t *testing.T) {
	t.Parallel()
	tooMany := &Error{Outcome: RateLimited, Status: 429}
	tooManyFor := func(d time.Duration) error { return &Error{Outcome: RateLimited, Status: 429, RetryAfter: d} }

	t.Run("without a limit nobody waits", inBubble(func(t *testing.T) {
		p := NewLimiter(0, 0)
		for range 1000 {
			p.Use(time.Now())
		}
		wantDelay(t, p, 0)
		if got := p.Available(); got != math.MaxInt {
			t.Errorf("Allowance is %d; want no limit", got)
		}
		began := time.Now()
		if err := p.Wait(t.Context()); err != nil || time.Since(began) != 0 {
			t.Errorf("Wait took %v and returned %v; want 0s and nil", time.Since(began), err)
		}
	}))

	t.Run("Retry-After holds for all, and a shorter one does not shorten it", inBubble(func(t *testing.T) {
		p := NewLimiter(0, 0)
		p.Observe(time.Now(), tooManyFor(10*time.Second))
		wantDelay(t, p, 10*time.Second)
		time.Sleep(4 * time.Second)
		wantDelay(t, p, 6*time.Second)
		p.Observe(time.Now(), tooManyFor(time.Second))
		p.Observe(time.Now(), nil)
		wantDelay(t, p, 6*time.Second)
		p.Observe(time.Now(), tooManyFor(time.Minute))
		wantDelay(t, p, time.Minute)
		time.Sleep(time.Minute)
		wantDelay(t, p, 0)
	}))

	t.Run("429s without Retry-After hold longer each time, until a call succeeds", inBubble(func(t *testing.T) {
		p := NewLimiter(0, 0)
		for _, want := range []time.Duration{1200, 2400, 4800, 9600, 19200, 38400, 72000, 72000} {
			p.Observe(time.Now(), tooMany)
			wantDelay(t, p, want*time.Millisecond)
			time.Sleep(p.Delay(time.Now()))
		}
		p.Observe(time.Now(), nil)
		p.Observe(time.Now(), tooMany)
		wantDelay(t, p, 1200*time.Millisecond)
	}))

	t.Run("the 429s of calls that were under way together count as one", inBubble(func(t *testing.T) {
		p := NewLimiter(0, 0)
		for range 64 {
			p.Observe(time.Now(), tooMany)
		}
		wantDelay(t, p, 1200*time.Millisecond)
		time.Sleep(time.Second)
		p.Observe(time.Now(), tooMany) // the result of a slower call
		wantDelay(t, p, 1200*time.Millisecond)
	}))

	t.Run("the limit lets a burst through and then one call each second", inBubble(func(t *testing.T) {
		p := NewLimiter(60, 3)
		if got := p.Available(); got != 3 {
			t.Errorf("Allowance is %d; want the burst of 3", got)
		}
		began := time.Now()
		for _, want := range []time.Duration{0, 0, 0, 1, 2, 3} {
			wantWait(t, p, began, want*time.Second)
		}
		time.Sleep(time.Hour)
		if got := p.Available(); got != 3 {
			t.Errorf("Allowance after an idle hour is %d; want 3", got)
		}
	}))

	t.Run("what claims spend is missing to reads, and overdrawing is paid back", inBubble(func(t *testing.T) {
		p := NewLimiter(60, 2)
		for range 4 {
			p.Use(time.Now())
		}
		wantDelay(t, p, 3*time.Second)
		if got := p.Available(); got != 0 {
			t.Errorf("Allowance after overdrawing is %d; want 0", got)
		}
		wantWait(t, p, time.Now(), 3*time.Second)
	}))

	t.Run("who waits out the delay has a slot, whatever the rate", inBubble(func(t *testing.T) {
		for perMinute := range 700 {
			p := NewLimiter(float64(perMinute+1), 1)
			for range 5 {
				p.Use(time.Now())
				time.Sleep(p.Delay(time.Now()))
				if got := p.Available(); got != 1 {
					t.Errorf("%d a minute: Allowance after the delay is %d; want 1", perMinute+1, got)
				}
			}
		}
	}))

	t.Run("a burst of 0 counts as 1", inBubble(func(t *testing.T) {
		p := NewLimiter(60, 0)
		began := time.Now()
		wantWait(t, p, began, 0)
		wantWait(t, p, began, time.Second)
	}))
}

// wantWait takes a slot, which must be free a given time after began. A read may get it a little
// later.
func wantWait(t *testing.T, p *Limiter, began time.Time, want time.Duration) {
	t.Helper()
	err := p.Wait(t.Context())
	if got := time.Since(began); err != nil || got < want || got > want+2*yield {
		t.Errorf("Wait returned %v after %v; want nil after %v", err, got, want)
	}
}

func TestWaitNeitherOverdrawsNorLosesSlots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const burst, callers, each = 5, 50, 100 * time.Millisecond
		p := NewLimiter(600, burst)
		began := time.Now()
		var mu sync.Mutex
		var after []time.Duration // when each call got its slot, in order
		var all sync.WaitGroup
		for range callers {
			all.Go(func() {
				if err := p.Wait(t.Context()); err != nil {
					t.Errorf("wait: %v", err)
				}
				mu.Lock()
				defer mu.Unlock()
				after = append(after, time.Since(began))
			})
		}
		all.Wait()
		for n, got := range after {
			earliest := time.Duration(max(n+1-burst, 0)) * each
			if got < earliest || got > earliest+2*yield {
				t.Errorf("call %d was let through after %v; want %v", n+1, got, earliest)
			}
		}
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	t.Run("while it waits for a slot", inBubble(func(t *testing.T) {
		p := NewLimiter(1, 1)
		p.Use(time.Now())
		wantDeadline(t, p, 10*time.Second)
		wantDelay(t, p, 50*time.Second) // a canceled wait takes no slot
	}))
	t.Run("while the vendor holds", inBubble(func(t *testing.T) {
		p := NewLimiter(0, 0)
		p.Observe(time.Now(), &Error{Outcome: RateLimited, RetryAfter: time.Hour})
		wantDeadline(t, p, 10*time.Second)
	}))
	t.Run("before it began, and then takes no slot", inBubble(func(t *testing.T) {
		p := NewLimiter(60, 1)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.Wait(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Wait returned %v; want %v", err, context.Canceled)
		}
		wantDelay(t, p, 0)
	}))
}

func wantDeadline(t *testing.T, p *Limiter, limit time.Duration) {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := p.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != limit {
		t.Errorf("Wait returned %v after %v; want %v after %v", err, time.Since(began), context.DeadlineExceeded, limit)
	}
}

func TestWaitRespectsAHoldThatGrows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := NewLimiter(0, 0)
		began := time.Now()
		p.Observe(began, &Error{Outcome: RateLimited, RetryAfter: 10 * time.Second})
		time.AfterFunc(
			5*time.Second,
			func() { p.Observe(time.Now(), &Error{Outcome: RateLimited, RetryAfter: 20 * time.Second}) },
		)
		wantWait(t, p, began, 25*time.Second)
	})
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	again, trouble := &Error{Outcome: Retryable, Status: 503}, &Error{Outcome: Misconfigured, Status: 401}
	for name, c := range map[string]struct {
		calls []error
		want  string
	}{
		"no call":                {nil, ""},
		"two failures are noise": {[]error{again, trouble}, ""},
		"three say what the last of them said": {
			[]error{again, errors.New("cut"), trouble},
			"trouble: status 401",
		},
		"a call that is done ends it":            {[]error{again, again, again, nil}, ""},
		"a refusal is an answer":                 {[]error{again, again, &Error{Outcome: Rejected}, again}, ""},
		"after an answer three are needed again": {[]error{again, again, again, nil, again, again}, ""},
		"being asked to slow down counts for nothing": {
			[]error{&Error{Outcome: RateLimited}, &Error{Outcome: RateLimited}, &Error{Outcome: RateLimited}},
			"",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := NewLimiter(0, 0)
			for _, err := range c.calls {
				p.Observe(time.Now(), err)
			}
			if got := p.Unreachable(); got != c.want {
				t.Errorf("Unreachable is %q; want %q", got, c.want)
			}
		})
	}
}

func TestRefusesAfterSeveralRejections(t *testing.T) {
	t.Parallel()
	now := time.Now()
	refused, unclear := &Error{Outcome: Misconfigured, Status: 401}, &Error{Outcome: Unknown}
	for name, c := range map[string]struct {
		calls []error
		want  bool
	}{
		"three refusals":                   {[]error{refused, refused, refused}, true},
		"two are noise":                    {[]error{refused, refused}, false},
		"a vendor that is down":            {[]error{unclear, unclear, unclear, unclear}, false},
		"refusals and an answer":           {[]error{refused, refused, refused, nil}, false},
		"refusals with an outage between":  {[]error{refused, refused, unclear, refused}, false},
		"refusals, and a device's refusal": {[]error{refused, refused, refused, &Error{Outcome: Rejected}}, false},
	} {
		p := NewLimiter(0, 0)
		for _, err := range c.calls {
			p.Observe(now, err)
		}
		if got := p.Refuses(); got != c.want {
			t.Errorf("%s: refuses us %v; want %v", name, got, c.want)
		}
	}
}
