// Package dsn validates a DATABASE_URL: the path of a SQLite file, or a postgres:// URL. It opens
// nothing, and its errors never quote the value, which may hold a password.
package dsn

import (
	"errors"
	"net/url"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
)

var (
	// scheme matches the start of a URL. A single letter is a Windows drive.
	scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]+:`)
	// keyword matches a part of a libpq connection string, such as "host=db user=notepay".
	keyword = regexp.MustCompile(`(?i)\b(host|hostaddr|port|dbname|user|password)\s*=`)
)

// unexpanded matches a path with ~, $HOME or %APPDATA%, which only a shell expands.
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

// Unexpanded reports whether a path holds ~, $HOME or the like, which only a shell replaces.
func Unexpanded(path string) bool { return unexpanded.MatchString(path) }

// IsRemote reports whether a path looks like a URL or the name of another host, such as s3://bucket
// or host:/backup.
func IsRemote(path string) bool { return scheme.MatchString(path) || strings.HasPrefix(path, "//") }

// Check returns what is wrong with a DATABASE_URL, or nil. The caller puts the setting's name in
// front of the error text.
func Check(database string) error {
	if !IsPostgres(database) {
		if scheme.MatchString(database) || strings.Contains(database, "://") || strings.HasPrefix(database, "//") ||
			strings.HasPrefix(database, ":") || keyword.MatchString(database) {
			return errScheme
		}
		if Unexpanded(database) {
			return errUnexpanded
		}
		return nil
	}
	u, err := url.Parse(database)
	// A "/", "?" or "#" in the password ends the host part too early. pgx would print the rest as
	// the name of the database.
	if err != nil || u.Fragment != "" || strings.Contains(u.Path, "@") || strings.Contains(u.RawQuery, "@") {
		return errPostgresURL
	}
	if _, err := pgx.ParseConfig(database); err != nil { // pgx's error may contain the password
		return errPostgresOption
	}
	return nil
}
