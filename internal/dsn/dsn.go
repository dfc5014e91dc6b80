// Package dsn knows what a DATABASE_URL may look like. It opens nothing, and it never quotes the
// value, which may hold a password.
package dsn

import (
	"errors"
	"net/url"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
)

var (
	// scheme begins a URL. One letter is a drive of Windows.
	scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]+:`)
	// keyword is part of a connection string of libpq, such as "host=db user=notepay".
	keyword = regexp.MustCompile(`(?i)\b(host|hostaddr|port|dbname|user|password)\s*=`)
)

// unexpanded begins with or holds what only a shell replaces.
var unexpanded = regexp.MustCompile(`^~|\$|^%[A-Za-z]+%?[/\\]`)

var (
	errUnexpanded = errors.New("is taken as it stands: ~, $HOME and the like are not replaced here; " +
		"write the whole path, such as /var/lib/notepay/notepay.db")
	errScheme = errors.New("has to be the path of a SQLite file, such as notepay.db, " +
		"or a URL that begins with postgres:// or postgresql://; write ./ before a file name with a colon")
	errPostgresURL = errors.New("is no valid postgres:// URL, such as postgres://user:password@host:5432/database; " +
		"write special characters of the password as %40 for @, %2F for /, %3F for ?, %23 for # and %25 for %")
	errPostgresOption = errors.New("is a postgres:// URL with an option that is not known or does not fit, " +
		"or that names a file which cannot be read")
)

// IsPostgres reports whether a DATABASE_URL means PostgreSQL and not a SQLite file.
func IsPostgres(database string) bool {
	return strings.HasPrefix(database, "postgres://") || strings.HasPrefix(database, "postgresql://")
}

// Check reports what is wrong with a DATABASE_URL, as the rest of a sentence that begins with the
// setting's name.
func Check(database string) error {
	if !IsPostgres(database) {
		if scheme.MatchString(database) || strings.Contains(database, "://") || strings.HasPrefix(database, "//") ||
			strings.HasPrefix(database, ":") || keyword.MatchString(database) {
			return errScheme
		}
		if unexpanded.MatchString(database) {
			return errUnexpanded
		}
		return nil
	}
	u, err := url.Parse(database)
	// A / ? or # in the password ends the host part too early, and what follows would be printed as
	// the database's name.
	if err != nil || u.Fragment != "" || strings.Contains(u.Path, "@") || strings.Contains(u.RawQuery, "@") {
		return errPostgresURL
	}
	if _, err := pgx.ParseConfig(database); err != nil { // its words may hold the password
		return errPostgresOption
	}
	return nil
}
