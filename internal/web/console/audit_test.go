package console_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// An owner asks who refunded what, and what happened to a machine. Neither knows references or UIDs.
func TestAuditIsSearched(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, apptest.ReadAtOnce, func(f *apptest.Front) {
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:2", Name: "Dryer 2"})
		f.Run()
		b := f.Browser()
		session := f.Buy(sandbox.PayOptions{})
		f.Notehub.Fetch(fixture.Washer, "payment.qi")
		f.Pass(11 * time.Minute)
		id := payment.CreditID(session.ID)
		page := "/operator/payments/" + id
		b.Does(b.Press(page, page+"/refund", "amount", "1", "reason", "cold water"), "refund")
		for device, reason := range map[string]string{fixture.Washer: "door stuck", "dev:2": "no warmth"} {
			machine := "/operator/devices/" + device
			b.Does(b.Press(machine, machine+"/pause", "reason", reason), "pause")
		}
		f.Answers("an invitation", b.Press("/operator/people", "/operator/people", "name", "Paul", "role", "view"),
			http.StatusOK, "Send this link to Paul.")

		const log = "/operator/audit"
		b.Shows(log, `href="`+page+`">Washer 3, 3.50 EUR</a>`, `href="/operator/devices/dev:2">Dryer 2</a>`,
			`href="/operator/audit?subject=operator">operator</a>`, "cold water", "no warmth", "Paul")
		for query, want := range map[string][]string{
			"?subject=dryer":              {"no warmth"},
			"?subject=Dryer+2":            {"no warmth"},
			"?subject=dev:2":              {"no warmth"},
			"?subject=" + id:              {"cold water"},
			"?subject=paul":               {"made an invitation"},
			"?subject=Operator":           {"cold water", "door stuck", "no warmth", "made an invitation"},
			"?kind=refund":                {"cold water"},
			"?kind=machine":               {"door stuck", "no warmth"},
			"?kind=people":                {"made an invitation"},
			"?kind=machine&subject=dryer": {"no warmth"},
			"?kind=payment":               {},
			"?subject=washer+7":           {},
		} {
			shown, file := b.Shows(log+query), b.Send("GET", log+".csv"+query, "").Body.String()
			for _, text := range []string{"cold water", "door stuck", "no warmth", "made an invitation"} {
				wanted := strings.Contains(strings.Join(want, "\n"), text)
				if strings.Contains(shown, text) != wanted {
					t.Errorf("%s shows %q: %v; want %v", query, text, !wanted, wanted)
				}
				if exported := strings.Contains(file, text); text != "made an invitation" && exported != wanted {
					t.Errorf("%s exports %q: %v; want %v", query, text, exported, wanted)
				}
			}
		}
		b.Shows(log+"?subject=washer+7", "Nothing was changed by or about &ldquo;washer 7&rdquo;.")
		b.Shows("/operator/people", `href="/operator/audit?subject=Paul"`)
	})
}

// What does not match is read in pages of its own, so that no request reads a whole log.
func TestAuditSearchIsBounded(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		machine := "/operator/devices/" + fixture.Washer
		b.Does(b.Press(machine, machine+"/pause", "reason", "the oldest"), "pause")
		now := f.Ledger.Now()
		err := f.Ledger.Update(f.Context(), func(tx *ledger.Tx) error {
			for n := range 6000 {
				a := ledger.Audit{At: now.Add(time.Duration(n) * time.Millisecond), Who: "operator", What: "dismiss"}
				if err := tx.AddAudit(a); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		page := b.Shows("/operator/audit?kind=machine", "No match among the latest changes.", "Search older changes")
		next := page[strings.Index(page, `href="/operator/audit?cursor=`)+len(`href="`):]
		next = strings.ReplaceAll(next[:strings.Index(next, `"`)], "&amp;", "&")
		b.Shows(next, "the oldest")
		file := b.Send("GET", "/operator/audit.csv?kind=machine", "").Body.String()
		if !strings.Contains(file, "the oldest") {
			t.Error("the export ends where a page does")
		}
	})
}
