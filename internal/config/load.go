package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

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
		if v, quoted := unquote(strings.TrimSpace(getenv(name))); v != "" {
			values[name] = v
			if !quoted && hasComment(name, v) {
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
				name+": holds a quotation mark; write the value without quotes",
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
