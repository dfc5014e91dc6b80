package console_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

func TestDeviceButtons(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		device := "/operator/devices/" + fixture.Washer
		f.Answers("a pause without a reason", b.Press(device, device+"/pause"), http.StatusBadRequest,
			"enter a reason")
		f.Answers("a scan then", f.Get("/pay?device="+fixture.Washer), http.StatusTemporaryRedirect, "")
		b.Does(b.Press(device, device+"/pause", "reason", "door broken"), "pause")
		f.Answers("a scan of a paused one", f.Get("/pay?device="+fixture.Washer), http.StatusServiceUnavailable, "")
		b.Shows("/operator", "has been paused since", "door broken")
		b.Does(b.Press("/operator", device+"/resume"), "resume")
		f.Pass(time.Second) // the pause may have deactivated the link, which is then activated again
		f.Answers("a scan of one that is resumed", f.Get("/pay?device="+fixture.Washer), http.StatusTemporaryRedirect,
			"")
		b.Does(b.Press(device, device+"/start", "reason", "test of the valve"), "start")
		f.Pass(time.Second)
		b.Shows("/operator/payments", "Warm wash", ">free<")
		b.Shows("/operator/audit?subject="+fixture.Washer, "test of the valve", "door broken",
			"started the machine for free")
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:2", Name: "Dryer"})
		b.Does(b.Press("/operator/devices", "/operator/refresh"), "refresh")
		b.Shows("/operator/devices", "Dryer")
		f.Notehub.Next(fixture.HubList, sandbox.Outcome{Status: 500})
		f.Answers("while Notehub is down", b.Press("/operator/devices", "/operator/refresh"), http.StatusBadGateway,
			"Sales go on as before")
		w := b.Send("POST", "/operator/devices/dev:none/pause", "once=AAAA&reason=x")
		f.Answers("of no device", w, http.StatusNotFound, "Nothing was changed")
	})
}

// The console caches the sorted devices, and must notice new names and new devices.
func TestSearchFindsANewName(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		b.Shows("/operator/devices?q=washer", "1 found.")
		f.Notehub.AddDevice(sandbox.Device{UID: fixture.Washer, Name: "Mangle 3"})
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:2", Name: "Dryer"})
		b.Does(b.Press("/operator/devices", "/operator/refresh"), "refresh")
		b.Shows("/operator/devices?q=washer", "No machine matches.")
		b.Shows("/operator/devices?q=mangle", "1 found.")
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:3", Name: "Spin dryer"})
		f.Get("/pay?device=dev:3") // an unknown device
		f.Pass(5 * time.Second)
		b.Shows("/operator/devices?q=dryer", "2 found.", "Spin dryer")
	})
}

// A program without a Payment Link waits for it only while its machine sells, and only with links.
func TestDeviceSaysWhyAProgramHasNoLink(t *testing.T) {
	t.Parallel()
	device := "/operator/devices/" + fixture.Washer
	for name, c := range map[string]struct {
		change      func(*config.Settings)
		prepare     func(*apptest.Front)
		says, lacks string
	}{
		"disabled in Notehub": {nil, func(f *apptest.Front) {
			f.Notehub.AddDevice(sandbox.Device{UID: fixture.Washer, Name: "Washer 3", Disabled: true})
		}, "no payments meanwhile", "not ready yet"},
		"switched off": {nil, func(f *apptest.Front) {
			off := map[string]string{"payment_enabled": "false"}
			f.Notehub.AddDevice(sandbox.Device{UID: fixture.Washer, Name: "Washer 3", Variables: off})
		}, "no payments meanwhile", "not ready yet"},
		"the link is not created yet": {nil, func(f *apptest.Front) {
			f.Stripe.Always("POST /v1/payment_links", sandbox.Outcome{Status: 500})
		}, "Payment Link not ready yet", "no payments meanwhile"},
		"a session for each purchase": {apptest.PerPurchase, func(*apptest.Front) {}, "Warm wash", "not ready yet"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, c.change, func(f *apptest.Front) {
				c.prepare(f)
				f.Run()
				f.Pass(time.Minute)
				if page := f.Browser().Shows(device, c.says); strings.Contains(page, c.lacks) {
					t.Errorf("it says %q: %s", c.lacks, page)
				}
			})
		})
	}
}
