// Package config reads the settings from .env and the environment, and validates them.
//
// It promises that the settings it returns are valid together and that an error names every wrong
// one. No secret is ever printed. It calls no vendor, so it does not know whether a key works or a
// price exists.
package config

import (
	"fmt"
	"strings"
	"time"

	"notepay/internal/clientaddr"
	"notepay/internal/terms"
)

// Settings holds all settings of `notepay serve`. .env.example documents each of them.
type Settings struct {
	StripeSecretKey     Secret `env:"STRIPE_SECRET_KEY"`
	StripePriceID       string `env:"STRIPE_PRICE_ID"`
	StripeWebhookSecret Secret `env:"STRIPE_WEBHOOK_SECRET"`
	NotehubClientID     string `env:"NOTEHUB_CLIENT_ID"`
	NotehubClientSecret Secret `env:"NOTEHUB_CLIENT_SECRET"`
	NotehubToken        Secret `env:"NOTEHUB_TOKEN"`
	NotehubProjectUID   string `env:"NOTEHUB_PROJECT_UID"`
	NotehubFleetUID     string `env:"NOTEHUB_FLEET_UID"`
	Port                uint16 `env:"PORT"                        envDefault:"3000"`
	ListenAddr          string `env:"LISTEN_ADDR"`
	PublicURL           string `env:"PUBLIC_URL"`
	TrustedProxies      string `env:"TRUSTED_PROXIES"`
	TLSDomains          string `env:"TLS_DOMAINS"`
	TLSCertFile         string `env:"TLS_CERT_FILE"`
	TLSKeyFile          string `env:"TLS_KEY_FILE"`
	TLSRedirectAddr     string `env:"TLS_REDIRECT_ADDR"           envDefault:":80"`
	ACMEDirectory       string `env:"ACME_DIRECTORY" envDefault:"https://acme-v02.api.letsencrypt.org/directory"`
	ACMECAFile          string `env:"ACME_CA_FILE"`
	// DatabaseURL is a Secret because a postgres:// URL holds a password.
	DatabaseURL       Secret        `env:"DATABASE_URL"                envDefault:"notepay.db"`
	OperatorToken     Secret        `env:"OPERATOR_TOKEN"`
	RefreshInterval   time.Duration `env:"REFRESH_INTERVAL"            envDefault:"15m"`
	CreditLifetime    time.Duration `env:"CREDIT_LIFETIME"             envDefault:"10m"`
	ConfirmWithin     time.Duration `env:"CONFIRM_WITHIN"              envDefault:"0"`
	Checkout          string        `env:"CHECKOUT"                    envDefault:"link"`
	Capture           string        `env:"CAPTURE"                     envDefault:"immediate"`
	OfflineAfter      time.Duration `env:"OFFLINE_AFTER"               envDefault:"0"`
	NotehubRouteToken Secret        `env:"NOTEHUB_ROUTE_TOKEN"`
	NoteFile          string        `env:"NOTE_FILE"                   envDefault:"payment.qi"`
	AckFile           string        `env:"ACK_FILE"                    envDefault:"payment_ack.qo"`
	NoteSignKey       Secret        `env:"NOTE_SIGN_KEY"`
	EncryptNotes      string        `env:"ENCRYPT_NOTES"               envDefault:"off"`
	PollInterval      time.Duration `env:"POLL_INTERVAL"               envDefault:"5m"`
	NotehubPerMinute  uint          `env:"NOTEHUB_REQUESTS_PER_MINUTE" envDefault:"0"`
	StripeAPIURL      string        `env:"STRIPE_API_URL"              envDefault:"https://api.stripe.com"`
	NotehubAPIURL     string        `env:"NOTEHUB_API_URL"             envDefault:"https://api.notefile.net"`
	// NotehubAuthURL may be either documented host (docs/vendors.md, U1).
	NotehubAuthURL string `env:"NOTEHUB_AUTH_URL"            envDefault:"https://notehub.io/oauth2/token"`
	BrandName      string `env:"BRAND_NAME"`
	BrandColor     string `env:"BRAND_COLOR"`
	SupportContact string `env:"SUPPORT_CONTACT"`
	// BrandLogo is the path of a PNG or SVG file.
	BrandLogo        string `env:"BRAND_LOGO"`
	SellerAddress    string `env:"SELLER_ADDRESS"`
	TaxLine          string `env:"TAX_LINE"`
	ImprintURL       string `env:"IMPRINT_URL"`
	PrivacyURL       string `env:"PRIVACY_URL"`
	TermsURL         string `env:"TERMS_URL"`
	CheckoutLanguage string `env:"CHECKOUT_LANGUAGE"           envDefault:"en"`
	PromotionCodes   string `env:"PROMOTION_CODES"             envDefault:"off"`
	// AlertURLs is a Secret because the URLs hold passwords and tokens.
	AlertURLs          Secret `env:"ALERT_URLS"`
	AlertWebhookSecret Secret `env:"ALERT_WEBHOOK_SECRET"`
	AlertDigest        string `env:"ALERT_DIGEST"                envDefault:"08:00"`
	LogLevel           string `env:"LOG_LEVEL"                   envDefault:"info"`
	LogFormat          string `env:"LOG_FORMAT"                  envDefault:"text"`
	TZ                 string `env:"TZ"`

	// KeepEvents is in days.
	KeepEvents  uint          `env:"KEEP_EVENTS"                 envDefault:"400"`
	BackupDir   string        `env:"BACKUP_DIR"`
	BackupEvery time.Duration `env:"BACKUP_EVERY"                envDefault:"24h"`
	BackupKeep  uint          `env:"BACKUP_KEEP"                 envDefault:"7"`
}

