package console_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/sandbox"
)

// Payments that need attention for the same reason are one entry with one button, and the tab's title
// counts them.
func TestAttentionIsGrouped(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		if page := b.Shows("/operator"); !strings.Contains(page, "<title>Today –") {
			f.Error("the title counts something")
		}
		var ids []string
		for range 7 {
			ids = append(ids, buyRejected(f))
		}
		other := f.Buy(sandbox.PayOptions{}) // needs no attention
		f.Pass(time.Minute)
		page := b.Shows("/operator", "<title>(7) Today –", "7 payments", "Dismiss all (7)", "2 more")
		if n := strings.Count(page, "Notehub rejected the credit"); n != 1 {
			f.Errorf("the cause is reported %d times; want once", n)
		}
		b.Shows("/operator/devices", "<title>(7) Machines –")
		const all = "/operator/attention/refused/dismiss"
		f.Answers("all", b.Press("/operator", all, "reason", "a mistake of mine"), http.StatusOK, "Dismissed: <b>7</b>")
		page = b.Shows("/operator", "Nothing needs your attention.", "<title>Today –")
		if strings.Contains(page, ids[0]) {
			f.Error("what was dismissed is still listed")
		}
		for _, id := range ids {
			f.Audited(id, "operator dismiss a mistake of mine")
		}
		f.Audited(other.ID)
		f.Answers("of nothing", b.Send("POST", all, "once=AAAA"), http.StatusOK, "Dismissed: <b>0</b>")
		f.Answers("an unknown action", b.Send("POST", "/operator/attention/refused/adore", "once=AAAB"), 404, "")
		if w := f.Do("POST", all, ""); w.Code == http.StatusSeeOther || w.Code/100 == 2 {
			f.Errorf("a stranger dismisses: %d", w.Code)
		}
	})
}
