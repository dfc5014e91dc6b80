package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/joho/godotenv"
)

func good() map[string]string {
	return map[string]string{
		"STRIPE_SECRET_KEY": "sk_test_abcdefgh", "STRIPE_PRICE_ID": "price_1",
		"STRIPE_WEBHOOK_SECRET": "whsec_abcdefgh",
		"NOTEHUB_TOKEN":         "hubtoken-secret", "NOTEHUB_PROJECT_UID": "app:1",
	}
}

func load(t *testing.T, values map[string]string) (*Settings, error) {
	t.Helper()
	return Load(filepath.Join(t.TempDir(), ".env"), func(name string) string { return values[name] })
}

func TestLoadDefaults(t *testing.T) {
	t.Parallel()
	s, err := load(t, good())
	if err != nil {
		t.Fatal(err)
	}
	if s.Address() != ":3000" || s.CreditLifetime != 10*time.Minute || s.RefreshInterval != 15*time.Minute ||
		s.DatabaseURL != "notepay.db" ||
		s.Livemode() {
		t.Errorf("defaults: %+v", s)
	}
}

func TestLoadPrefersTheEnvironmentAndTrimsSpaces(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "STRIPE_SECRET_KEY=sk_live_fromfile\nPORT=1\nNOTEHUB_CLIENT_ID=\n")
	values := good()
	values["STRIPE_SECRET_KEY"] = " \n"
	values["PORT"] = " 4000\n"
	values["STRIPE_WEBHOOK_SECRET"] = " whsec_first123 , whsec_second12\n"
	s, err := Load(file, func(name string) string { return values[name] })
	if err != nil {
		t.Fatal(err)
	}
	if s.StripeSecretKey != "sk_live_fromfile" || !s.Livemode() {
		t.Errorf("an environment variable of spaces alone won over the file")
	}
	if s.Port != 4000 {
		t.Errorf("port %d; want the environment's 4000", s.Port)
	}
	if got, want := s.WebhookSecrets(), []string{"whsec_first123", "whsec_second12"}; !slices.Equal(got, want) {
		t.Errorf("webhook secrets %q; want %q", got, want)
	}
}

