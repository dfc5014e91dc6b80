package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestDatabaseURL(t *testing.T) {
	t.Parallel()
	for database, want := range map[string]string{
		"notepay.db":                    "",
		"./with:colon.db":               "",
		"/var/lib/notepay/notepay.db":   "",
		`C:\notepay\notepay.db`:         "",
		"C:/notepay/notepay.db":         "",
		`\\server\share\notepay.db`:     "",
		"folder/with space.db":          "",
		"postgres://127.0.0.1/notepay":  "",
		"postgresql://db.example.com/n": "",
		"postgres://notepay:hunter2@db:5432/notepay?sslmode=disable":   "",
		"postgres://notepay:hunter%40%2F2@db/notepay":                  "",
		"postgres:///notepay?host=/run/postgresql":                     "",
		"postgres://notepay:hunter2@one:5432,two:5432/notepay":         "",
		"mysql://notepay:hunter2@db/notepay":                           "postgres://",
		"sqlite://hunter2.db":                                          "path of a SQLite file",
		"sqlite:hunter2.db":                                            "path of a SQLite file",
		"file:hunter2.db?mode=ro":                                      "path of a SQLite file",
		"jdbc:postgresql://db/notepay?password=hunter2":                "postgres://",
		"postgress://notepay:hunter2@db/notepay":                       "postgres://",
		"POSTGRES://notepay:hunter2@db/notepay":                        "postgres://",
		"postgres:notepay:hunter2@db/notepay":                          "postgres://",
		"postgres:/notepay:hunter2@db/notepay":                         "postgres://",
		"//notepay:hunter2@db/notepay":                                 "postgres://",
		"://notepay:hunter2@db/notepay":                                "postgres://",
		"notepay:hunter2@db:5432/notepay":                              "postgres://",
		"~/notepay.db":                                                 "write the whole path",
		"$HOME/notepay.db":                                             "write the whole path",
		"/data/${NAME}.db":                                             "write the whole path",
		"%h/notepay.db":                                                "write the whole path",
		`%USERPROFILE%\notepay.db`:                                     "write the whole path",
		"100%.db":                                                      "",
		":memory:":                                                     "path of a SQLite file",
		"host=db user=notepay password=hunter2 dbname=notepay":         "postgres://",
		"password = 'hunter2' HOST = db":                               "", // the quotes are rejected first
		"postgres://notepay:hunter2/x@db/notepay":                      "special characters of the password",
		"postgres://notepay:12/hunter2@db/notepay":                     "special characters of the password",
		"postgres://notepay:12?hunter2@db/notepay":                     "special characters of the password",
		"postgres://notepay:12#hunter2@db/notepay":                     "special characters of the password",
		"postgres://notepay:hunter2%zz@db/notepay":                     "special characters of the password",
		"postgres://notepay:hunter2@db:none/notepay":                   "special characters of the password",
		"postgres://notepay:hunter2@db/notepay?sslmode=perhaps":        "option",
		"postgres://db/notepay?password=hunter2&sslrootcert=/no/where": "option",
	} {
		values := good()
		values["DATABASE_URL"] = database
		_, err := load(t, values)
		if strings.Contains(database, "'") {
			if err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: %v; want it refused without the password", database, err)
			}
			continue
		}
		_, backupErr := Database("no such file", func(name string) string { return values[name] })
		switch {
		case want == "" && (err != nil || backupErr != nil):
			t.Errorf("%s: %v, %v; want it accepted", database, err, backupErr)
		case want == "":
		case err == nil || !strings.Contains(err.Error(), "DATABASE_URL: ") ||
			!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%s: %v; want it refused with %q, without the password", database, err, want)
		case backupErr == nil || strings.Contains(backupErr.Error(), "hunter2"):
			t.Errorf("%s, for a backup: %v; want it refused without the password", database, backupErr)
		}
	}
}

func TestSettingsPrintNoPassword(t *testing.T) {
	t.Parallel()
	values := good()
	values["DATABASE_URL"] = "postgres://notepay:hunter2@127.0.0.1/notepay"
	s, err := load(t, values)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("settings", "all", s, "one", s.DatabaseURL)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("settings", "all", s, "one", s.DatabaseURL)
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	printed := []string{log.String(), string(raw)}
	// Without %p, which fmt does not pass to Format and vet rejects.
	for _, verb := range []string{
		"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%c", "%U", "%e", "%b", "%o", "%z",
	} {
		printed = append(
			printed,
			fmt.Sprintf(verb, s.DatabaseURL),
			fmt.Sprintf(verb, *s),
			fmt.Sprintf(verb, s),
			fmt.Sprintf(verb, &s.DatabaseURL),
		)
	}
	for _, text := range printed {
		if strings.Contains(text, "hunter2") || strings.Contains(text, fmt.Sprintf("%x", "hunter2")) ||
			strings.Contains(text, fmt.Sprintf("%X", "hunter2")) {
			t.Errorf("the password is printed: %s", text)
		}
	}
}
