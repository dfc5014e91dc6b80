package stories

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/notehub"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// A proxy answers in place of Notehub for a while. The machine gets its credit from the real
// Notehub afterwards.
func TestCaptivePortalDeliversNoCredit(t *testing.T) {
	bodies := map[string]string{"a page": fixture.ProxyPage, "an error": `{"err":"sign in first"}`, "null": "null"}
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
				f.Run()
				f.Notehub.Always(fixture.PostNote, sandbox.Outcome{Status: 200, Body: body})
				f.Notehub.Always(fixture.HubNotes, sandbox.Outcome{Status: 200, Body: body})
				session := f.Buy(sandbox.PayOptions{})
				f.Pass(30 * time.Second)
				f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Queued, "", ""))
				f.Notehub.Clear(fixture.PostNote)
				f.Notehub.Clear(fixture.HubNotes)
				f.Pass(5 * time.Minute)
				f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Fetched, "", ""))
				f.Started(m, 1)
			})
		})
	}
}

func TestReplyWithoutAListProvesNoFetch(t *testing.T) {
	for _, body := range []string{`{}`, `null`, `{"notes":null}`, `[]`} {
		t.Run(body, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, without, func(f *apptest.Front) { // the machine is off, so it fetches nothing
				f.Run()
				session := f.Buy(sandbox.PayOptions{})
				f.Notehub.Always(fixture.HubNotes, sandbox.Outcome{Status: 200, Body: body})
				f.Pass(5 * time.Minute)
				f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Sent, "", ""))
				f.Notehub.Clear(fixture.HubNotes)
				f.Pass(5 * time.Minute)
				f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonRecalled, ""))
				f.Money(session.ID, 350, 0, 350)
			})
		})
	}
}

func TestDeleteNoteOfACaptivePortalProvesNoRecall(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, without, func(f *apptest.Front) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		f.Notehub.Always(fixture.HubDelete, sandbox.Outcome{Status: 200, Body: fixture.ProxyPage})
		f.Pass(4 * time.Minute)
		f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Sent, "", ""))
		f.Notehub.Clear(fixture.HubDelete)
		f.Pass(4 * time.Minute)
		f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonRecalled, ""))
		if n := len(f.Notehub.Pending(fixture.Washer, notehub.PaymentFile)); n != 0 {
			f.Errorf("%d notes are pending after the recall; want none", n)
		}
	})
}

func TestDevicesAreDecodedOneByOne(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, record string
		named        string // in the problem and in the log, "" for none
		devices      int    // known afterwards
		unsold       int
	}{
		{"a device of another kind", `{"uid":"imei:866425033334444","serial_number":"tracker"}`,
			"imei:866425033334444 (uid)", 1, 1},
		{"a UID that is no UID", `{"uid":"dev:a b"}`, "dev:a b (uid)", 1, 1},
		{"a UID that is a number", `{"uid":7}`, "page 1, record 2 (uid)", 1, 0},
		{"no UID", `{"serial_number":"x"}`, "page 1, record 2 (uid)", 1, 0},
		{"a text", `"dev:7"`, "page 1, record 2 (uid)", 1, 0},
		{"null", `null`, "page 1, record 2 (uid)", 1, 0},
		{"a list", `[]`, "page 1, record 2 (uid)", 1, 0},
		{"an empty last_activity", `{"uid":"dev:7","last_activity":""}`, "dev:7 (last_activity)", 2, 0},
		{"a last_activity in seconds", `{"uid":"dev:7","last_activity":1700000000}`, "dev:7 (last_activity)", 2, 0},
		{"a last_activity of null", `{"uid":"dev:7","last_activity":null}`, "", 2, 0},
		{"a serial_number that is a number", `{"uid":"dev:7","serial_number":12345}`, "dev:7 (serial_number)", 2, 0},
		{"fields that are not needed", `{"uid":"dev:7","voltage":"low","contact":7,"sku":[],"provisioned":false}`,
			"", 2, 0},
		{"fleets that are a text", `{"uid":"dev:7","fleet_uids":"fleet:1"}`, "dev:7 (fleet_uids)", 1, 1},
		{"fleets with a number", `{"uid":"dev:7","fleet_uids":["fleet:1",7]}`, "dev:7 (fleet_uids)", 1, 1},
		{"a disabled that is a text", `{"uid":"dev:7","disabled":"yes"}`, "dev:7 (disabled)", 1, 1},
		{"a disabled of null", `{"uid":"dev:7","disabled":null,"fleet_uids":null}`, "", 2, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, func(s *config.Settings) { s.RefreshInterval = time.Minute }, func(f *apptest.Front) {
				f.Notehub.AddOddDevice(row.record)
				f.Run()
				f.Pass(5 * time.Minute)
				f.Answers("the other machine", f.Get("/pay?device="+fixture.Washer), http.StatusTemporaryRedirect, "")
				if n, _, _ := f.Fleet.Counts(); n != row.devices {
					f.Errorf("%d devices are known; want %d", n, row.devices)
				}
				unsold := f.Fleet.Unsold()
				if len(unsold) != row.unsold || row.unsold == 1 && unsold[0].Problem == "" {
					f.Errorf("unsold: %+v; want %d, with a problem", unsold, row.unsold)
				}
				health := f.Get("/health").Body.String()
				if row.named == "" {
					f.Answers("health", f.Get("/health"), 200, `"status":"ok"`)
				} else if !strings.Contains(health, row.named) || !strings.Contains(health, "degraded") {
					f.Errorf("health: %s; want it degraded and naming %q", health, row.named)
				}
				if n := strings.Count(f.Logs.String(), `msg="odd record"`); n != min(len(row.named), 1) {
					f.Errorf("%d lines in the log after six refreshes; want at most one", n)
				}
				f.Notehub.Always(
					fixture.HubList,
					sandbox.Outcome{
						Status: 200,
						Body:   `{"devices":[{"uid":"` + fixture.Washer + `","fleet_uids":[]}],"has_more":false}`,
					},
				)
				f.Pass(2 * time.Minute)
				f.Answers("health when the record is gone", f.Get("/health"), 200, `"status":"ok"`)
			})
		})
	}
}

