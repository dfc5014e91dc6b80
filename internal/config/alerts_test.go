package config

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A wrong recipient is named by its place, and no setting about alerts is ever printed.
func TestAlertSettings(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		set  Settings
		want string
	}{
		{Settings{AlertURLs: "ntfy://ntfy.sh/hunter2secret", AlertDigest: "7:30"}, ""},
		{Settings{AlertURLs: "ntfy://ntfy.sh/a https://hunter2secret"}, "ALERT_URLS: number 2: has to begin with"},
		{Settings{AlertWebhookSecret: "hunter2secret"}, "ALERT_WEBHOOK_SECRET: each secret is whsec_"},
		{Settings{AlertDigest: "noon"}, `ALERT_DIGEST: "noon" is neither a time such as 08:00 nor off`},
		{Settings{AlertDigest: "off"}, ""},
	} {
		got := strings.Join(row.set.checkAlerts(), "\n")
		if (row.want == "") != (got == "") || !strings.Contains(got, row.want) {
			t.Errorf("%q; want %q", got, row.want)
		}
		if shown := got + fmt.Sprintf("%v %+v %#v", row.set, row.set, row.set); strings.Contains(shown, "hunter2") {
			t.Errorf("it shows a secret: %s", shown)
		}
	}
}

func TestDigestAt(t *testing.T) {
	t.Parallel()
	s := Settings{AlertDigest: "08:00", TZ: "Europe/Berlin"}
	for day, want := range map[string]string{
		"2026-03-28T12:00:00Z": "2026-03-28T07:00:00Z",
		"2026-03-29T12:00:00Z": "2026-03-29T06:00:00Z", // summer time began
		"2026-03-29T23:30:00Z": "2026-03-30T06:00:00Z",
	} {
		now, err := time.Parse(time.RFC3339, day)
		if got := s.DigestAt(now).UTC().Format(time.RFC3339); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", day, got, err, want)
		}
	}
	s.AlertDigest = "off"
	if at := s.DigestAt(time.Now()); !at.IsZero() {
		t.Errorf("%v; want none", at)
	}
}
