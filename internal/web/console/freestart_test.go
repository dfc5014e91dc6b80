package console_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// twoPrograms sells a locker for 30 minutes, and a program without a duration.
func twoPrograms(f *apptest.Front) {
	f.Locker("30m")
	f.Stripe.AddPrice(sandbox.Price{ID: "price_air", Name: "Air", Currency: "eur", Amount: 100, Active: true})
}

func bothPrices(s *config.Settings) { s.StripePriceID = fixture.Warm + ",price_air" }

// The operator's own free start is like a paid one: it has the program's duration and access code, which
// the operator is shown.
func TestFreeStartHasDurationAndCode(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, bothPrices, func(f *apptest.Front) {
		twoPrograms(f)
		f.Run()
		f.Pass(time.Minute)
		b, device := f.Browser(), "/operator/devices/"+fixture.Washer
		b.Shows(device, `<option value="`+fixture.Warm+`">Locker, 30 min</option>`, ">Air</option>")
		w := b.Press(device, device+"/start", "reason", "lost ticket", "price", fixture.Warm)
		b.Does(w, "start")
		page, _ := url.Parse(w.Header().Get("Location"))
		code := regexp.MustCompile(`class="bigcode">([0-9]{6})<`).FindStringSubmatch(b.Page)
		if code == nil || !strings.HasPrefix(page.Path, "/operator/payments/cr_") {
			t.Fatalf("%s shows\n%s; want the free start with its access code", page, b.Page)
		}
		f.Pass(time.Second)
		notes := f.Notehub.Fetch(fixture.Washer, "payment.qi")
		if len(notes) != 1 || notes[0].Body["code"] != code[1] || notes[0].Body["duration_s"] != float64(1800) {
			t.Fatalf("the notes are %v; want one with the code %s and 30 minutes", notes, code[1])
		}
		f.Answers("a scan meanwhile", f.Get("/pay?device="+fixture.Washer), http.StatusServiceUnavailable, "")

		w = f.Posts("/api/devices/"+fixture.Washer+"/start", `{"reason":"test","price_id":"price_air"}`, "")
		f.Answers("another program", w, http.StatusOK, `"price_id":"price_air","plan":"Air","duration_s":0`)
		w = f.Posts("/api/devices/"+fixture.Washer+"/start", `{"reason":"test","price_id":"price_none"}`, "")
		f.Answers("an unknown price", w, http.StatusNotFound, "no_such_price")
		w = f.Posts(strings.Replace(page.Path, "/operator", "/api", 1)+"/retry", `{"price_id":"price_air"}`, "")
		f.Answers("a price of something else", w, http.StatusBadRequest, "bad_body")
		w = b.Press(device, device+"/start", "reason", "test", "price", "price_none")
		f.Answers("a program that is gone", w, http.StatusConflict, "does not sell this program any more")
		f.Audited(fixture.Washer, "operator start test", "operator start lost ticket")
	})
}

// A machine that does not answer may have started or not, and its credit cannot be ended. The operator can
// start it again all the same, and it is then in use until that start is over.
func TestFreeStartAfterASilentOne(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Timed("30m")
		f.Run()
		b := f.Browser()
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(time.Second)
		page, start := "/operator/payments/"+payment.CreditID(session.ID), "/operator/devices/"+fixture.Washer+"/start"
		f.Answers("while the first is sent", b.Press(page, start, "reason", "it did not start"), http.StatusConflict,
			"cancel that start first")
		f.Notehub.Fetch(fixture.Washer, "payment.qi")
		f.Timed("5m")
		f.Pass(20 * time.Minute)
		f.Answers("with a shorter program", b.Press(page, start, "reason", "it did not start"), http.StatusConflict,
			"The machine is in use")
		f.Timed("30m")
		f.Refresh()
		b.Does(b.Press(page, start, "reason", "it did not start"), "start")
		f.Pass(time.Second)
		f.Notehub.Fetch(fixture.Washer, "payment.qi")
		f.Pass(20 * time.Minute)
		scan := func() int { return f.Get("/pay?device=" + fixture.Washer).Code }
		if got := scan(); got != http.StatusServiceUnavailable {
			t.Errorf("a scan is answered %d; want it in use by the second start", got)
		}
		f.Pass(11 * time.Minute)
		if got := scan(); got != http.StatusTemporaryRedirect {
			t.Errorf("a scan is answered %d; want it free after the second start", got)
		}
	})
}

func TestFreeStartOfARunningMachine(t *testing.T) {
	t.Parallel()
	confirming := func(s *config.Settings) { s.ConfirmWithin = time.Minute }
	apptest.InFront(t, confirming, func(f *apptest.Front) {
		f.Timed("30m")
		f.Run()
		m := f.Machine(sandbox.MachineConfig{Confirms: true})
		b := f.Browser()
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(10 * time.Second)
		f.Started(m, 1)
		start := "/api/devices/" + fixture.Washer + "/start"
		f.Answers("while it runs", f.Posts(start, `{"reason":"again"}`, ""), http.StatusConflict, "in_use")
		page := "/operator/payments/" + payment.CreditID(session.ID)
		b.Does(b.Press(page, page+"/end", "reason", "again"), "end")
		f.Answers("after that", f.Posts(start, `{"reason":"again"}`, ""), http.StatusOK, `"duration_s":1800`)
		f.Pass(10 * time.Second)
		f.Started(m, 2)
	})
}

// What a machine sells is not known before its variables are read. A free start without them would have
// the wrong duration, and a locker no code.
func TestFreeStartWaitsForTheVariables(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.OwnTerms(50)
		f.Run()
		start := "/api/devices/dev:a/start"
		f.Answers("at once", f.Posts(start, `{"reason":"test"}`, ""), http.StatusServiceUnavailable, "not_read")
		f.Pass(10 * time.Second)
		f.Answers("in a moment", f.Posts(start, `{"reason":"test"}`, ""), http.StatusOK, `"price_id":"price_timed"`)
	})
}
