package fleet_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

func TestPayAcceptsAddressesAsScannersAndPeopleWriteThem(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		link := f.Stripe.Links()[0].URL
		for _, path := range []string{
			"/PAY/DEV:864475044215258", "/PAY?DEVICE=DEV:864475044215258", "/Pay/dev:864475044215258",
			"/pay/dev:864475044215258/", "/pay/dev:864475044215258//",
			"/pay/?device=dev:864475044215258", "/PAY/?Device=dev:864475044215258",
			"//pay?device=dev:864475044215258", "/pay//dev:864475044215258",
			"/pay?DEVICE=dev:864475044215258", "/pay?DeviceUID=dev:864475044215258",
			"/pay?device=864475044215258", "/pay/864475044215258",
			"/pay?device=dev%253A864475044215258", "/pay/dev%253A864475044215258",
			"/pay?device=dev%EF%BC%9A864475044215258", "/pay/dev%EF%BC%9A864475044215258",
			"/pay?device=dev:864475044215258%E2%80%8B", "/pay/dev:864475044215258%E2%80%8B",
			"/dev:864475044215258", "/DEV:864475044215258/", "/864475044215258",
			"/pay?device=https://qrgo.org/id/dev:864475044215258",
			"/dev:864475044215258?product=product:com.example&pin=1234",
			"/pay?device=dev:864475044215258?utm_source=qr", "/pay/dev:864475044215258%3Futm_source=qr",
			"/pay/dev:864475044215258&utm_source=qr", "/pay?device=864475044215258%23top",
			"/pay%3Fdevice=dev:864475044215258", "/PAY%3FDEVICE=DEV:864475044215258",
			"/pay/%3Fdevice=dev%253A864475044215258", "/pay?device%3Ddev%253A864475044215258",
			"/pay?x=1&DEVICE%3DDEV:864475044215258", "/pay?device=&deviceuid=dev:864475044215258",
			"/pay/dev:864475044215258)", "/pay?device=(dev:864475044215258).", "/dev:864475044215258,",
		} {
			f.Leads(path, link)
		}
		for _, path := range []string{"/use/dev:864475044215258/", "/USE/DEV:864475044215258", "/use/864475044215258"} {
			f.Shows(path, http.StatusOK, "Ready for your payment", "")
		}
		if w := f.Get("/HEALTH/"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"status"`) {
			f.Errorf("/HEALTH/: %d %s", w.Code, w.Body)
		}
		for _, path := range []string{
			"/nothing", "/pay/dev:1/more", "/favicon.ico", "/static/none.js", "/static/", "/wp-login.php",
			"/payment", "/session/", "/%00", "/a%2Fb",
		} {
			f.Tells(path, http.StatusNotFound, "Page not found", "Not found", "")
		}
		for _, path := range []string{"/api/nothing", "/api", "/API/nothing"} {
			w := f.Get(path, "Authorization", "Bearer "+apptest.OperatorToken)
			if w.Code != http.StatusNotFound ||
				path == "/api/nothing" && !strings.Contains(w.Body.String(), `{"error":{"code":"not_found"`) {
				f.Errorf("%s: %d %s; want 404", path, w.Code, w.Body)
			}
		}
		f.Answers(
			"/API/DEVICES/",
			f.Get("/API/DEVICES/", "Authorization", "Bearer "+apptest.OperatorToken),
			http.StatusOK,
			fixture.Washer,
		)
		f.Answers(
			"/api/devices/",
			f.Get("/api/devices/", "Authorization", "Bearer "+apptest.OperatorToken),
			http.StatusOK,
			fixture.Washer,
		)
		f.Answers("not signed in", f.Get("/api/devices/"), http.StatusUnauthorized, "")
	})
}

// A dot may belong to a UID, or to the sentence that ends with the link.
func TestPayWithTheDotOfASentence(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		dotted := fixture.Washer + "."
		f.Run()
		link := f.Stripe.Links()[0].URL
		f.Leads("/pay/"+fixture.Washer, link)
		const lookup = "GET /v1/projects/{project}/devices/{device}"
		calls := f.Notehub.Count(lookup)
		for _, path := range []string{
			"/pay/" + dotted, "/pay/" + fixture.Washer + "...", "/pay?device=" + dotted, "/" + dotted,
			"/pay/" + fixture.Washer + "-", "/pay/" + strings.ToUpper(dotted),
		} {
			f.Leads(path, link)
		}
		f.Shows("/use/"+dotted, http.StatusOK, "Ready for your payment", "")
		form := f.Get("/payment/find?device="+dotted, "Accept", apptest.Browser)
		f.Answers("the form", form, http.StatusOK, fixture.Washer+`"`)
		f.Asks("an API", "/api/create-payment-link", `{"id":"`+dotted+`"}`, http.StatusCreated, link)
		f.Pass(2 * time.Second) // a look-up would be in the background
		if n := f.Notehub.Count(lookup); n != calls {
			f.Errorf("%d look-ups; want none for a device that is known", n-calls)
		}
		f.Tells("/pay/dev:1.", http.StatusNotFound, "We do not know this machine", "Device not found", "")

		f.Notehub.AddDevice(sandbox.Device{UID: dotted, Name: "Dotted"})
		f.Refresh()
		f.Pass(2 * time.Second)
		own := f.LinkOf(dotted, fixture.Warm).URL
		if own == link {
			f.Fatal("the device whose UID ends with a dot has no link of its own")
		}
		f.Leads("/pay/"+dotted, own)
		f.Leads("/pay/"+fixture.Washer, link)
		f.Leads("/pay/"+fixture.Washer+"..", link)
	})
}

func TestWebhookAddressWithATrailingSlash(t *testing.T) {
	t.Parallel()
	for _, path := range []string{
		"/webhook/stripe/", "//webhook/stripe", "/Webhook/Stripe", "/api/stripe/webhook/", "/api/webhook/",
	} {
		t.Run(strings.ReplaceAll(path, "/", "_"), func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, nil, func(f *apptest.Front) {
				f.Stripe.SetEndpoint("http://pay.test"+path, fixture.TestSecret)
				f.Run()
				session := f.Buy(sandbox.PayOptions{})
				f.Pass(2 * time.Second)
				f.Stands(session.ID, apptest.Ending{Funds: payment.Paid, Delivery: payment.Sent})
				w := f.Do("POST", path, "{}", "Stripe-Signature", "t=1,v1=00")
				f.Answers("a bad signature", w, http.StatusBadRequest, "bad_signature")
			})
		})
	}
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Answers("a route's", f.Do("POST", "/webhook/notehub/", "{}"), http.StatusUnauthorized, "unauthorized")
	})
}

