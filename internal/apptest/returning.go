package apptest

import (
	"net/http"
	"time"
)

const SuccessPage = "/payment/success?session_id="

// ComesBack loads the success page as a browser does, again every two seconds, and returns how long
// the payer waited for an answer.
func (f *Front) ComesBack(session string) time.Duration {
	f.Helper()
	began := time.Now()
	for time.Since(began) < time.Minute {
		switch w := f.Get(SuccessPage + session); w.Code {
		case http.StatusSeeOther:
			return time.Since(began)
		case http.StatusServiceUnavailable:
			time.Sleep(2 * time.Second)
		default:
			f.Fatalf("the payer gets %d %s", w.Code, w.Body)
		}
	}
	f.Errorf("the payer of %s was not answered within a minute", session)
	return time.Since(began)
}
