package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"notepay/internal/sandbox"
)

// askTimeout is how long notepay may take to answer.
const askTimeout = 2 * time.Second

// known holds notepay's own records. They are read through the operator's API, so the page guesses
// nothing.
type known struct {
	payments map[string]record // by session
	paused   map[string]string // why notepay does not sell on a device, by UID
}

// record is a payment in the reply of GET /api/payments.
type record struct {
	ID             string `json:"id"`
	Session        string `json:"session_id"`
	Money          string `json:"money"`
	RefundedAmount int64  `json:"refunded_amount"` // minor units
	Machine        string `json:"machine"`
	Reason         string `json:"reason"`
	NeedsAttention bool   `json:"needs_attention"`
}

// ask reads notepay's records. If notepay does not answer, the last records stay.
func (d *Demo) ask(ctx context.Context) {
	var payments struct{ Payments []record }
	var devices struct {
		Devices []struct {
			UID    string
			Paused *struct{ Reason string }
		}
	}
	for path, into := range map[string]any{"/api/payments?limit=50": &payments, "/api/devices": &devices} {
		if err := d.operate(ctx, http.MethodGet, path, into); err != nil {
			d.log.Debug("request to notepay failed", "path", path, "err", err)
			return
		}
	}
	k := known{make(map[string]record), make(map[string]string)}
	for _, p := range payments.Payments {
		k.payments[p.Session] = p
	}
	for _, device := range devices.Devices {
		if device.Paused != nil {
			k.paused[device.UID] = device.Paused.Reason
		}
	}
	d.mu.Lock()
	d.known = k
	d.mu.Unlock()
}

// operate calls the operator's API of notepay, without showing the request on the page. The
// argument into may be nil.
func (d *Demo) operate(ctx context.Context, method, path string, into any) error {
	d.mu.Lock()
	notepay := d.notepay
	d.mu.Unlock()
	if notepay == nil {
		return fmt.Errorf("%s %s: notepay is not there yet", method, path)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://notepay"+path, strings.NewReader(""))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+d.operatorToken)
	answer, err := sandbox.InProcess(notepay).RoundTrip(r)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer func() { _ = answer.Body.Close() }()
	switch {
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("%s %s: %s", method, path, answer.Status)
	case into == nil:
		return nil
	}
	return json.NewDecoder(answer.Body).Decode(into)
}
