package ledger

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func testAudit(t *testing.T, database string) {
	l := open(t, database)
	var want []string
	for n := range 5 {
		a := Audit{
			At:       noon2020(n),
			Who:      "a person",
			What:     []string{"pause", "resume"}[n%2],
			Subject:  "dev:1",
			Why:      fmt.Sprint(n),
			Before:   "b",
			After:    "a",
			Amount:   int64(n),
			Currency: strings.Repeat("eur", min(n, 1)),
		}
		mustUpdate(t, l, func(tx *Tx) error { return tx.AddAudit(a) })
		want = append(want, a.Why)
	}
	slices.Reverse(want)
	mustUpdate(t, l, func(tx *Tx) error {
		return tx.AddAudit(Audit{Who: "notepay", What: "pause", Subject: "dev:2", Why: "now"})
	})
	var got []string
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		list, next, err := l.Audits(t.Context(), "dev:1", 2, cursor)
		if err != nil || len(list) > 2 || pages > 3 {
			t.Fatalf("page %d: %+v, %v", pages, list, err)
		}
		for _, a := range list {
			got = append(got, a.Why)
		}
		cursor = next
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q; want %q", got, want)
	}
	all, next, err := l.Audits(t.Context(), "", 6, "")
	if err != nil || len(all) != 6 || next != "" || time.Since(all[0].At).Abs() > time.Hour || all[0].Why != "now" ||
		all[5].Before != "b" || all[5].After != "a" || all[1].Amount != 4 || all[1].Currency != "eur" ||
		all[5].Amount != 0 || all[0].Amount != 0 {
		t.Errorf("all: %+v, %q, %v; want six, the one of now first", all, next, err)
	}
	for what, want := range map[string]time.Time{"pause": noon2020(4), "resume": noon2020(3), "start": {}} {
		if read := inTx(l, func(tx *Tx) (time.Time, error) { return tx.LastAudit("dev:1", what) }); read.err != nil ||
			read.got != want {
			t.Errorf("the last %s: %v, %v; want %v", what, read.got, read.err, want)
		}
	}
	for words, a := range map[string]Audit{"who": {What: "pause"}, "what": {Who: "notepay"}} {
		wantRefused(t, l.Update(t.Context(), func(tx *Tx) error { return tx.AddAudit(a) }), "check", words)
	}
}