func TestLoadNamesEveryBadSetting(t *testing.T) {
	t.Parallel()
	type vars = map[string]string
	for name, c := range map[string]struct {
		set  vars
		want string
	}{
		"no key":                         {vars{"STRIPE_SECRET_KEY": ""}, "STRIPE_SECRET_KEY"},
		"a notefile of another kind":     {vars{"NOTE_FILE": "payment.qo"}, "NOTE_FILE"},
		"a notefile of Notehub's":        {vars{"ACK_FILE": "_session.qo"}, "ACK_FILE"},
		"a key for notes in base64":      {vars{"NOTE_SIGN_KEY": strings.Repeat("Q", 43) + "="}, "NOTE_SIGN_KEY"},
		"half a key for notes":           {vars{"NOTE_SIGN_KEY": strings.Repeat("a1", 16)}, "NOTE_SIGN_KEY"},
		"a publishable key":              {vars{"STRIPE_SECRET_KEY": "pk_test_abc"}, "STRIPE_SECRET_KEY"},
		"a key with a space inside":      {vars{"STRIPE_SECRET_KEY": "sk_test_ab cd"}, "STRIPE_SECRET_KEY"},
		"no price":                       {vars{"STRIPE_PRICE_ID": ""}, "STRIPE_PRICE_ID"},
		"a product for a price":          {vars{"STRIPE_PRICE_ID": "price_1,prod_2"}, "STRIPE_PRICE_ID"},
		"a color by its name":            {vars{"BRAND_COLOR": "green"}, "BRAND_COLOR"},
		"a name that fills the page":     {vars{"BRAND_NAME": strings.Repeat("x", 81)}, "BRAND_NAME"},
		"a contact that fills the page":  {vars{"SUPPORT_CONTACT": strings.Repeat("x", 81)}, "SUPPORT_CONTACT"},
		"an address of a page":           {vars{"IMPRINT_URL": "example.com/imprint"}, "IMPRINT_URL"},
		"a script for a page":            {vars{"PRIVACY_URL": "javascript:alert(1)"}, "PRIVACY_URL"},
		"a switch that is neither":       {vars{"PROMOTION_CODES": "yes"}, "PROMOTION_CODES"},
		"a language that is missing":     {vars{"CHECKOUT_LANGUAGE": "ja"}, "CHECKOUT_LANGUAGE"},
		"a logo that does not exist":     {vars{"BRAND_LOGO": "/none.png"}, "BRAND_LOGO"},
		"an address that fills the page": {vars{"SELLER_ADDRESS": strings.Repeat("x", 201)}, "SELLER_ADDRESS"},
		"a tax that fills the page":      {vars{"TAX_LINE": strings.Repeat("x", 201)}, "TAX_LINE"},
		"a price twice":                  {vars{"STRIPE_PRICE_ID": "price_1,price_1"}, "STRIPE_PRICE_ID"},
		"an empty webhook secret":        {vars{"STRIPE_WEBHOOK_SECRET": ""}, "STRIPE_WEBHOOK_SECRET"},
		"a webhook secret of commas":     {vars{"STRIPE_WEBHOOK_SECRET": ",,"}, "STRIPE_WEBHOOK_SECRET"},
		"a webhook secret of its prefix": {vars{"STRIPE_WEBHOOK_SECRET": "whsec_"}, "STRIPE_WEBHOOK_SECRET"},
		"one good and one bad secret": {
			vars{"STRIPE_WEBHOOK_SECRET": "whsec_abcdefgh,abc"}, "STRIPE_WEBHOOK_SECRET",
		},
		"no sign-in": {vars{"NOTEHUB_TOKEN": ""}, "NOTEHUB_CLIENT_ID"},
		"both sign-ins": {
			vars{"NOTEHUB_CLIENT_ID": "a", "NOTEHUB_CLIENT_SECRET": "b"}, "NOTEHUB_TOKEN",
		},
		"a client without secret": {
			vars{"NOTEHUB_TOKEN": "", "NOTEHUB_CLIENT_ID": "a"}, "NOTEHUB_CLIENT_SECRET",
		},
		"a secret without client": {
			vars{"NOTEHUB_TOKEN": "", "NOTEHUB_CLIENT_SECRET": "a"}, "NOTEHUB_CLIENT_ID",
		},
		"no project":                  {vars{"NOTEHUB_PROJECT_UID": ""}, "NOTEHUB_PROJECT_UID"},
		"a product for a project":     {vars{"NOTEHUB_PROJECT_UID": "product:x"}, "NOTEHUB_PROJECT_UID"},
		"a fleet by its name":         {vars{"NOTEHUB_FLEET_UID": "laundry"}, "NOTEHUB_FLEET_UID"},
		"a port too high":             {vars{"PORT": "70000"}, "PORT"},
		"an address without port":     {vars{"LISTEN_ADDR": "localhost"}, "LISTEN_ADDR"},
		"a proxy by its name":         {vars{"TRUSTED_PROXIES": "::1,caddy"}, "TRUSTED_PROXIES: \"caddy\" is not"},
		"everybody as a proxy":        {vars{"TRUSTED_PROXIES": "0.0.0.0/0"}, "TRUSTED_PROXIES"},
		"a public URL without scheme": {vars{"PUBLIC_URL": "pay.example.com"}, "PUBLIC_URL"},
		"a short operator token":      {vars{"OPERATOR_TOKEN": "short"}, "OPERATOR_TOKEN"},
		"an interval without unit":    {vars{"REFRESH_INTERVAL": "15"}, "REFRESH_INTERVAL"},
		"events kept too short":       {vars{"KEEP_EVENTS": "34"}, "KEEP_EVENTS"},
		"events kept in days":         {vars{"KEEP_EVENTS": "400d"}, "KEEP_EVENTS"},
		"backups all the time":        {vars{"BACKUP_EVERY": "1s"}, "BACKUP_EVERY"},
		"no backup kept":              {vars{"BACKUP_KEEP": "0"}, "BACKUP_KEEP"},
		"backups of PostgreSQL": {
			vars{"BACKUP_DIR": "/b", "DATABASE_URL": "postgres://u:p@h/d"}, "BACKUP_DIR",
		},
		"backups in a home directory": {vars{"BACKUP_DIR": "~/backups"}, "BACKUP_DIR: is taken as it stands"},
		"backups in a variable":       {vars{"BACKUP_DIR": "$HOME/backups"}, "BACKUP_DIR: is taken as it stands"},
		"backups in a bucket":         {vars{"BACKUP_DIR": "s3://bucket/notepay"}, "BACKUP_DIR: has to be a directory"},
		"backups on another host":     {vars{"BACKUP_DIR": "nas:/backups"}, "BACKUP_DIR: has to be a directory"},
		"a refresh never":             {vars{"REFRESH_INTERVAL": "2000000h"}, "REFRESH_INTERVAL: at most 87600h"},
		"a poll never":                {vars{"POLL_INTERVAL": "87601h"}, "POLL_INTERVAL: at most 87600h"},
		"a backup never":              {vars{"BACKUP_EVERY": "87601h"}, "BACKUP_EVERY: at most 87600h"},
		"a lifetime of an age":        {vars{"CREDIT_LIFETIME": "2562047h"}, "CREDIT_LIFETIME: at most 87600h"},
		"an interval too short":       {vars{"REFRESH_INTERVAL": "1s"}, "REFRESH_INTERVAL"},
		"a negative lifetime":         {vars{"CREDIT_LIFETIME": "-1m"}, "CREDIT_LIFETIME"},
		"confirmations without lifetime": {
			vars{"CONFIRM_WITHIN": "1m", "CREDIT_LIFETIME": "0"},
			"CREDIT_LIFETIME: has to be above 0 where CONFIRM_WITHIN",
		},
		"a negative confirmation time": {vars{"CONFIRM_WITHIN": "-1s"}, "CONFIRM_WITHIN"},
		"confirmations sooner than a payment is seen": {
			vars{"STRIPE_WEBHOOK_SECRET": "off", "CONFIRM_WITHIN": "9m59s"},
			"CONFIRM_WITHIN: has to be at least two POLL_INTERVALs",
		},
		"capture without confirmations": {vars{"CAPTURE": "on_start"}, "CAPTURE: on_start needs"},
		"an unknown capture":            {vars{"CAPTURE": "later"}, "CAPTURE"},
		"sessions without an address":   {vars{"CHECKOUT": "session", "PUBLIC_URL": ""}, "PUBLIC_URL: required"},
		"an unknown checkout":           {vars{"CHECKOUT": "cart"}, "CHECKOUT"},
		"a negative offline time":       {vars{"OFFLINE_AFTER": "-1s"}, "OFFLINE_AFTER"},
		"a poll interval too short":     {vars{"POLL_INTERVAL": "1s"}, "POLL_INTERVAL"},
		"a rate that is no number":      {vars{"NOTEHUB_REQUESTS_PER_MINUTE": "many"}, "NOTEHUB_REQUESTS_PER_MINUTE"},
		"a vendor's URL that is a path": {vars{"STRIPE_API_URL": "/v1"}, "STRIPE_API_URL"},
		"an unknown log level":          {vars{"LOG_LEVEL": "loud"}, "LOG_LEVEL"},
		"an unknown log format":         {vars{"LOG_FORMAT": "xml"}, "LOG_FORMAT"},
		"the API URL with a query":      {vars{"NOTEHUB_API_URL": "https://x.example?a=b"}, "NOTEHUB_API_URL"},
		"the token URL without host":    {vars{"NOTEHUB_AUTH_URL": "https://"}, "NOTEHUB_AUTH_URL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			values := good()
			for k, v := range c.set {
				values[k] = v
			}
			_, err := load(t, values)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v; want one that names %s", err, c.want)
			}
		})
	}
}

