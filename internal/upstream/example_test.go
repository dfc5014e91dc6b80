package upstream_test

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"notepay/internal/upstream"
)

// A limiter with a burst of two lets two calls begin at once. A third one has to wait.
func ExampleLimiter() {
	limiter := upstream.NewLimiter(6, 2)
	for range 3 {
		if limiter.Take() {
			fmt.Println("call")
		} else {
			fmt.Println("wait about", limiter.Delay(time.Now()).Round(time.Second))
		}
	}
	// Output:
	// call
	// call
	// wait about 10s
}

// A vendor's request to slow down holds for every call to it.
func ExampleLimiter_Observe() {
	limiter := upstream.NewLimiter(0, 0)
	fmt.Println("may call:", limiter.Take())

	limiter.Observe(time.Now(), &upstream.Error{
		Outcome:    upstream.RateLimited,
		Status:     http.StatusTooManyRequests,
		RetryAfter: 30 * time.Second,
	})
	fmt.Println("may call:", limiter.Take())
	// Output:
	// may call: true
	// may call: false
}

// The wait doubles with each failure, up to a minute. The jitter of 0.5 is the middle.
func ExampleBackoff() {
	for n := 1; n <= 8; n++ {
		fmt.Print(upstream.Backoff(n, 0.5), " ")
	}
	// Output: 1s 2s 4s 8s 16s 32s 1m0s 1m0s
}

// An error that tells nothing counts as Unknown, because the vendor may have done what was asked.
func ExampleOutcomeOf() {
	fmt.Println(upstream.OutcomeOf(nil) == upstream.OK)
	fmt.Println(upstream.OutcomeOf(&upstream.Error{Outcome: upstream.Rejected}) == upstream.Rejected)
	fmt.Println(upstream.OutcomeOf(errors.New("connection reset")) == upstream.Unknown)
	// Output:
	// true
	// true
	// true
}
