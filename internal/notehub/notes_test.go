package notehub

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

func TestPendingNotesSayWhatTheyAre(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, nil)
		fixture.Meant(
			t,
			"credit",
			h.client.PostNote(t.Context(), fixture.Washer, payment.Note{PaymentStatus: "completed", CreditID: "cr_1"}),
			upstream.OK,
		)
		fixture.Meant(
			t,
			"its end",
			h.client.PostNote(t.Context(), fixture.Washer, payment.Note{PaymentStatus: "refunded", CreditID: "cr_1"}),
			upstream.OK,
		)
		got, err := h.client.PendingNotes(t.Context(), fixture.Washer)
		fixture.Meant(t, "pending", err, upstream.OK)
		var want []payment.PendingNote
		for _, note := range h.Pending(fixture.Washer, PaymentFile) {
			want = append(
				want,
				payment.PendingNote{ID: note.ID, CreditID: "cr_1", PaymentStatus: note.Body["payment_status"].(string)},
			)
		}
		byStatus := func(a, b payment.PendingNote) int { return cmp.Compare(a.PaymentStatus, b.PaymentStatus) }
		if slices.SortFunc(got, byStatus); !slices.Equal(got, want) {
			t.Errorf("%+v; want %+v", got, want)
		}
	})
}

func TestAStrangeNoteDoesNotHideOurs(t *testing.T) {
	t.Parallel()
	for _, strange := range []string{`"hello"`, `[]`, `null`, `{"credit_id":7}`, `{"alg":"secp384r1-aes256cbc"}`, `{"timestamp":"noon"}`} {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHub(t, nil)
			h.Next(
				fixture.HubNotes,
				sandbox.Outcome{
					Status: 200,
					Body:   `{"notes":{"1:1":{"body":` + strange + `},"1:2":{"body":{"credit_id":"cr_2","payment_status":"completed"}},"1:3":{}}}`,
				},
			)
			got, err := h.client.PendingNotes(t.Context(), fixture.Washer)
			fixture.Meant(t, strange, err, upstream.OK)
			ours := payment.PendingNote{ID: "1:2", CreditID: "cr_2", PaymentStatus: "completed"}
			if len(got) != 3 || !slices.Contains(got, ours) {
				t.Errorf("%s: %+v; want three notes, one of them %+v", strange, got, ours)
			}
		})
	}
}

func TestANoteIsRecalled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, nil)
		fixture.Meant(t, "first", h.post(), upstream.OK)
		fixture.Meant(t, "second", h.post(), upstream.OK)
		pending := h.Pending(fixture.Washer, PaymentFile)
		fixture.Meant(t, "recall", h.client.DeleteNote(t.Context(), fixture.Washer, pending[0].ID), upstream.OK)
		if left := h.Pending(fixture.Washer, PaymentFile); len(left) != 1 || left[0].ID != pending[1].ID {
			t.Errorf("%+v are left; want the second", left)
		}
		fixture.Meant(t, "again", h.client.DeleteNote(t.Context(), fixture.Washer, pending[0].ID), upstream.Rejected)
		h.Fetch(fixture.Washer, PaymentFile)
		fixture.Meant(
			t,
			"after the fetch",
			h.client.DeleteNote(t.Context(), fixture.Washer, pending[1].ID),
			upstream.Rejected,
		)
		fixture.Meant(
			t,
			"of an unknown device",
			h.client.DeleteNote(t.Context(), "dev:1", "1:1"),
			upstream.Misconfigured,
		)
	})
}