// minKeepEvents is how many days of Stripe's events are needed. Stripe lists and repeats them for 30
// days, and an event that is gone here would be new again.
const minKeepEvents = 35

// EventLimits returns before which times of receipt events and their bodies are removed. Both are
// zero if all of them stay.
func (s *Settings) EventLimits(now time.Time) (events, bodies time.Time) {
	if s.KeepEvents == 0 {
		return events, bodies
	}
	days := int(min(s.KeepEvents, maxKeepEvents))
	return now.AddDate(0, 0, -days), now.AddDate(0, 0, -max(days/4, minKeepEvents))
}

// maxKeepEvents is a century in days. More means the same.
const maxKeepEvents = 36_500

// WebhooksOff is the value of STRIPE_WEBHOOK_SECRET that runs without webhooks.
const WebhooksOff = "off"

// Livemode reports whether the Stripe key moves real money.
func (s *Settings) Livemode() bool {
	return startsWith(string(s.StripeSecretKey), "sk_live_", "rk_live_")
}

// CaptureOnStart reports whether notepay authorizes the amount first and captures it when the
// machine confirms.
func (s *Settings) CaptureOnStart() bool { return s.Capture == "on_start" }

// PerPurchase reports whether each purchase has its own Checkout Session instead of a Payment Link.
func (s *Settings) PerPurchase() bool { return s.Checkout == "session" }

// PriceIDs returns the prices of the default plans.
func (s *Settings) PriceIDs() []string {
	ids, _ := terms.Prices(s.StripePriceID)
	return ids
}

// Terms returns the rules for the lifetimes of credits. They also apply to Notehub's variables.
func (s *Settings) Terms() terms.Rules {
	r := terms.Rules{ConfirmWithin: s.ConfirmWithin, Signed: s.NoteSignKey != ""}
	if s.StripeWebhookSecret == WebhooksOff {
		r.SeenWithin = 2 * s.PollInterval
	}
	return r
}

// SuggestConfirmWithin returns a CONFIRM_WITHIN for machines that confirm, in whole minutes. It is
// one that Load takes beside the other settings.
func (s *Settings) SuggestConfirmWithin() string {
	minutes := max(2, (s.Terms().SeenWithin+time.Minute-1)/time.Minute)
	return fmt.Sprintf("%dm", minutes)
}

// WebhookSecrets returns the secrets that may sign an event, or none if webhooks are off.
func (s *Settings) WebhookSecrets() []string {
	if s.StripeWebhookSecret == WebhooksOff {
		return nil
	}
	return list(string(s.StripeWebhookSecret))
}

// Address returns the address to listen on.
func (s *Settings) Address() string {
	if s.ListenAddr != "" {
		return s.ListenAddr
	}
	return fmt.Sprintf(":%d", s.Port)
}

// Proxies returns the proxies whose forwarded addresses count.
func (s *Settings) Proxies() clientaddr.Proxies {
	p, _ := clientaddr.Parse(s.TrustedProxies)
	return p
}

// list splits a comma-separated value and drops empty items.
func list(commas string) (items []string) {
	for item := range strings.SplitSeq(commas, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}
