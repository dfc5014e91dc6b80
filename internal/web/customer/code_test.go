package customer_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
	"notepay/internal/uid"
)

func TestScanOfAShortCode(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		link := f.LinkOf(fixture.Washer, fixture.Warm).URL
		code := uid.ShowCode(uid.Code(fixture.Washer)[:uid.MinCode])
		asked := f.Notehub.Count("{any} /{rest...}") + f.Stripe.Count("{any} /{rest...}")
		for _, path := range []string{
			"/pay/" + code, "/pay?device=" + strings.ToLower(code), "/PAY/" + code + "/",
			"/pay?device=" + strings.ReplaceAll(code, "-", "%20"), "/pay/864475044215258", "/PAY/DEV:864475044215258/",
		} {
			f.Leads(path, link)
		}
		f.Answers("use", f.Get("/use/"+code, "Accept", apptest.Browser), http.StatusOK, "Washer 3")
		f.Tells("/pay/3333", http.StatusNotFound, "We do not know this machine", "Device not found", "")
		f.Tells("/pay/W3-7", http.StatusBadRequest, "Which machine is it?", "Missing device parameter", "")
		if n := f.Notehub.Count("{any} /{rest...}") + f.Stripe.Count("{any} /{rest...}") - asked; n != 0 {
			f.Errorf("the codes cost %d calls to the vendors; want none", n)
		}
		b := f.Browser()
		b.SignIn(apptest.OperatorToken)
		b.Shows("/operator/stickers?layout=letter-small", code)
	})
}

// The default link leads past our pages, so Stripe's own page has to name machine and promise.
func TestLinkNamesMachineAndPromise(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, apptest.ReadAtOnce, func(f *apptest.Front) {
		f.Notehub.AddDevice(sandbox.Device{
			UID: "dev:a", Name: "Locker 12",
			Variables: map[string]string{"machine_kind": "locker", "credit_lifetime": "2m"},
		})
		f.Run()
		f.Pass(time.Minute)
		var texts []string
		for _, r := range f.Stripe.Requests(fixture.CreateLink) {
			form, err := url.ParseQuery(string(r.Body))
			if err != nil {
				f.Fatal(err)
			}
			texts = append(texts, form.Get("custom_text[submit][message]"))
		}
		all := strings.Join(texts, "\n")
		for _, part := range []string{
			"You are paying for Washer 3. If your payment does not reach the machine within 10 min, you get",
			"You are paying for Locker 12. If your payment does not reach the machine within 2 min, you get",
		} {
			if !strings.Contains(all, part) {
				f.Errorf("no link was created with %s: %s", part, all)
			}
		}
	})
}

func TestMachineSaysWhatItsCodeMeans(t *testing.T) {
	t.Parallel()
	confirm := func(s *config.Settings) { s.ConfirmWithin = time.Minute }
	apptest.InFront(t, confirm, func(f *apptest.Front) {
		f.Notehub.SetProjectVariables(map[string]string{"machine_kind": "door", "code_E_DOOR": "Close the door"})
		f.Run()
		m := f.Machine(sandbox.MachineConfig{Confirms: true})
		m.SetBehavior(sandbox.Behavior{Refuse: "failed", Code: "E-DOOR"})
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(2 * time.Minute)
		page := f.LivePage(session)
		for _, part := range []string{
			"<h1>The door did not open</h1>", "The machine reports: Close the door (E-DOOR)",
		} {
			if body := f.Get(page, "Accept", apptest.Browser).Body.String(); !strings.Contains(body, part) {
				f.Errorf("the page lacks %q: %s", part, body)
			}
		}
	})
}
