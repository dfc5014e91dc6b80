package notehub

import (
	"fmt"
	"maps"
	"testing"
	"testing/synctest"

	"notepay/internal/fixture"
	"notepay/internal/sandbox"
	"notepay/internal/terms"
	"notepay/internal/upstream"
)

func TestVariablesHaveLowerCaseNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, nil)
		h.SetProjectVariables(
			map[string]string{"Stripe_Price_ID": "price_Capitals", "stripe_price_id": "price_Small", "OTHER": "X"},
		)
		h.AddFleet("fleet:1", "Laundry", map[string]string{"PAYMENT_ENABLED": "false"})
		h.AddFleet("fleet:2", "Elsewhere", nil)
		h.SetDevice(fixture.Washer, func(d *sandbox.Device) {
			d.Fleets, d.Variables = []string{"fleet:1"}, map[string]string{"Credit_Lifetime": "5m"}
		})
		got, err := h.client.ProjectVariables(t.Context())
		fixture.Meant(t, "project", err, upstream.OK)
		if want := map[string]string{"stripe_price_id": "price_Small", "other": "X"}; !maps.Equal(got, want) {
			t.Errorf("the project has %v; want %v", got, want)
		}
		fleets, _, err := h.client.FleetVariables(t.Context())
		fixture.Meant(t, "fleets", err, upstream.OK)
		one := map[string]string{"payment_enabled": "false", terms.FleetLabel: "Laundry"}
		if len(fleets) != 2 || !maps.Equal(fleets["fleet:1"], one) ||
			!maps.Equal(fleets["fleet:2"], map[string]string{terms.FleetLabel: "Elsewhere"}) {
			t.Errorf("the fleets have %v; want one with payment_enabled and one with its name alone", fleets)
		}
		if n := h.Count(fixture.HubFleets); n != 1 {
			t.Errorf("%d calls for all fleets; want one", n)
		}
		got, err = h.client.DeviceVariables(t.Context(), fixture.Washer)
		fixture.Meant(t, "device", err, upstream.OK)
		if want := map[string]string{"credit_lifetime": "5m"}; !maps.Equal(got, want) {
			t.Errorf("the device has %v; want its own alone, %v", got, want)
		}
		_, err = h.client.DeviceVariables(t.Context(), "dev:1")
		fixture.Meant(t, "unknown device", err, upstream.Rejected)
	})
}

func TestVariablesFailsWithoutVariables(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		answer sandbox.Outcome
		want   upstream.Outcome
	}{
		{"another service's answer", sandbox.Outcome{Status: 200, Body: `{}`}, upstream.Retryable},
		{"a proxy's page", sandbox.Outcome{Status: 200, Body: fixture.ProxyPage}, upstream.Retryable},
		{
			"a text", sandbox.Outcome{Status: 200, Body: `{"environment_variables":"a","fleets":"b"}`},
			upstream.Retryable,
		},
		{
			"null, which is Go's empty map",
			sandbox.Outcome{Status: 200, Body: `{"environment_variables":null,"fleets":[]}`},
			upstream.OK,
		},
		{"403", sandbox.Outcome{Status: 403}, upstream.Misconfigured},
		{"429", sandbox.Outcome{Status: 429}, upstream.RateLimited},
		{"500", sandbox.Outcome{Status: 500}, upstream.Unknown},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHub(t, nil)
			for _, pattern := range []string{fixture.HubProjectNames, fixture.HubFleets, fixture.HubDeviceNames} {
				h.Next(pattern, row.answer)
			}
			project, err := h.client.ProjectVariables(t.Context())
			fixture.Meant(t, row.name+", project", err, row.want)
			fleets, _, err := h.client.FleetVariables(t.Context())
			fixture.Meant(t, row.name+", fleets", err, row.want)
			device, err := h.client.DeviceVariables(t.Context(), fixture.Washer)
			fixture.Meant(t, row.name+", device", err, row.want)
			if len(project)+len(fleets)+len(device) != 0 {
				t.Errorf("%s: %v, %v and %v; want nothing", row.name, project, fleets, device)
			}
		})
	}
}

func TestVariablesAreDecodedOneByOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, nil)
		h.Next(
			fixture.HubDeviceNames,
			sandbox.Outcome{
				Status: 200,
				Body:   `{"environment_variables":{"a":"1","payment_enabled":false,"n":7,"o":{"x":1},"gone":null}}`,
			},
		)
		got, err := h.client.DeviceVariables(t.Context(), fixture.Washer)
		fixture.Meant(t, "variables", err, upstream.OK)
		want := "map[a:1 n:7 o:{\"x\":1} payment_enabled:false]"
		if fmt.Sprint(got) != want {
			t.Errorf("%v; want %s", got, want)
		}
	})
}

func TestFleetVariablesAreDecodedOneByOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, nil)
		read := func(fleets string) (variables map[string]map[string]string, complete bool) {
			h.Next(fixture.HubFleets, sandbox.Outcome{Status: 200, Body: `{"fleets":[` + fleets + `]}`})
			variables, complete, err := h.client.FleetVariables(t.Context())
			fixture.Meant(t, fleets, err, upstream.OK)
			return variables, complete
		}
		const good = `{"uid":"fleet:1","environment_variables":{"a":"1"}}`
		for _, odd := range []string{
			`7`, `null`, `{"uid":7}`, `{"label":"x"}`, `{"uid":null,"environment_variables":{}}`,
		} {
			if got, complete := read(odd + "," + good); len(got) != 1 || got["fleet:1"]["a"] != "1" || complete {
				t.Errorf("with %s: %v, complete %v; want the other fleet of an incomplete list", odd, got, complete)
			}
		}
		for _, odd := range []string{`"x"`, `[]`, `7`} {
			got, complete := read(good + `,{"uid":"fleet:2","label":"x","environment_variables":` + odd + `}`)
			variables, listed := got["fleet:2"]
			if len(got) != 2 || !listed || variables != nil || !complete {
				t.Errorf("with %s: %v, complete %v; want fleet:2 listed without variables", odd, got, complete)
			}
		}
		got, complete := read(good + `,{"uid":"fleet:2","environment_variables":null},{"uid":"fleet:3"}`)
		if len(got) != 3 || got["fleet:2"] == nil || got["fleet:3"] == nil || !complete {
			t.Errorf("%v, complete %v; want two fleets that set nothing", got, complete)
		}
		if got, complete := read(good); len(got) != 1 || !complete {
			t.Errorf("%v, complete %v; want one fleet", got, complete)
		}
	})
}