func TestLoadTakesConfirmationsOnceAPaymentIsSeen(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]map[string]string{
		"with webhooks":         {"CONFIRM_WITHIN": "2m"},
		"in two poll intervals": {"STRIPE_WEBHOOK_SECRET": "off", "CONFIRM_WITHIN": "10m"},
		"with rare polling":     {"STRIPE_WEBHOOK_SECRET": "off", "POLL_INTERVAL": "301s", "CREDIT_LIFETIME": "1h"},
		"with fast polling":     {"STRIPE_WEBHOOK_SECRET": "off", "CONFIRM_WITHIN": "2m", "POLL_INTERVAL": "1m"},
		"without confirming":    {"STRIPE_WEBHOOK_SECRET": "off", "CONFIRM_WITHIN": "0"},
	} {
		values := good()
		maps.Copy(values, set)
		s, err := load(t, values)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		values["CONFIRM_WITHIN"] = s.SuggestConfirmWithin()
		if s, err = load(t, values); err != nil || s.ConfirmWithin < 2*time.Minute {
			t.Errorf("%s: the suggestion %s: %v", name, values["CONFIRM_WITHIN"], err)
		}
	}
}

func TestLoadListsAllProblemsWithoutASecret(t *testing.T) {
	t.Parallel()
	_, err := load(t, map[string]string{
		"STRIPE_SECRET_KEY": "key-in-the-wrong-place", "STRIPE_WEBHOOK_SECRET": "hook-in-the-wrong-place",
		"NOTEHUB_TOKEN": "token with-a-space",
		"PORT":          "x", "OPERATOR_TOKEN": "tiny-secret",
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"STRIPE_SECRET_KEY", "STRIPE_PRICE_ID", "STRIPE_WEBHOOK_SECRET", "NOTEHUB_TOKEN",
		"NOTEHUB_PROJECT_UID", "PORT", "OPERATOR_TOKEN",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the message does not name %s:\n%v", want, err)
		}
	}
	for _, secret := range []string{"wrong-place", "with-a-space", "tiny-secret"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the message prints a secret:\n%v", err)
		}
	}
}

