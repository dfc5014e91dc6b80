package console_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

// A customer calls while the first page is open.
func TestTodayFindsAPayment(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		page := b.Shows("/operator", `<form class="search find" method="get" action="/operator/payments">`,
			`<input id="q" name="q" type="search"`)
		if strings.Index(page, `class="search find"`) > strings.Index(page, "<h2>Needs attention") {
			t.Error("the search is below what needs attention")
		}
	})
}

// Machines that were paused together are one entry, and its button resumes only them.
func TestPausesAreGrouped(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, apptest.ReadAtOnce, func(f *apptest.Front) {
		for n := range 25 {
			f.Notehub.AddDevice(sandbox.Device{UID: fmt.Sprintf("dev:%04d", n), Name: fmt.Sprintf("Dryer %02d", n)})
		}
		f.Run()
		f.Pass(time.Minute)
		b := f.Browser()
		const list = "/operator/devices"
		broken := list + "/dev:0007"
		b.Does(b.Press(broken, broken+"/pause", "reason", "the drum squeaks"), "pause")
		w := b.Press(list+"?q=dryer", list, "action", "pause", "reason", "no water", "all", "1", "q", "dryer")
		f.Answers("a pause of all dryers", w, http.StatusOK, "Paused: <b>24</b>")
		page := b.Shows("/operator", "24 machines", "have been paused since", "Dryer 00", "4 more", "no water",
			"Resume sales of all (24)", "the drum squeaks", `action="`+broken+`/resume"`)
		if n := strings.Count(page, "no water"); n != 1 {
			t.Errorf("one pause of many is shown %d times", n)
		}
		group := page[strings.Index(page, "24 machines"):]
		group = group[:strings.Index(group, "</article>")]
		form := url.Values{"action": {"resume"}, "once": {"AAAA"}, "back": {"/operator"}}
		for _, match := range regexp.MustCompile(`name="uid" value="([^"]+)"`).FindAllStringSubmatch(group, -1) {
			form.Add("uid", match[1])
		}
		f.Answers("all together", b.Send("POST", list, form.Encode()), http.StatusOK, "On sale again: <b>24</b>")
		page = b.Shows("/operator", "the drum squeaks", "has been paused since")
		if strings.Contains(page, "no water") {
			t.Error("machines that are on sale again are listed as paused")
		}
		f.Audited("dev:0007", "operator pause the drum squeaks")
	})
}

// The first page leads from a problem to its machines.
func TestProblemsLeadToTheirMachines(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, apptest.ReadAtOnce, func(f *apptest.Front) {
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:1", Name: "Dryer 1",
			Variables: map[string]string{"stripe_price_id": fixture.Warm + ",price_gone"}})
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:2", Name: "Dryer 2",
			Variables: map[string]string{"stripe_price_id": "price_gone"}})
		f.Run()
		f.Pass(time.Minute)
		b := f.Browser()
		const list = "/operator/devices?state=problem"
		b.Shows("/operator", `<a href="`+list+`">Machines affected: 2</a>`)
		page := b.Shows(list, "2 found.", "Dryer 1", "Dryer 2", `<option value="problem" selected>`)
		if n := strings.Count(page, "No such price"); n != 2 {
			t.Errorf("the page shows the problem of two machines %d times", n)
		}
		page = b.Shows("/operator/devices/dev:2", "no price")
		if n := strings.Count(page, "No such price"); n != 1 {
			t.Errorf("the machine's page tells its problem %d times", n)
		}
	})
}
