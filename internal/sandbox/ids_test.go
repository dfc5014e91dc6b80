package sandbox

import (
	"strings"
	"testing"
	"time"
)

func TestTimedIDGrowsWithTime(t *testing.T) {
	t.Parallel()
	// Stripe's documentation shows evt_1NG8Du2eZvKYlo2CUI79vXWy, created at this second.
	at := time.Unix(1686089970, 0)
	const stripes = "evt_1NG8Du2eZvKYlo2CUI79vXWy"
	if id := timedID("evt_1", at); !strings.HasPrefix(id, stripes[:10]) || len(id) != len(stripes) {
		t.Errorf("%s; want one that begins as %s", id, stripes)
	}
	before := ""
	for range 4000 {
		id := timedID("pi_3", at)
		if id[:len(id)-8] <= before {
			t.Fatalf("%s follows %s", id, before)
		}
		before, at = id[:len(id)-8], at.Add(time.Second)
	}
	if one, other := timedID("pi_3", at), timedID("pi_3", at); one == other {
		t.Error("two ids of one second are equal")
	}
}
