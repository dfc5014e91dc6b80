package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"

	"notepay/internal/bridge"
	"notepay/internal/ledger"
	"notepay/internal/payment"
)

const (
	keyHeader    = "Idempotency-Key"
	maxKeyLength = 255 // as at Stripe
)

// once makes a request with an Idempotency-Key count once within ledger.RequestsKept. Key, action
// and answer are stored in one transaction, so that a crash leaves all of them or none. A failed
// request changes nothing, and its key can be used again.
type once struct {
	key     string // "" for a request without one
	request string // digest of route and decision
	answer  string // body of the answer, set by the transaction
}

// newOnce reads the key of a request. It returns an *Error for an invalid key.
func newOnce(r *http.Request, d decision) (*once, error) {
	keys := r.Header.Values(keyHeader)
	if len(keys) == 0 {
		return &once{}, nil
	}
	if len(keys) > 1 || keys[0] == "" || len(keys[0]) > maxKeyLength || !printable(keys[0]) {
		return nil, NewError(http.StatusBadRequest, "bad_idempotency_key",
			fmt.Sprintf("send one %s of 1 to %d printable ASCII characters, such as a UUID", keyHeader, maxKeyLength))
	}
	body, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(fmt.Appendf(nil, "%s %s\n%s", r.Method, r.URL.Path, body))
	return &once{key: "key:" + keys[0], request: hex.EncodeToString(digest[:])}, nil
}

// printable reports whether s is printable ASCII.
func printable(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// also returns the functions that run in the action's transaction.
func (o *once) also() bridge.Also {
	if o.key == "" {
		return bridge.Also{}
	}
	return bridge.Also{
		Before: func(tx *ledger.Tx) error {
			answer, known, err := tx.BeginRequest(o.key, o.request)
			if err == nil && known {
				err = &repeated{answer}
			}
			return err
		},
		After: func(tx *ledger.Tx, p payment.Payment) error {
			attempts, err := tx.Attempts(p.ID)
			if err != nil {
				return err
			}
			body, err := json.Marshal(shownPayment(p, attempts))
			if err != nil {
				return err
			}
			o.answer = string(body)
			return tx.AnswerRequest(o.key, o.answer)
		},
	}
}

// repeated is the error of a request that succeeded before, with its answer.
type repeated struct{ answer string }

func (*repeated) Error() string { return "this request was done already" }

var errOtherRequest = NewError(http.StatusUnprocessableEntity, "idempotency_key_reused",
	"this "+keyHeader+" was sent with another request: another route, amount or reason. "+
		"Use a new key for a new request")
