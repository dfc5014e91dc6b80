package config

import (
	"fmt"
	"time"

	"notepay/internal/notify"
)

// digestOff is the value of ALERT_DIGEST that sends no digest.
const digestOff = "off"

// AlertTargets returns the recipients of alerts, in the order of ALERT_URLS.
func (s *Settings) AlertTargets() []*notify.Target {
	secrets, err := notify.Secrets(string(s.AlertWebhookSecret))
	if err != nil {
		return nil // not reached after Load, which rejects the secret
	}
	targets, _ := notify.Parse(string(s.AlertURLs), secrets)
	return targets
}

// AlertName returns how alerts call the business.
func (s *Settings) AlertName() string {
	name := s.BrandName
	if name == "" {
		name = "notepay"
	}
	if !s.Livemode() {
		name += " (test mode)"
	}
	return name
}

// DigestAt returns the time of the digest on the day of now. It is the zero time if there is none.
func (s *Settings) DigestAt(now time.Time) time.Time {
	at, err := time.Parse("15:04", s.AlertDigest)
	if err != nil {
		return time.Time{} // off
	}
	year, month, day := now.In(s.Zone()).Date()
	return time.Date(year, month, day, at.Hour(), at.Minute(), 0, 0, s.Zone())
}

// checkAlerts returns what is wrong with the settings about alerts. It quotes no URL.
func (s *Settings) checkAlerts() (problems []string) {
	secrets, err := notify.Secrets(string(s.AlertWebhookSecret))
	if err != nil {
		problems = append(problems, "ALERT_WEBHOOK_SECRET: "+err.Error())
	}
	_, wrong := notify.Parse(string(s.AlertURLs), secrets)
	for _, w := range wrong {
		problems = append(problems, "ALERT_URLS: "+w)
	}
	if _, err := time.Parse("15:04", s.AlertDigest); err != nil && s.AlertDigest != digestOff && s.AlertDigest != "" {
		problems = append(problems, fmt.Sprintf("ALERT_DIGEST: %s is neither a time such as 08:00 nor off",
			quote(s.AlertDigest)))
	}
	return problems
}
