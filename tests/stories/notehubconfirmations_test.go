package stories

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// Confirmations as routes and firmware write them start the machine's session, or the problem is
// reported.
func TestConfirmationsThroughARoute(t *testing.T) {
	for _, row := range []struct {
		name      string
		change    func(event, body map[string]any)
		started   bool
		attention string
		counted   string // the outcome in the metrics
	}{
		{"as Notehub sends it", func(event, body map[string]any) {}, true, "", "taken"},
		{"with the project instead of app", func(event, _ map[string]any) {
			delete(event, "app")
			event["project"] = map[string]any{"id": fixture.Project, "name": "x"}
		}, true, "", "taken"},
		{"without a project", func(event, _ map[string]any) { delete(event, "app") }, true, "", "taken"},
		{"in other letters", func(event, body map[string]any) {
			event["file"], body["state"] = "Payment_Ack.qo", "Started "
			body["credit_id"] = " " + strings.ToUpper(body["credit_id"].(string))
		}, true, "", "taken"},
		{"of another project", func(event, _ map[string]any) { event["app"] = "app:other" },
			false, "", "other_project"},
		{"without a credit", func(_, body map[string]any) { delete(body, "credit_id") }, false, "", "no_credit"},
		{"with an unknown state", func(_, body map[string]any) { body["state"] = "running" },
			false, payment.ReviewConfirmation, "unknown_state"},
		{"without a device", func(event, _ map[string]any) { delete(event, "device") },
			false, payment.ReviewConfirmation, "no_device"},
		{"of another device", func(event, _ map[string]any) { event["device"] = "dev:other" },
			false, payment.ReviewConfirmation, "other_device"},
		{"of another file", func(event, _ map[string]any) { event["file"] = "_health.qo" }, false, "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, routed, func(f *apptest.Front) {
				f.Run()
				session := f.Buy(sandbox.PayOptions{})
				credit := f.Paid(session.ID).ID
				body := map[string]any{"credit_id": credit, "state": "started"}
				event := map[string]any{
					"event":    "e1",
					"file":     "payment_ack.qo",
					"device":   fixture.Washer,
					"app":      fixture.Project,
					"received": float64(time.Now().Unix()),
					"body":     body,
				}
				row.change(event, body)
				text, err := json.Marshal(event)
				if err != nil {
					t.Fatal(err)
				}
				for range 2 { // Notehub repeats it
					f.Answers(
						"the route",
						f.Do("POST", "/webhook/notehub", string(text), "Authorization", "bearer  "+apptest.RouteToken),
						200,
						`"received":true`,
					)
				}
				p := f.Paid(session.ID)
				if (p.Delivery == "started") != row.started || p.ReviewReason != row.attention {
					f.Errorf(
						"%s, attention %q; want started %v, attention %q",
						p.Delivery,
						p.ReviewReason,
						row.started,
						row.attention,
					)
				}
				counter := `notepay_confirmations_total{outcome="` + row.counted + `"} 1`
				if metrics := f.Get("/metrics").Body.String(); row.counted != "" &&
					!strings.Contains(metrics, counter) {
					f.Errorf("the metrics do not hold %s", counter)
				}
				if row.attention != "" { // the machine repeats it in a valid form
					f.Answers(
						"the route",
						f.Do(
							"POST",
							"/webhook/notehub",
							routedEvent("e2", fixture.Project, fixture.Washer, credit, "started"),
							"Authorization",
							"Bearer "+apptest.RouteToken,
						),
						200,
						"",
					)
					if p := f.Paid(session.ID); p.Delivery != "started" || p.ReviewReason != "" {
						f.Errorf("%s, attention %q; want it started and settled", p.Delivery, p.ReviewReason)
					}
				}
			})
		})
	}
}
