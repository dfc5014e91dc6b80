package config

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"notepay/internal/dsn"
	"notepay/internal/terms"
)

// maxNameLength is the maximum length of the texts about the operator on every page, in characters.
const maxNameLength = 80

// hexColor matches a color as browsers write it. The # is optional, because it begins a comment in
// many settings files.
var hexColor = regexp.MustCompile(`^#?[0-9a-fA-F]{6}$`)

// validate returns what is wrong with the settings, alone and together.
func (s *Settings) validate() (problems []string) {
	wrong := func(bad bool, format string, args ...any) {
		if bad {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	key := string(s.StripeSecretKey)
	wrong(
		key == "",
		"STRIPE_SECRET_KEY: required, the secret key (sk_...) or a restricted key (rk_...) of your Stripe account",
	)
	wrong(
		key != "" && !startsWith(key, "sk_test_", "sk_live_", "rk_test_", "rk_live_"),
		"STRIPE_SECRET_KEY: has to begin with sk_test_, sk_live_, rk_test_ or rk_live_ "+
			"(a publishable key, pk_..., does not work)",
	)
	wrong(spaced(key), "STRIPE_SECRET_KEY: holds a space or line break, copy it again")

	wrong(
		s.StripePriceID == "",
		"STRIPE_PRICE_ID: required, the price (price_...) that machines charge; several with commas",
	)
	if s.StripePriceID != "" {
		_, bad := terms.Prices(s.StripePriceID)
		for _, b := range bad {
			if b.ID != "" {
				b.Why = quote(b.ID) + " " + b.Why
			}
			wrong(true, "STRIPE_PRICE_ID: %s", b.Why)
		}
	}

	wrong(
		s.StripeWebhookSecret == "",
		"STRIPE_WEBHOOK_SECRET: required, the signing secret (whsec_...) of your webhook endpoint; "+
			"several with commas; the word off runs without webhooks",
	)
	for _, secret := range s.WebhookSecrets() {
		wrong(
			!strings.HasPrefix(secret, "whsec_") || len(secret) < len("whsec_")+8 || spaced(secret),
			"STRIPE_WEBHOOK_SECRET: each secret begins with whsec_ followed by at least 8 characters without spaces",
		)
	}
	wrong(
		s.StripeWebhookSecret != "" && s.StripeWebhookSecret != WebhooksOff && len(s.WebhookSecrets()) == 0,
		"STRIPE_WEBHOOK_SECRET: holds no secret",
	)

	client := s.NotehubClientID != "" || s.NotehubClientSecret != ""
	wrong(
		!client && s.NotehubToken == "",
		"NOTEHUB_CLIENT_ID and NOTEHUB_CLIENT_SECRET, or NOTEHUB_TOKEN: one of these is required to sign in to Notehub",
	)
	wrong(
		client && s.NotehubToken != "",
		"NOTEHUB_TOKEN: set either this or NOTEHUB_CLIENT_ID and NOTEHUB_CLIENT_SECRET, not both",
	)
	wrong(client && s.NotehubClientID == "", "NOTEHUB_CLIENT_ID: required beside NOTEHUB_CLIENT_SECRET")
	wrong(client && s.NotehubClientSecret == "", "NOTEHUB_CLIENT_SECRET: required beside NOTEHUB_CLIENT_ID")
	wrong(spaced(s.NotehubClientID), "NOTEHUB_CLIENT_ID: holds a space or line break, copy it again")
	wrong(spaced(string(s.NotehubClientSecret)), "NOTEHUB_CLIENT_SECRET: holds a space or line break, copy it again")
	wrong(spaced(string(s.NotehubToken)), "NOTEHUB_TOKEN: holds a space or line break, copy it again")
	wrong(!startsWith(s.NotehubProjectUID, "app:"), "NOTEHUB_PROJECT_UID: required, the project's UID (app:...)")
	wrong(spaced(s.NotehubProjectUID), "NOTEHUB_PROJECT_UID: holds a space or line break, copy it again")
	wrong(spaced(s.NotehubFleetUID), "NOTEHUB_FLEET_UID: holds a space or line break, copy it again")
	wrong(
		s.NotehubFleetUID != "" && !startsWith(s.NotehubFleetUID, "fleet:"),
		"NOTEHUB_FLEET_UID: has to begin with fleet:",
	)

	problems = append(problems, checkListenAddr(s.ListenAddr)...)
	problems = append(problems, s.checkDatabase()...)
	problems = append(problems, checkPublicURL(&s.PublicURL, s.Livemode())...)
	problems = append(problems, s.checkTLS()...)
	problems = append(problems, checkProxies(s.TrustedProxies)...)
	problems = append(problems, checkZone(s.TZ)...)
	problems = append(problems, checkVendorURL("STRIPE_API_URL", &s.StripeAPIURL, s.Livemode())...)
	problems = append(problems, checkVendorURL("NOTEHUB_API_URL", &s.NotehubAPIURL, s.Livemode())...)
	problems = append(problems, checkVendorURL("NOTEHUB_AUTH_URL", &s.NotehubAuthURL, s.Livemode())...)
	wrong(
		s.OperatorToken != "" && len(s.OperatorToken) < 16,
		"OPERATOR_TOKEN: at least 16 characters, because it moves money",
	)

	wrong(s.RefreshInterval < 10*time.Second, "REFRESH_INTERVAL: at least 10s")
	why := s.Terms().Lifetime(s.CreditLifetime)
	wrong(why != "", "CREDIT_LIFETIME: %s", why)
	wrong(s.PollInterval < 10*time.Second, "POLL_INTERVAL: at least 10s")
	problems = append(problems, s.checkDurations()...)
	why = s.Terms().Confirmation()
	wrong(why != "", "CONFIRM_WITHIN: %s", why)
	wrong(s.OfflineAfter < 0, "OFFLINE_AFTER: must not be below 0")
	wrong(!slices.Contains([]string{"link", "session"}, s.Checkout), "CHECKOUT: must be link or session")
	wrong(
		s.PerPurchase() && s.PublicURL == "",
		"PUBLIC_URL: required if CHECKOUT is session, because Stripe sends customers back there",
	)
	wrong(!slices.Contains([]string{"immediate", "on_start"}, s.Capture), "CAPTURE: must be immediate or on_start")
	wrong(
		s.NotehubRouteToken != "" && (len(s.NotehubRouteToken) < 16 || spaced(string(s.NotehubRouteToken))),
		"NOTEHUB_ROUTE_TOKEN: at least 16 characters without spaces",
	)
	problems = append(problems, s.checkNotes()...)
	problems = append(problems, s.checkAlerts()...)
	wrong(
		s.Capture == "on_start" && s.ConfirmWithin == 0,
		"CAPTURE: on_start needs CONFIRM_WITHIN, because the customer is charged when the machine confirms",
	)
	problems = append(problems, s.checkShop()...)
	wrong(
		s.KeepEvents > 0 && s.KeepEvents < minKeepEvents,
		"KEEP_EVENTS: at least %d days, because Stripe may repeat an event for 30 days; 0 keeps all",
		minKeepEvents,
	)
	wrong(s.BackupEvery < time.Minute, "BACKUP_EVERY: at least 1m")
	wrong(s.BackupKeep < 1 || s.BackupKeep > 10_000, "BACKUP_KEEP: at least 1, at most 10000")
	wrong(
		s.BackupDir != "" && dsn.IsPostgres(string(s.DatabaseURL)),
		"BACKUP_DIR: is for SQLite; copy a PostgreSQL database with pg_dump or its own tools",
	)
	wrong(
		dsn.Unexpanded(s.BackupDir),
		"BACKUP_DIR: is taken as it stands: ~, $HOME and the like are not replaced here; "+
			"write the whole path, such as /mnt/backup",
	)
	wrong(
		dsn.IsRemote(s.BackupDir),
		"BACKUP_DIR: has to be a directory of this host, such as /mnt/backup; mount a remote one",
	)
	wrong(
		!slices.Contains([]string{"debug", "info", "warn", "error"}, s.LogLevel),
		"LOG_LEVEL: must be debug, info, warn or error",
	)
	wrong(!slices.Contains([]string{"text", "json"}, s.LogFormat), "LOG_FORMAT: must be text or json")
	return problems
}

// startsWith reports whether s is longer than one of the prefixes and begins with it.
func startsWith(s string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) && len(s) > len(p) })
}

// spaced reports whether s holds a space or line break.
func spaced(s string) bool { return strings.ContainsAny(s, " \t\r\n") }

// checkURL requires an absolute http or https URL, and removes trailing slashes.
func checkURL(name string, value *string) []string {
	if *value == "" {
		return nil
	}
	*value = strings.TrimRight(*value, "/")
	u, err := url.Parse(*value)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || u.RawQuery != "" ||
		u.ForceQuery ||
		u.Fragment != "" {
		return []string{name + ": has to be a URL such as https://pay.example.com"}
	}
	return nil
}
