// Package config reads the settings from .env and the environment, and validates them.
//
// It promises that the settings it returns are valid together and that an error names every wrong
// one. No secret is ever printed. It calls no vendor, so it does not know whether a key works or a
// price exists.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"notepay/internal/clientaddr"
	"notepay/internal/dsn"
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

// maxNameLength is the maximum length of the texts about the operator on every page, in characters.
const maxNameLength = 80

// hexColor matches a color as browsers write it. The # is optional, because it begins a comment in
// many settings files.
var hexColor = regexp.MustCompile(`^#?[0-9a-fA-F]{6}$`)

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

// Names returns the names of all settings, in the order of the struct.
func Names() (names []string) {
	for f := range reflect.TypeFor[Settings]().Fields() {
		names = append(names, f.Tag.Get("env"))
	}
	return names
}

// Load reads the settings from the file, which may be missing, and from getenv, which wins. It
// trims spaces and newlines around values. The error names every setting that is wrong.
func Load(file string, getenv func(string) string) (*Settings, error) {
	s, problems, err := loadAll(file, getenv)
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, wrongSettings(file, problems)
	}
	return s, nil
}

// Database returns DATABASE_URL and validates no other setting.
func Database(file string, getenv func(string) string) (Secret, error) {
	s, err := LoadOnly(file, getenv, "DATABASE_URL")
	if err != nil {
		return "", err
	}
	return s.DatabaseURL, nil
}

// LoadOnly reads the settings as Load does, but its error is only about the named ones. Commands that
// need no others use it.
func LoadOnly(file string, getenv func(string) string, names ...string) (*Settings, error) {
	s, problems, err := LoadPart(file, getenv, names...)
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, wrongSettings(file, problems)
	}
	return s, nil
}

// LoadPart reads the settings as Load does, and returns the problems of the named ones instead of an
// error. Each problem begins with the name of its setting and a colon.
func LoadPart(
	file string,
	getenv func(string) string,
	names ...string,
) (s *Settings, problems []string, err error) {
	s, problems, err = loadAll(file, getenv)
	return s, slices.DeleteFunc(problems, func(problem string) bool {
		name, _, _ := strings.Cut(problem, ":")
		return !slices.Contains(names, name)
	}), err
}

// Empty reports whether neither the file nor getenv sets anything that every installation has to
// choose. The operator has then not begun to set up notepay.
func Empty(file string, getenv func(string) string) bool {
	s, _, err := loadAll(file, getenv)
	return err == nil && s.StripeSecretKey == "" && s.NotehubProjectUID == "" && s.StripePriceID == "" &&
		s.StripeWebhookSecret == "" && s.PublicURL == "" && s.OperatorToken == ""
}

// loadAll reads and validates all settings. Each problem begins with the name of its setting.
func loadAll(file string, getenv func(string) string) (s *Settings, problems []string, err error) {
	values, problems, err := read(file, getenv)
	if err != nil {
		return nil, nil, err
	}
	s = &Settings{}
	problems = append(problems, parse(s, values)...)
	if s.TLS() && values["PORT"] == "" {
		s.Port = httpsPort
	}
	return s, append(problems, s.validate()...), nil
}

// wrongSettings returns the error that lists problems and says where settings come from.
func wrongSettings(file string, problems []string) error {
	where := filepath.Base(file) + " or the environment"
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		if dir, err := filepath.Abs(filepath.Dir(file)); err == nil {
			where += "; no " + filepath.Base(file) + " was found in " + dir
		}
	}
	return fmt.Errorf("these settings are missing or wrong (in %s):\n  %s", where, strings.Join(problems, "\n  "))
}

// read returns the values that are set, and the problems in how they are written.
func read(file string, getenv func(string) string) (values map[string]string, problems []string, err error) {
	values, err = ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range Names() {
		if v := getenv(name); strings.TrimSpace(v) != "" {
			values[name] = v
			if !isText(name) && commented.MatchString(v) {
				problems = append(problems, name+": holds a space and a #; "+
					"in the environment and in files that Docker or systemd read, "+
					"what follows is no comment but a part of the value, so put comments on lines of their own")
			}
		}
		if values[name] = strings.TrimSpace(values[name]); values[name] == "" {
			delete(values, name) // empty means not set
		}
		if inQuotes(name, values[name]) {
			problems = append(
				problems,
				name+": holds a quotation mark; write the value without quotes (Docker passes them on)",
			)
		}
		if !isText(name) && placeholder.MatchString(values[name]) {
			problems = append(
				problems,
				name+": is a placeholder; notepay does not replace placeholders, so write the value itself",
			)
		}
		problems = append(problems, checkCharacters(name, values[name])...)
	}
	return values, problems, nil
}

// parse sets the fields of s and returns the values of the wrong type. Their fields keep the
// default, so that validate can check the others.
func parse(s *Settings, values map[string]string) (problems []string) {
	err := env.ParseWithOptions(s, env.Options{Environment: values})
	var all env.AggregateError
	if !errors.As(err, &all) {
		if err != nil {
			problems = append(problems, err.Error())
		}
		return problems
	}
	for _, err := range all.Errors {
		wrong, ok := errors.AsType[env.ParseError](err)
		if !ok {
			problems = append(problems, err.Error())
			continue
		}
		field, _ := reflect.TypeFor[Settings]().FieldByName(wrong.Name)
		name := field.Tag.Get("env")
		example := "a whole number"
		switch field.Type {
		case reflect.TypeFor[time.Duration]():
			example = "a duration such as 90s, 15m or 2h"
		case reflect.TypeFor[uint16]():
			example = "a port: it has to be a number from 0 to 65535"
		}
		problems = append(problems, fmt.Sprintf("%s: %s is not %s", name, quote(values[name]), example))
	}
	return problems
}

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
	wrong(s.ConfirmWithin < 0, "CONFIRM_WITHIN: must not be below 0")
	wrong(s.OfflineAfter < 0, "OFFLINE_AFTER: must not be below 0")
	wrong(!slices.Contains([]string{"link", "session"}, s.Checkout), "CHECKOUT: must be link or session")
	wrong(
		s.PerPurchase() && s.PublicURL == "",
		"PUBLIC_URL: required if CHECKOUT is session, because Stripe sends customers back there",
	)
	wrong(!slices.Contains([]string{"immediate", "on_start"}, s.Capture), "CAPTURE: must be immediate or on_start")
	wrong(
		s.ConfirmWithin > 0 && s.ConfirmWithin < 10*time.Second,
		"CONFIRM_WITHIN: at least 10s, or 0 if machines do not confirm",
	)
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
