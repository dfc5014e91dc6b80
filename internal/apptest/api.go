package apptest

import (
	"encoding/json"
	"net/http"
	"time"
)

// Listed are the sessions of a list of payments, which are the newest first, and the cursor of the
// next.
func (f *Front) Listed(query string) (sessions []string, next string) {
	f.Helper()
	w := f.AsOperator("/api/payments?" + query)
	var list struct {
		Payments []struct {
			SessionID string    `json:"session_id"`
			CreatedAt time.Time `json:"created_at"`
		} `json:"payments"`
		Next *string `json:"next_cursor"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || w.Code != http.StatusOK || list.Next == nil ||
		list.Payments == nil {
		f.Fatalf("%s: %d %s (%v); want a list", query, w.Code, w.Body, err)
	}
	for i, p := range list.Payments {
		if i > 0 && p.CreatedAt.After(list.Payments[i-1].CreatedAt) {
			f.Errorf("%s: %s comes after one that is older", query, p.SessionID)
		}
		sessions = append(sessions, p.SessionID)
	}
	return sessions, *list.Next
}