func TestLoadRejectsABrokenFileWithoutItsText(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), ".env")
	if err := os.WriteFile(file, []byte("STRIPE_SECRET_KEY=\"sk_test_secret\nthis is no setting"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(file, func(string) string { return "" })
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v; want one that does not quote the file", err)
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	t.Parallel()
	s, err := load(t, good())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%v %+v %#v %s %q", s, s, s, s.StripeSecretKey, s.StripeSecretKey)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("settings", "all", s, "key", s.StripeSecretKey)
	slog.New(slog.NewTextHandler(&b, nil)).Info("settings", "all", *s, "key", s.NotehubToken)
	if err := json.NewEncoder(&b).Encode(s); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"sk_test_abcdefgh", "whsec_abcdefgh", "hubtoken-secret"} {
		if strings.Contains(b.String(), secret) {
			t.Errorf("%q was printed", secret)
		}
	}
}

func TestExampleNamesEverySettingWithItsDefault(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../.env.example")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`(?m)^#?([A-Z_]+)=(.*)$`).FindAllStringSubmatch(string(text), -1)
	values := map[string]string{}
	for _, n := range named {
		if _, twice := values[n[1]]; twice {
			t.Errorf("%s is listed twice in .env.example", n[1])
		}
		values[n[1]] = n[2]
	}
	for _, name := range Names() {
		if _, ok := values[name]; !ok {
			t.Errorf(".env.example does not name %s", name)
		}
	}
	for name := range values {
		if !slices.Contains(Names(), name) {
			t.Errorf(".env.example names %s, which is no setting", name)
		}
	}
	// The defaults in the example result in the same settings as an empty file.
	for k, v := range good() {
		values[k] = v
	}
	written, err := load(t, values)
	if err != nil {
		t.Fatal(err)
	}
	unset, err := load(t, good())
	if err != nil {
		t.Fatal(err)
	}
	if *written != *unset {
		t.Errorf("the defaults in .env.example are not those of the code:\n%+v\n%+v", written, unset)
	}
	if _, err := godotenv.Unmarshal(string(text)); err != nil {
		t.Errorf(".env.example cannot be read: %v", err)
	}
}

func TestLoadReadsABrandColorWithAndWithoutItsSign(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"BRAND_COLOR=#0b6b4f", `BRAND_COLOR="#0b6b4f"`, "BRAND_COLOR=0b6b4f"} {
		file := filepath.Join(t.TempDir(), ".env")
		if err := os.WriteFile(file, []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		values := good()
		if s, err := Load(file, func(name string) string { return values[name] }); err != nil ||
			strings.TrimPrefix(s.BrandColor, "#") != "0b6b4f" {
			t.Errorf("%s: %+v, %v; want the color", line, s, err)
		}
	}
}
