package app_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

func TestRefreshDevices(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:2"})
		f.Answers("without the token", f.Get("/refresh-devices"), 401, `"code":"unauthorized"`)
		f.Answers(
			"with another", f.Get("/refresh-devices", "Authorization", "Bearer another-token-1234"), 401,
			`"code":"unauthorized"`,
		)
		f.Answers(
			"with it", f.AsOperator("/refresh-devices"), 200,
			`{"devices":2,"added":1,"removed":0,"links_created":1}`,
		)
		f.Notehub.RemoveDevice("dev:2")
		f.Answers(
			"by POST", f.Do("POST", "/refresh-devices", "", "Authorization", "Bearer "+apptest.OperatorToken),
			200, `{"devices":1,"added":0,"removed":1,"links_created":0}`,
		)
		before := f.Notehub.Count(fixture.HubList)
		f.Notehub.Next(fixture.HubList, sandbox.Outcome{Applied: true, Status: 200, Delay: time.Second})
		var asked sync.WaitGroup
		for range 5 {
			asked.Go(func() { f.Answers("together", f.AsOperator("/refresh-devices"), 200, `"devices":1`) })
		}
		asked.Wait()
		if n := f.Notehub.Count(fixture.HubList) - before; n != 1 {
			f.Errorf("5 who asked together caused %d listings; want 1", n)
		}
		f.Notehub.Next(fixture.HubList, sandbox.Outcome{Status: 500})
		f.Answers("while Notehub is down", f.AsOperator("/refresh-devices"), 502, `"code":"refresh_failed"`)
		f.Answers("a scan then", f.Get("/pay?device="+fixture.Washer), 307, "")
	})
}

func TestRefreshDevicesIsOpenWithoutOperatorToken(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, func(s *config.Settings) { s.OperatorToken = "" }, func(f *apptest.Front) {
		f.Run()
		f.Answers("first", f.Get("/refresh-devices"), 200, `{"devices":1,"added":0,"removed":0,"links_created":0}`)
		f.Pass(20 * time.Second)
		before := f.Notehub.Count(fixture.HubList)
		w := f.Get("/refresh-devices")
		f.Answers("second", w, 429, `"code":"too_many_requests"`)
		if after := w.Header().Get("Retry-After"); after != "41" && after != "40" {
			f.Errorf("Retry-After %q; want the rest of the minute", after)
		}
		f.Pass(41 * time.Second)
		f.Answers("a minute later", f.Do("POST", "/refresh-devices", ""), 200, `"devices":1`)
		if n := f.Notehub.Count(fixture.HubList) - before; n != 1 {
			f.Errorf("%d listings; want only the one that was allowed", n)
		}

		f.Pass(2 * time.Minute)
		f.Notehub.Always(fixture.PostNote, sandbox.Outcome{Status: 429, Header: http.Header{"Retry-After": {"30"}}})
		f.Buy(sandbox.PayOptions{})
		w = f.Get("/refresh-devices")
		f.Answers("while a credit is queued", w, 429, `"code":"too_many_requests"`)
		if w.Header().Get("Retry-After") == "" {
			f.Errorf("no Retry-After while a credit is queued")
		}
		f.Notehub.Clear(fixture.PostNote)
		f.Pass(31 * time.Second)
		f.Answers("when it is sent", f.Get("/refresh-devices"), 200, `"devices":1`)
	})
}
