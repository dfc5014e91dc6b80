// Package packaging checks the files with which notepay is packed, where no container engine or
// systemd runs. packaging/deb_test.sh installs the Debian package.
package packaging

import (
	"cmp"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"notepay/internal/config"
	"notepay/internal/dsn"
	"notepay/internal/fixture"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	text := read(t, "Dockerfile")
	stages := regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(text, -1)
	if len(stages) != 2 || stages[1][1] != "scratch" {
		t.Fatalf("stages %v; want a build and an empty image", stages)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))
	if version == nil || !strings.HasPrefix(stages[0][1], "golang:"+version[1]+"-") {
		t.Errorf("built with %s; want the Go of go.mod, %v", stages[0][1], version)
	}
	_, last, _ := strings.Cut(text, "\nFROM scratch\n")
	user := regexp.MustCompile(`(?m)^USER (\d+):(\d+)$`).FindStringSubmatch(last)
	if user == nil || user[1] == "0" || user[2] == "0" {
		t.Errorf("USER %v; want numbers that are not root's", user)
	}
	for _, want := range []string{
		`HEALTHCHECK .*CMD \["/notepay", "health"\]`, `ENTRYPOINT \["/notepay"\]`, `VOLUME /data`,
		`--chown=65532:65532 /data`, `ca-certificates\.crt`, `DATABASE_URL=/data/notepay\.db`,
	} {
		if !regexp.MustCompile(want).MatchString(last) {
			t.Errorf("the image lacks %s", want)
		}
	}
	for _, bad := range []string{"ADD ", ":latest", "curl", "sudo", "ARG STRIPE"} {
		if strings.Contains(text, bad) {
			t.Errorf("the Dockerfile has %q", bad)
		}
	}
	if !strings.Contains(read(t, ".dockerignore"), "\n**/.env\n") {
		t.Error("the settings file would get into the image's build")
	}
}

// rawSettings passes the settings on as they are. Without the format, Compose replaces $NAME in them.
const rawSettings = "env_file: [{path: .env, format: raw}]"

func TestComposeFile(t *testing.T) {
	t.Parallel()
	text := read(t, "compose.yaml")
	for _, want := range []string{
		rawSettings, "ledger:/data", "read_only: true", "cap_drop: [ALL]", "no-new-privileges:true",
		"restart: unless-stopped", `"127.0.0.1:3000:3000"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the compose file lacks %s", want)
		}
	}
	grace := regexp.MustCompile(`stop_grace_period: (\d+)s`).FindStringSubmatch(text)
	if grace == nil {
		t.Fatal("no stop_grace_period")
	}
	if n, err := strconv.Atoi(grace[1]); err != nil || n <= 10 {
		t.Errorf("%s s to stop; notepay may take ten", grace[1])
	}
	if strings.Contains(text, "\t") {
		t.Error("YAML has no tabs")
	}
}

// service returns the lines of a service in a compose file, without the first.
func service(t *testing.T, compose, name string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^  ` + name + `:.*\n((?:    .*\n|\n)+)`).FindStringSubmatch(compose)
	if found == nil {
		t.Fatalf("there is no service %s", name)
	}
	return found[1]
}

