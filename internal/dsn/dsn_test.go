package dsn

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIsPostgres(t *testing.T) {
	t.Parallel()
	for database, want := range map[string]bool{
		"postgres://127.0.0.1/notepay":   true,
		"postgresql://127.0.0.1/notepay": true,
		"postgres:notepay":               false,
		"POSTGRES://127.0.0.1/notepay":   false,
		"notepay.db":                     false,
		"/var/lib/notepay/postgres.db":   false,
		"":                               false,
	} {
		if got := IsPostgres(database); got != want {
			t.Errorf("IsPostgres(%q) = %v; want %v", database, got, want)
		}
	}
}

func TestCheckAcceptsSQLitePaths(t *testing.T) {
	t.Parallel()
	for _, database := range []string{
		"notepay.db",
		"./notepay.db",
		"./a:b.db",
		"/var/lib/notepay/notepay.db",
		`C:\notepay\notepay.db`,
		"C:/notepay/notepay.db",
		"with space.db",
		"100%.db",
		"what?.db",
		"passwords.db",
		"wäsche.db",
	} {
		if err := Check(database); err != nil {
			t.Errorf("Check(%q) = %v; want nil", database, err)
		}
	}
}

func TestCheckAcceptsPostgresURLs(t *testing.T) {
	t.Parallel()
	for _, database := range []string{
		"postgres://notepay:hunter2@db.example.com:5432/notepay",
		"postgresql://notepay@127.0.0.1/notepay",
		"postgres://notepay:a%40b%2Fc%3Fd%23e%25@127.0.0.1/notepay",
		"postgres://notepay@127.0.0.1/notepay?sslmode=require&connect_timeout=3",
		"postgres:///notepay?host=/run/postgresql",
		"postgres://notepay@one:5432,two:5432/notepay?target_session_attrs=read-write",
		"postgres://notepay@127.0.0.1/notepay?default_query_exec_mode=exec",
	} {
		if err := Check(database); err != nil {
			t.Errorf("Check(%q) = %v; want nil", database, err)
		}
	}
}

func TestCheckRejects(t *testing.T) {
	t.Parallel()
	const option = "postgres://notepay:hunter2@127.0.0.1/notepay?"
	const verified = option + "sslmode=verify-full&sslrootcert="
	missing := filepath.Join(t.TempDir(), "hunter2.pem")
	unreadable := filepath.Join(t.TempDir(), "no.pem")
	if err := os.WriteFile(unreadable, []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		database string
		want     error
	}{
		"another scheme":               {"mysql://notepay:hunter2@127.0.0.1/notepay", errScheme},
		"a scheme without slashes":     {"postgres:notepay", errScheme},
		"a scheme in capitals":         {"POSTGRES://notepay:hunter2@127.0.0.1/notepay", errScheme},
		"a SQLite URI":                 {"file:notepay.db", errScheme},
		"a database in memory":         {":memory:", errScheme},
		"a network path":               {"//127.0.0.1/notepay.db", errScheme},
		"a libpq connection string":    {"host=127.0.0.1 password=hunter2", errScheme},
		"a spaced connection string":   {"user = notepay", errScheme},
		"a home directory":             {"~/notepay.db", errUnexpanded},
		"a shell variable":             {"$HOME/notepay.db", errUnexpanded},
		"a shell variable inside":      {"/var/${NAME}.db", errUnexpanded},
		"a Windows variable":           {`%APPDATA%\notepay.db`, errUnexpanded},
		"a bad escape":                 {"postgres://notepay:hunter2%zz@127.0.0.1/notepay", errPostgresURL},
		"a space in the password":      {"postgres://notepay:hunter2 x@127.0.0.1/notepay", errPostgresURL},
		"a bad port":                   {"postgres://notepay:hunter2@127.0.0.1:none/notepay", errPostgresURL},
		"a slash in the password":      {"postgres://notepay:12/hunter2@127.0.0.1/notepay", errPostgresURL},
		"a question mark in it":        {"postgres://notepay:12?hunter2@127.0.0.1/notepay", errPostgresURL},
		"a number sign in it":          {"postgres://notepay:12#hunter2@127.0.0.1/notepay", errPostgresURL},
		"an unknown mode of TLS":       {option + "sslmode=perhaps", errPostgresOption},
		"a timeout that is no number":  {option + "connect_timeout=x", errPostgresOption},
		"a missing certificate":        {verified + missing, errPostgresOption},
		"a certificate that is no PEM": {verified + unreadable, errPostgresOption},
	} {
		t.Run(name, func(t *testing.T) {
			err := Check(c.database)
			if err != c.want {
				t.Fatalf("Check(%q) = %v; want %v", c.database, err, c.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error quotes the value: %v", err)
			}
		})
	}
}
