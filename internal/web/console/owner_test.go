package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// An owner asks why a machine does not sell, and what to do about it.
func TestMachineSaysWhatToDo(t *testing.T) {
	t.Parallel()
	confirming := func(s *config.Settings) {
		apptest.ReadAtOnce(s)
		s.ConfirmWithin, s.PollInterval = time.Minute, 10*time.Second
	}
	apptest.InFront(t, confirming, func(f *apptest.Front) {
		off := map[string]string{"payment_enabled": "false"}
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:1", Name: "Dryer 1", Disabled: true})
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:2", Name: "Dryer 2", Variables: off})
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:3", Name: "Dryer 3",
			Variables: map[string]string{"stripe_price_id": "price_gone"}})
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:4", Name: "Dryer 4",
			Variables: map[string]string{"open_hours": "Mo-Su 06:00-22:00; UTC"}})
		f.Run()
		f.Pass(time.Minute)
		f.Notehub.AddEvent(fixture.Washer, "payment_ack.qo", map[string]any{"state": "out", "code": "E-PUMP"})
		f.Pass(time.Minute)
		b := f.Browser()
		const list = "/operator/devices"
		b.Shows(list+"/dev:1", "It is disabled in Notehub. Enable it there.")
		b.Shows(list+"/dev:2", "takes it out of sale. Set it to true there to sell again.")
		b.Shows(list+"/dev:3", "No such price", "Set stripe_price_id in Notehub to a price that Stripe sells.")
		b.Shows(list+"/"+fixture.Washer, "It sells again when the machine says so, or when you resume sales.")
		b.Shows(list+"/dev:4", "Mo-Su 06:00-22:00; UTC", "Set open_hours in Notehub",
			"Settings in Notehub</dt><dd>read 2 minutes ago")
		b.Shows("/operator/setup", "Where is what set?", "opening hours", "<code>open_hours</code>")
		b.Does(b.Press(list, "/operator/refresh"), "refresh")
		b.Shows(list+"?done=refresh", "The settings of single machines in Notehub are read within an hour.")
	})
}

// The form for many machines is below all of them, and maintenance has usual times.
func TestManyMachinesAreChanged(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, apptest.ReadAtOnce, func(f *apptest.Front) {
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:1", Name: "Dryer 1"})
		f.Run()
		f.Pass(time.Minute)
		b := f.Browser()
		const list = "/operator/devices"
		next := time.Now().In(f.Server.Console.Zone).Truncate(time.Hour).Add(time.Hour)
		page := b.Shows(list, `<a href="#change">Change several machines</a>`, `id="change"`,
			`name="from" type="datetime-local" value="`+next.Format("2006-01-02T15:04")+`"`,
			"Resume sales ends every pause of these machines, whatever its reason.")
		if strings.Contains(page, "Maintenance:") {
			t.Error("a machine without maintenance has some")
		}
		w := b.Press(list, list, "action", "maintenance", "uid", "dev:1", "reason", "belt",
			"from", next.Format("2006-01-02T15:04"), "to", next.Add(2*time.Hour).Format("2006-01-02T15:04"))
		f.Answers("maintenance", w, http.StatusOK, "Maintenance planned: <b>1</b>")
		b.Shows(list, "Maintenance: ")
	})
}

// An owner prints the stickers of two machines, and no sheet for ten others whose names begin alike.
func TestStickersOfSomeMachines(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, apptest.ReadAtOnce, func(f *apptest.Front) {
		for uid, name := range map[string]string{"dev:1": "Dryer 1", "dev:10": "Dryer 10", "dev:11": "Dryer 11",
			"dev:5": "Locker, left"} {
			f.Notehub.AddDevice(sandbox.Device{UID: uid, Name: name})
		}
		f.Run()
		b := f.Browser()
		for typed, want := range map[string][]string{
			"dryer 1":               {"Dryer 1"},
			"dryer 1, washer 3":     {"Dryer 1", "Washer 3"},
			"washer 3; dryer 10":    {"Washer 3", "Dryer 10"},
			"dryer":                 {"Dryer 1", "Dryer 10", "Dryer 11"},
			"dryer, dryer 1":        {"Dryer 1", "Dryer 10", "Dryer 11"},
			"Locker, left":          {"Locker, left"},
			"dev:10, Dryer 11":      {"Dryer 10", "Dryer 11"},
			"nothing, dryer 11":     {"Dryer 11"},
			fixture.Washer + ", , ": {"Washer 3"},
			"nothing":               {},
		} {
			page := b.Shows("/operator/stickers?lang=de&second=en&q=" + url.QueryEscape(typed))
			if n := strings.Count(page, `<article class="sticker">`); n != len(want) {
				t.Errorf("%q has %d stickers; want %q", typed, n, want)
			}
			for _, name := range want {
				if !strings.Contains(page, `<div class="print"><b>`+name+"</b>") {
					t.Errorf("%q has no sticker of %s", typed, name)
				}
			}
		}
		b.Shows("/operator/stickers?q=nothing,+dryer+11", "No machine is called &ldquo;nothing&rdquo;.")
	})
}

// The page names a code for a later start and a start now differently, and sends invitations like codes.
func TestFreeStartsAndInvitationsAreSent(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		session := f.Buy(sandbox.PayOptions{})
		f.Notehub.Fetch(fixture.Washer, "payment.qi")
		f.Pass(11 * time.Minute)
		page := "/operator/payments/" + payment.CreditID(session.ID)
		b.Shows(page, "Give a code for a free start")
		w := b.Press("/operator/people", "/operator/people", "name", "Paul", "role", "view")
		f.Answers("an invitation", w, http.StatusOK, "mailto:?subject=")
		f.Answers("its text", w, http.StatusOK, "With%20this%20link%20you%20set%20up%20how%20you%20sign%20in")
		b.Shows("/operator/people", "Paul")
		if strings.Contains(b.Page, "mailto:") {
			t.Error("the link is shown more than once")
		}
	})
}
