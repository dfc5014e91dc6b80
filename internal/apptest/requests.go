package apptest

import (
	"net/http/httptest"
	"testing/synctest"
)

// Posts sends a JSON request of the operator's, with an Idempotency-Key if there is one.
func (f *Front) Posts(path, body, key string) *httptest.ResponseRecorder {
	header := []string{"Authorization", "Bearer " + OperatorToken}
	if key != "" {
		header = append(header, "Idempotency-Key", key)
	}
	w := f.Do("POST", path, body, header...)
	synctest.Wait()
	return w
}