// A known device keeps its last state while its record is unreadable. It is neither removed nor
// sold on a guess.
func TestDevicesKeepAKnownDeviceWhoseRecordIsUnreadable(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, func(s *config.Settings) { s.RefreshInterval = time.Minute }, func(f *apptest.Front) {
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:7", Disabled: true})
		f.Run()
		f.Notehub.Always(
			fixture.HubList,
			sandbox.Outcome{
				Status: 200,
				Body: `{"devices":[{"uid":"dev:7","disabled":"no"},{"uid":"` + fixture.Washer + `"}],` +
					`"has_more":false}`,
			},
		)
		f.Pass(2 * time.Minute)
		f.Answers("a scan", f.Get("/pay?device=dev:7"), 503, "This machine is out of service")
		if n := len(f.Fleet.Unsold()); n != 0 {
			f.Errorf("%d unsold devices; want none, for it is known", n)
		}
	})
}

// A record without a UID may be any device that is missing. It is no evidence that a device is gone.
func TestDevicesKeepAKnownDeviceWhoseRecordHasNoUID(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, func(s *config.Settings) { s.RefreshInterval = time.Minute }, func(f *apptest.Front) {
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:7"})
		f.Run()
		f.Pass(2 * time.Minute)
		list := func(records string) {
			f.Notehub.Always(fixture.HubList, sandbox.Outcome{
				Status: 200,
				Body:   `{"devices":[` + records + `{"uid":"` + fixture.Washer + `"}],"has_more":false}`,
			})
		}
		list(`{"uid":null,"serial_number":"Washer 7"},`)
		for _, when := range []string{"at work", "after a restart"} {
			f.Pass(5 * time.Minute)
			f.Leads("/pay?device=dev:7", f.LinkOf("dev:7", fixture.Warm).URL)
			if n := len(f.Active("dev:7")); n != 1 {
				f.Errorf("%s it has %d active links; want one", when, n)
			}
			f.Restarted(nil)
		}
		list("")
		f.Pass(5 * time.Minute)
		if f.Fleet.Device("dev:7") != nil || len(f.Active("dev:7")) != 0 {
			f.Error("a device that is gone is still sold")
		}
	})
}

// Pages of confirmations that repeat end in an error. The silence does not count, and the reading
// stops.
func TestConfirmationsThatRepeatAreNoSilence(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, confirming, func(f *apptest.Front) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		f.Notehub.Fetch(fixture.Washer, notehub.PaymentFile)
		page := func(id string) sandbox.Outcome {
			return sandbox.Outcome{
				Status: 200,
				Body:   `{"events":[{"event":"` + id + `"}],"next_cursor":"","has_more":true}`,
			}
		}
		f.Notehub.Next(fixture.HubEvents, slices.Repeat([]sandbox.Outcome{page("a"), page("b")}, 5000)...)
		before := f.Notehub.Count(fixture.HubEvents)
		f.Pass(5 * time.Minute)
		if n := f.Notehub.Count(fixture.HubEvents) - before; n > 200 {
			f.Errorf("%d reads in five minutes; want them to back off", n)
		}
		if p := f.Paid(session.ID); p.Funds != payment.Paid {
			f.Errorf("%s, %s; want the money kept while the answers cannot be read", p.Delivery, p.Funds)
		}
		f.Notehub.Clear(fixture.HubEvents)
		f.Pass(5 * time.Minute)
		f.Stands(
			session.ID,
			apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonUnconfirmed, payment.ReasonUnconfirmed),
		)
	})
}
