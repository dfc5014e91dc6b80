package notehub

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

func TestDevicesReadsPageByPage(t *testing.T) {
	t.Parallel()
	for _, count := range []int{0, 1, devicesPerPage - 1, devicesPerPage, devicesPerPage + 1, 2 * devicesPerPage} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newTestHub(t, nil)
				h.RemoveDevice(fixture.Washer)
				for i := range count {
					h.AddDevice(sandbox.Device{UID: fmt.Sprintf("dev:%06d", i)})
				}
				devices, err := h.client.Devices(t.Context())
				fixture.Meant(t, "devices", err, upstream.OK)
				if len(devices) != count {
					t.Errorf("%d devices; want %d", len(devices), count)
				}
				want := max(1, (count+devicesPerPage-1)/devicesPerPage)
				if n := h.Count(fixture.HubList); n != want {
					t.Errorf("%d calls; want %d", n, want)
				}
			})
		})
	}
}

func TestDevicesFailsUnlessTheListIsComplete(t *testing.T) {
	t.Parallel()
	const first = `{"devices":[{"uid":"dev:1"},{"uid":"dev:2"}],"has_more":true}`
	const odd = `{"devices":[{"serial_number":"no uid"},7,null],"has_more":true}`
	yes := func(body string) sandbox.Outcome { return sandbox.Outcome{Status: 200, Body: body} }
	rows := []struct {
		name  string
		pages []sandbox.Outcome
		read  int
		want  upstream.Outcome
	}{
		{"the second page fails", []sandbox.Outcome{yes(first), {Status: 500}}, 2, upstream.Unknown},
		{"the second page is held back", []sandbox.Outcome{yes(first), {Status: 429}}, 2, upstream.RateLimited},
		{"the first page fails", []sandbox.Outcome{{Status: 403}}, 0, upstream.Misconfigured},
		{"no has_more", []sandbox.Outcome{yes(`{"devices":[{"uid":"dev:1"}]}`)}, 1, upstream.Retryable},
		{
			"has_more is null",
			[]sandbox.Outcome{yes(`{"devices":[{"uid":"dev:1"}],"has_more":null}`)},
			1,
			upstream.Retryable,
		},
		{"another service's answer", []sandbox.Outcome{yes(`{}`)}, 0, upstream.Retryable},
		{"null", []sandbox.Outcome{yes(`null`)}, 0, upstream.Retryable},
		{
			"an empty page that is not the last",
			[]sandbox.Outcome{yes(first), yes(`{"devices":[],"has_more":true}`)},
			2,
			upstream.Retryable,
		},
		{"the same page forever", []sandbox.Outcome{yes(first), yes(first)}, 2, upstream.Retryable},
		{
			"a page of odd records",
			[]sandbox.Outcome{yes(first), yes(odd), yes(`{"devices":[{"uid":"dev:3"}],"has_more":false}`)},
			3,
			upstream.OK,
		},
		{
			"the same page of odd records forever",
			[]sandbox.Outcome{yes(first), yes(odd), yes(odd)},
			2,
			upstream.Retryable,
		},
		{
			"two pages that overlap",
			[]sandbox.Outcome{
				yes(first),
				yes(`{"devices":[{"uid":"dev:2"},{"uid":"dev:3"},{"uid":""}],"has_more":false}`),
			},
			3,
			upstream.OK,
		},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newTestHub(t, nil)
				h.Next(fixture.HubList, row.pages...)
				devices, err := h.client.Devices(t.Context())
				fixture.Meant(t, "devices", err, row.want)
				devices = slices.DeleteFunc(devices, func(d ledger.Device) bool { return d.UID == "" && d.Unreadable })
				if len(devices) != row.read {
					t.Errorf("%d devices; want the %d that were read", len(devices), row.read)
				}
			})
		})
	}
}

func TestDevicesDecodesADevice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, func(s *Config, _ *sandbox.NotehubConfig) { s.Fleet = "fleet:1" })
		h.AddFleet("fleet:1", "Laundry", nil)
		h.AddFleet("fleet:2", "Elsewhere", nil)
		seen := time.Now().Add(-time.Hour).UTC()
		h.AddDevice(
			sandbox.Device{
				UID:          fixture.Washer,
				Name:         "Washer 3",
				Fleets:       []string{"fleet:1", "fleet:2"},
				LastActivity: seen,
			},
		)
		h.AddDevice(sandbox.Device{UID: "dev:2", Fleets: []string{"fleet:1"}, Disabled: true})
		h.AddDevice(sandbox.Device{UID: "dev:3", Fleets: []string{"fleet:2"}})
		devices, err := h.client.Devices(t.Context())
		fixture.Meant(t, "devices", err, upstream.OK)
		if len(devices) != 2 || devices[0].UID != fixture.Washer || devices[1].UID != "dev:2" {
			t.Fatalf("%+v; want the two of the fleet", devices)
		}
		if d := devices[0]; d.Name != "Washer 3" || !d.LastActivity.Equal(seen) || d.Disabled ||
			!slices.Equal(d.Fleets, []string{"fleet:1", "fleet:2"}) {
			t.Errorf("%+v; want name, fleets and last activity", d)
		}
		if d := devices[1]; !d.Disabled || !d.LastActivity.IsZero() || d.Name != "" {
			t.Errorf("%+v; want a disabled device that was never seen", d)
		}
		d, err := h.client.Device(t.Context(), fixture.Washer)
		fixture.Meant(t, "device", err, upstream.OK)
		if d.UID != fixture.Washer || d.Name != "Washer 3" {
			t.Errorf("%+v; want Washer 3", d)
		}
		_, err = h.client.Device(t.Context(), "dev:3")
		fixture.Meant(t, "device of another fleet", err, upstream.Rejected)
		_, err = h.client.Device(t.Context(), "dev:4")
		fixture.Meant(t, "unknown device", err, upstream.Rejected)
		h.Next(fixture.HubDevice, sandbox.Outcome{Status: 200, Body: `{"uid":"dev:9","fleet_uids":["fleet:1"]}`})
		_, err = h.client.Device(t.Context(), fixture.Washer)
		fixture.Meant(t, "another device than was asked for", err, upstream.Rejected)
	})
}

func TestDevicesNeedAList(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"has_more":false}`, `{"devices":null,"has_more":false}`, `{"devices":{},"has_more":false}`,
		`{"devices":[],"has_more":"no"}`, `[]`,
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHub(t, nil)
			h.Next(fixture.HubList, sandbox.Outcome{Status: 200, Body: body})
			_, err := h.client.Devices(t.Context())
			fixture.Meant(t, body, err, upstream.Retryable)
		})
	}
}

func TestDeviceNeedsADevice(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{}`, `null`, `[]`, `{"uid":7}`, `{"devices":[]}`} {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHub(t, nil)
			h.Next(fixture.HubDevice, sandbox.Outcome{Status: 200, Body: body})
			fixture.Meant(t, body, h.ask(), upstream.Retryable)
		})
	}
}

func TestDeviceIsRetryableAfterAnOddReply(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"a proxy's page": fixture.ProxyPage, "half of it": `{"uid":"dev:`, "a list": `[]`,
		"a number for a name": `{"uid":1}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHub(t, nil)
			h.Next(fixture.HubDevice, sandbox.Outcome{Status: 200, Body: body})
			fixture.Meant(t, name, h.ask(), upstream.Retryable)
		})
	}
}
