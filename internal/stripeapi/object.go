package stripeapi

import (
	"encoding/json"
	"fmt"

	"notepay/internal/upstream"
)

// CheckObject returns an error unless a reply is one of Stripe's objects. Each of them says what it
// is, and a list has data.
func CheckObject(body []byte) error {
	var reply struct {
		Object string          `json:"object"`
		Data   json.RawMessage `json:"data"`
	}
	err := json.Unmarshal(body, &reply)
	if err != nil || reply.Object == "" || reply.Object == "list" && (len(reply.Data) == 0 || reply.Data[0] != '[') {
		return fmt.Errorf("it is no object of Stripe's: %s", upstream.Excerpt(body))
	}
	return nil
}