// TestDeploy reads the files of a set of instances. Caddy judges its own, where it is installed.
func TestDeploy(t *testing.T) {
	t.Parallel()
	text, caddyfile := read(t, "deploy/compose.yml"), read(t, "deploy/Caddyfile")
	for _, want := range []string{
		rawSettings, "read_only: true", "cap_drop: [ALL]", "no-new-privileges:true", "restart: unless-stopped",
		"condition: service_healthy", "PGPASSWORD: ${POSTGRES_PASSWORD:?",
		"DATABASE_URL: postgres://notepay@postgres:5432/notepay",
		`BACKUP_DIR: ""`, "./Caddyfile:/etc/caddy/Caddyfile:ro",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the compose file lacks %s", want)
		}
	}
	if strings.Contains(text, "\t") {
		t.Error("YAML has no tabs")
	}
	if strings.Contains(text, ":latest") {
		t.Error("an image without a version")
	}
	instances := regexp.MustCompile(`(?m)^  (notepay-\d+):`).FindAllStringSubmatch(text, -1)
	if len(instances) != 2 {
		t.Fatalf("instances %v; want two", instances)
	}
	instance := service(t, text, instances[0][1])
	for _, other := range instances[1:] {
		if got := strings.TrimSpace(service(t, text, other[1])); got != "<<: *notepay" {
			t.Errorf("%s has settings of its own: %s", other[1], got)
		}
	}
	if !strings.Contains(service(t, text, "postgres"), `test: ["CMD", "pg_isready"`) {
		t.Error("the instances wait for a health check that PostgreSQL does not have")
	}
	variables := map[string]string{}
	for _, v := range regexp.MustCompile(`(?m)^      ([A-Z_]+): (.*?)(?: # .*)?$`).FindAllStringSubmatch(instance, -1) {
		variables[v[1]] = strings.Trim(v[2], `"`)
	}
	filled := map[string]string{ // as an operator fills in .env.example
		"PUBLIC_URL": "https://pay.example.com", "STRIPE_SECRET_KEY": "sk_test_1", "STRIPE_PRICE_ID": "price_1",
		"STRIPE_WEBHOOK_SECRET": fixture.TestSecret, "NOTEHUB_TOKEN": "token", "NOTEHUB_PROJECT_UID": fixture.Project,
		"OPERATOR_TOKEN": "0123456789abcdef", "SUPPORT_CONTACT": "help@example.com", "CONFIRM_WITHIN": "0",
	}
	settings, err := config.Load("", func(name string) string { return cmp.Or(variables[name], filled[name]) })
	switch {
	case err != nil:
		t.Errorf("notepay refuses the settings of the compose file: %v", err)
	case !dsn.IsPostgres(string(settings.DatabaseURL)) || settings.BackupDir != "" || variables["DATABASE_URL"] == "":
		t.Errorf("the settings are %v; want PostgreSQL, and no copies of a file", variables)
	}
	_, proxied, _ := strings.Cut(caddyfile, "reverse_proxy ")
	proxied, _, _ = strings.Cut(proxied, "\n")
	for _, i := range instances {
		if !strings.Contains(proxied, i[1]+":3000") {
			t.Errorf("Caddy does not use %s: %s", i[1], proxied)
		}
	}
	proxies := regexp.MustCompile(`TRUSTED_PROXIES: (\S+)`).FindStringSubmatch(text)
	subnet := regexp.MustCompile(`subnet: (\S+)`).FindStringSubmatch(text)
	if proxies == nil || subnet == nil || proxies[1] != subnet[1] {
		t.Errorf("trusted are %v, and the proxy is in %v", proxies, subnet)
	}
	for _, grace := range regexp.MustCompile(`stop_grace_period: (\d+)s`).FindAllStringSubmatch(text, -1) {
		if n, err := strconv.Atoi(grace[1]); err != nil || n <= 10 {
			t.Errorf("%s s to stop; notepay may take ten", grace[1])
		}
	}
	connections := regexp.MustCompile(`max_connections=(\d+)`).FindStringSubmatch(text)
	if connections == nil {
		t.Fatal("no max_connections")
	}
	if n, err := strconv.Atoi(connections[1]); err != nil || n < 2*2*13 {
		t.Errorf("%s connections; want 13 for each instance, and as many for those that replace them", connections[1])
	}
	caddy, err := exec.LookPath("caddy")
	if err != nil {
		t.Skipf("there is no caddy: %v", err)
	}
	validate := exec.CommandContext(t.Context(), caddy, "validate", "--adapter", "caddyfile",
		"--config", "../../deploy/Caddyfile")
	validate.Env = append(validate.Environ(), "PUBLIC_URL=https://pay.example.com", "HOME="+t.TempDir())
	if out, err := validate.CombinedOutput(); err != nil {
		t.Errorf("caddy: %v\n%s", err, out)
	}
}

// TestUnit lets systemd judge the unit of the Debian package.
func TestUnit(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skipf("there is no systemd: %v", err)
	}
	file := t.TempDir() + "/notepay.service"
	// The program need not be installed here.
	unit := strings.Replace(read(t, "packaging/notepay.service"), "/usr/bin/notepay", "/bin/true", 1)
	if err := os.WriteFile(file, []byte(unit), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), tool, "verify", file).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("verify: %v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), tool, "security", "--offline=true", file).CombinedOutput()
	if strings.Contains(string(out), "unrecognized option") {
		t.Skip("this systemd judges no file")
	}
	found := regexp.MustCompile(`exposure level for notepay\.service: ([0-9.]+)`).FindSubmatch(out)
	if found == nil {
		t.Fatalf("security: %v\n%s", err, out)
	}
	if level, err := strconv.ParseFloat(string(found[1]), 64); err != nil || level > 2 {
		t.Errorf("exposure level %s; want at most 2.0", found[1])
	}
}