// What Notehub says to a recall that came too late is not known (U15). Where it says 200, nobody
// can tell.
func TestARecallThatCameTooLate(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name        string
		goneDeleted bool
		too         func(h *testHub) // how the Notecard comes first
		want        upstream.Outcome
	}{
		{"it was fetched, and Notehub says that there is none", false, func(h *testHub) { h.Fetch(fixture.Washer, PaymentFile) }, upstream.Rejected},
		{"it was fetched, and Notehub says 200", true, func(h *testHub) { h.Fetch(fixture.Washer, PaymentFile) }, upstream.OK},
		{"it is being fetched, and Notehub says that there is none", false, func(h *testHub) { h.RaceNextDelete(fixture.Washer, false) }, upstream.Rejected},
		{"it is being fetched, and Notehub says 200", false, func(h *testHub) { h.RaceNextDelete(fixture.Washer, true) }, upstream.OK},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newTestHub(
					t,
					func(_ *Config, c *sandbox.NotehubConfig) { c.Unknown.GoneDeleted = row.goneDeleted },
				)
				fixture.Meant(t, "note", h.post(), upstream.OK)
				id := h.Pending(fixture.Washer, PaymentFile)[0].ID
				row.too(h)
				fixture.Meant(t, "recall", h.client.DeleteNote(t.Context(), fixture.Washer, id), row.want)
				if note := h.Notes(fixture.Washer)[0]; !note.Fetched {
					t.Errorf("%+v; want it fetched", note)
				}
			})
		})
	}
}

func TestWhatAnAnswerToARecallMeans(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		answer sandbox.Outcome
		want   upstream.Outcome
	}{
		{"200", sandbox.Outcome{Applied: true, Status: 200}, upstream.OK},
		{"204", sandbox.Outcome{Applied: true, Status: 204}, upstream.OK},
		{"404 that names the note", fixture.Saying(404, "note 1:1 {note-noexist}"), upstream.Rejected},
		{"404 that names the queue", fixture.Saying(404, "{notefile-noexist}"), upstream.Rejected},
		{"404 that names the queue in other words", fixture.Saying(404, "{file-noexist}"), upstream.Rejected},
		{"400 that names the note", fixture.Saying(400, "{note-noexist}"), upstream.Rejected},
		{"410 that names the note", fixture.Saying(410, "{note-noexist}"), upstream.Rejected},
		{"404 without a word", sandbox.Outcome{Status: 404}, upstream.Misconfigured},
		{"404 of a proxy", sandbox.Outcome{Status: 404, Body: fixture.ProxyPage}, upstream.Misconfigured},
		{"a proxy's page that quotes the token", sandbox.Outcome{Status: 404, Body: "<p>{note-noexist}</p>"}, upstream.Misconfigured},
		{"404 that names the device", fixture.Saying(404, "{device-noexist}"), upstream.Misconfigured},
		{"403 because the device is disabled", fixture.Saying(403, "{device-disabled}"), upstream.Misconfigured},
		{"404 that names the project", fixture.Saying(404, "{app-noexist}"), upstream.Misconfigured},
		{"400 by which Notehub refuses the call", fixture.Saying(400, "bad note id"), upstream.Misconfigured},
		{"403", fixture.Saying(403, "{access-denied}"), upstream.Misconfigured},
		{"405", sandbox.Outcome{Status: 405}, upstream.Misconfigured},
		{"429", sandbox.Outcome{Status: 429}, upstream.RateLimited},
		{"429 that names the note", fixture.Saying(429, "{note-noexist}"), upstream.RateLimited},
		{"500 that names the note", fixture.Saying(500, "{note-noexist}"), upstream.Unknown},
		{"503", sandbox.Outcome{Status: 503}, upstream.Unknown},
		{"cut after the effect", sandbox.Outcome{Applied: true}, upstream.Unknown},
		{"cut without the effect", sandbox.Outcome{}, upstream.Unknown},
		{"too slow", sandbox.Outcome{Applied: true, Status: 200, Delay: time.Hour}, upstream.Unknown},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newTestHub(t, nil)
				fixture.Meant(t, "note", h.post(), upstream.OK)
				h.Next(fixture.HubDelete, row.answer)
				fixture.Meant(
					t,
					"recall",
					h.client.DeleteNote(t.Context(), fixture.Washer, h.Pending(fixture.Washer, PaymentFile)[0].ID),
					row.want,
				)
				if n := h.Count(fixture.HubDelete); n != 1 {
					t.Errorf("%d attempts; want one", n)
				}
				if left := len(h.Pending(fixture.Washer, PaymentFile)); (left == 0) != row.answer.Applied {
					t.Errorf("%d notes are left; applied is %v", left, row.answer.Applied)
				}
			})
		})
	}
}