func TestUIDsAreComparedWithoutCase(t *testing.T) {
	t.Parallel()
	for spelled, scans := range map[string][]string{
		"dev:CA11AB1E0042": {"dev:CA11AB1E0042", "dev:ca11ab1e0042", "DEV:CA11AB1E0042", "CA11AB1E0042"},
		"dev:lora:70B3d57ed0051234": {
			"dev:lora:70b3d57ed0051234", "DEV:LORA:70B3D57ED0051234", "dev%3Alora%3A70b3d57ed0051234",
		},
	} {
		t.Run(strings.ReplaceAll(spelled, ":", "_"), func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, nil, func(f *apptest.Front) {
				f.Settings.ConfirmWithin = 10 * time.Minute
				f.Notehub.AddDevice(
					sandbox.Device{UID: spelled, Name: "Odd", Variables: map[string]string{"credit_lifetime": "5m"}},
				)
				f.Restarted(nil)
				f.Pass(2 * time.Second)
				key := strings.ToLower(spelled)
				link := f.LinkOf(spelled, fixture.Warm) // Stripe's Dashboard shows Notehub's spelling
				for _, scan := range scans {
					f.Leads("/pay?device="+scan, link.URL)
					f.Leads("/pay/"+scan, link.URL)
				}
				session, err := f.Stripe.Pay(link.ID, sandbox.PayOptions{})
				if err != nil {
					f.Fatal(err)
				}
				f.Pass(2 * time.Second)
				if n := len(f.Notehub.Notes(spelled)); n != 1 {
					f.Fatalf("%d notes; want one, at the device as Notehub spells it", n)
				}
				p := f.Paid(session.ID)
				f.Notehub.Fetch(spelled, "payment.qi")
				f.Notehub.AddEvent(spelled, "payment_ack.qo", map[string]any{"credit_id": p.ID, "state": "started"})
				f.Pass(time.Minute)
				if p = f.Paid(session.ID); p.Delivery != payment.Started || p.DeviceUID != key {
					f.Errorf("%s is %s after its confirmation; want started", p.DeviceUID, p.Delivery)
				}
				if got := p.ExpiresAt.Sub(p.PaidAt); got > 5*time.Minute {
					f.Errorf("the credit lives for %v; want that of the device's variable", got)
				}
				w := f.Do(
					"POST",
					"/api/devices/"+url.PathEscape(spelled)+"/pause",
					`{"reason":"dirty"}`,
					"Authorization",
					"Bearer "+apptest.OperatorToken,
				)
				f.Answers("a pause", w, http.StatusOK, `"state":"paused"`)
				f.Restarted(nil)
				f.Shows(
					"/pay/"+url.PathEscape(spelled),
					http.StatusServiceUnavailable,
					"This machine is closed right now",
					"",
				)
				w = f.Do(
					"POST",
					"/api/devices/"+url.PathEscape(strings.ToUpper(spelled))+"/resume",
					``,
					"Authorization",
					"Bearer "+apptest.OperatorToken,
				)
				f.Answers("a resumption", w, http.StatusOK, key)
				f.Pass(5 * time.Second)
				w = f.Do(
					"POST",
					"/api/create-payment-link",
					`{"id":"`+strings.ToUpper(spelled)+`"}`,
					"Authorization",
					"Bearer "+apptest.OperatorToken,
				)
				f.Answers("a link for an application", w, http.StatusCreated, "Payment link created")
				f.Pass(time.Second)
				f.Answers(
					"payments",
					f.AsOperator("/api/payments?device="+url.QueryEscape(spelled)),
					http.StatusOK,
					p.ID,
				)
			})
		})
	}
}

func TestListNamesADeviceThatCannotBeScanned(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:no good", Name: "Odd"})
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:" + strings.Repeat("a", 65), Name: "Long"})
		f.Run()
		f.Pass(2 * time.Second)
		devices := f.AsOperator("/api/devices").Body.String()
		for _, want := range []string{
			`"uid":"dev:no good","name":"Odd","state":"bad_uid"`, `"name":"Long","state":"bad_uid"`,
			"Payments need a UID of the form dev:...",
		} {
			if !strings.Contains(devices, want) {
				f.Errorf("want %s:\n%s", want, devices)
			}
		}
		if n := len(f.Stripe.Links()); n != 1 {
			f.Errorf("%d links; want that of the washer alone", n)
		}
		f.Leads("/pay?device="+fixture.Washer, f.Stripe.Links()[0].URL)
	})
}
