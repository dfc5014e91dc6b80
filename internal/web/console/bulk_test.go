package console

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"

	"notepay/internal/ledger"
)

func TestResultCountsWhatFailed(t *testing.T) {
	t.Parallel()
	full := errors.New("disk is full")
	done := result{}
	for i, err := range []error{
		nil,
		fmt.Errorf("pause dev:1: %w", full),
		fmt.Errorf("pause dev:2: %w", full),
		fmt.Errorf("pause dev:3: %w", context.DeadlineExceeded),
		fmt.Errorf("pause dev:4: %w", ledger.ErrNotFound),
		fmt.Errorf("pause dev:5: %w", errPressedTwice),
	} {
		done.add(named{Name: fmt.Sprint(i)}, "", err)
	}
	done.add(named{}, "It was paused already.", nil)
	if done.Done != 1 || done.Failed != 3 || len(done.Left) != 5 || !errors.Is(done.first, full) {
		t.Errorf("%+v; want one done, three that failed for two reasons, and three left out", done)
	}
	const why = "The change could not be stored: disk is full."
	if first := done.Left[0]; !first.Failed || first.Count != 2 || first.Why != why {
		t.Errorf("%+v; want the two that the disk failed, together", first)
	}
	for _, l := range done.Left[2:] {
		if l.Failed {
			t.Errorf("%+v counts as failed; another press would not change it", l)
		}
	}
}

func TestBulkContextOutlivesTheBrowser(t *testing.T) {
	t.Parallel()
	left, leave := context.WithCancel(t.Context())
	leave()
	ctx, cancel := bulkContext(httptest.NewRequest("POST", "/operator/devices", nil).WithContext(left))
	defer cancel()
	if _, bounded := ctx.Deadline(); ctx.Err() != nil || !bounded {
		t.Errorf("%v, bounded %v; want a context that only time ends", ctx.Err(), bounded)
	}
}
