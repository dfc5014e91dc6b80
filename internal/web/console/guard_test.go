package console

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"notepay/internal/ledger"
	"notepay/internal/ledger/ledgertest"
)

// Two presses of a button may both find that it was not pressed, at two instances or at one. The
// transaction of the second one fails.
func TestFormTokenIsConsumedOnce(t *testing.T) {
	t.Parallel()
	l, err := ledger.Open(t.Context(), ledgertest.Fresh(t))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := httptest.NewRequest(http.MethodPost, "/operator/devices/dev:1/start", strings.NewReader("once=token"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	press := func(about ...string) error { return l.Update(t.Context(), consumeFormTokenOf(r, about...).Before) }
	if err := errors.Join(press(), press("dev:1"), press("dev:2")); err != nil {
		t.Errorf("first presses fail: %v", err)
	}
	for _, about := range [][]string{nil, {"dev:1"}} {
		if err := press(about...); !errors.Is(err, errPressedTwice) {
			t.Errorf("a second press about %q: %v; want %v", about, err, errPressedTwice)
		}
	}
}