// What was claimed when the pace had a slot does not wait for another, and what nobody claimed
// does.
func TestReadsWaitForThePaceAndClaimedCallsDoNot(t *testing.T) {
	t.Parallel()
	rows := map[string]struct {
		waits bool
		call  func(h *testHub) error
	}{
		"note": {false, func(h *testHub) error { return h.post() }},
		"pending": {false, func(h *testHub) error {
			_, err := h.client.PendingNotes(context.Background(), fixture.Washer)
			return err
		}},
		"recall": {
			false,
			func(h *testHub) error { return h.client.DeleteNote(context.Background(), fixture.Washer, "1:1") },
		},
		"answers": {
			true,
			func(h *testHub) error { _, _, _, err := h.client.Confirmations(context.Background(), ""); return err },
		},
		"project": {
			true,
			func(h *testHub) error { _, err := h.client.ProjectVariables(context.Background()); return err },
		},
		"fleets": {
			true,
			func(h *testHub) error { _, err := h.client.FleetVariables(context.Background()); return err },
		},
		"a device": {true, func(h *testHub) error {
			_, err := h.client.DeviceVariables(context.Background(), fixture.Washer)
			return err
		}},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newTestHub(t, nil)
				h.client.Limiter = upstream.NewLimiter(1, 1)
				h.client.Limiter.Use(time.Now())
				began := time.Now()
				if err := row.call(h); err != nil && upstream.OutcomeOf(err) != upstream.Rejected {
					t.Fatal(err)
				}
				if took := time.Since(began); (took >= time.Minute) != row.waits {
					t.Errorf("took %v at one call a minute; waits is %v", took, row.waits)
				}
			})
		})
	}
}

func TestADeadTokenIsRenewedForEveryCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, withOAuth)
		fixture.Meant(t, "note", h.post(), upstream.OK)
		id := h.Pending(fixture.Washer, PaymentFile)[0].ID
		for name, call := range map[string]func() error{
			"recall":    func() error { return h.client.DeleteNote(t.Context(), fixture.Washer, id) },
			"answers":   func() error { _, _, _, err := h.client.Confirmations(t.Context(), ""); return err },
			"variables": func() error { _, err := h.client.ProjectVariables(t.Context()); return err },
		} {
			before := h.TokensIssued()
			h.RevokeTokens()
			fixture.Meant(t, name, call(), upstream.OK)
			if n := h.TokensIssued() - before; n != 1 {
				t.Errorf("%s: %d new tokens; want one", name, n)
			}
		}
	})
}

func TestVariablesAreReadWithSmallNames(t *testing.T) {
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
		fleets, err := h.client.FleetVariables(t.Context())
		fixture.Meant(t, "fleets", err, upstream.OK)
		if len(fleets) != 2 || !maps.Equal(fleets["fleet:1"], map[string]string{"payment_enabled": "false"}) ||
			len(fleets["fleet:2"]) != 0 {
			t.Errorf("the fleets have %v; want one with payment_enabled and one with nothing", fleets)
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

func TestWhatIsNotALotOfVariablesIsNotTakenForNone(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		answer sandbox.Outcome
		want   upstream.Outcome
	}{
		{"another service's answer", sandbox.Outcome{Status: 200, Body: `{}`}, upstream.Retryable},
		{"a proxy's page", sandbox.Outcome{Status: 200, Body: fixture.ProxyPage}, upstream.Retryable},
		{"a text", sandbox.Outcome{Status: 200, Body: `{"environment_variables":"a","fleets":"b"}`}, upstream.Retryable},
		{"null, which is Go's empty map", sandbox.Outcome{Status: 200, Body: `{"environment_variables":null,"fleets":[]}`}, upstream.OK},
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
			fleets, err := h.client.FleetVariables(t.Context())
			fixture.Meant(t, row.name+", fleets", err, row.want)
			device, err := h.client.DeviceVariables(t.Context(), fixture.Washer)
			fixture.Meant(t, row.name+", device", err, row.want)
			if len(project)+len(fleets)+len(device) != 0 {
				t.Errorf("%s: %v, %v and %v; want nothing", row.name, project, fleets, device)
			}
		})
	}
}
