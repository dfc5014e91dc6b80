package ledger

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"notepay/internal/dsn"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A migration never runs twice on a ledger, so a changed file would reach only new ledgers. Each
// change of the schema gets its own file.
func TestMigrationsAreOnlyAdded(t *testing.T) {
	t.Parallel()
	pinned, err := os.ReadFile("testdata/migrations.sha256")
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]string{}
	for line := range strings.Lines(string(pinned)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		sums[name] = sum
	}
	names := migrationFiles(t)
	for _, name := range names {
		content, err := migrations.ReadFile("migrations/" + name)
		if err != nil {
			t.Fatal(err)
		}
		switch sum := fmt.Sprintf("%x", sha256.Sum256(content)); sums[name] {
		case sum:
		case "":
			t.Errorf("%s is new: add this line to testdata/migrations.sha256:\n%s  %s", name, sum, name)
		default:
			t.Errorf("%s was changed: ledgers that have seen it would stay as they are; add a new file instead", name)
		}
		delete(sums, name)
	}
	const schema = "schema"
	l := open(t, freshSQLite(t))
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(schemaOf(t, l.reads.DB))))
	if sums[schema] != sum {
		t.Errorf(
			"the schema of a new ledger has changed; its line in testdata/migrations.sha256 is now:\n%s  %s",
			sum, schema)
	}
	delete(sums, schema)
	if gone := slices.Collect(maps.Keys(sums)); len(gone) > 0 {
		t.Errorf("%q are gone: a ledger that has seen them would be refused as a newer one", gone)
	}
}

// Other instances sell while a migration runs, and none of them can record anything until it ends.
func TestMigrationsLeaveLargeTablesAlone(t *testing.T) {
	t.Parallel()
	const large = `(payments|attempts|stripe_events|confirmations|audit|sessions|encrypted_notes)\b`
	slow := regexp.MustCompile(`(?is)\b(INDEX\s+\w+\s+ON|UPDATE|DELETE\s+FROM|INTO\s+\w+[^;]*\bFROM)\s+` + large)
	for _, text := range []string{
		"CREATE INDEX payments_x ON payments (rev);",
		"create unique index x on attempts (at) where at > 5;",
		"UPDATE payments SET rev = 0;",
		"INSERT INTO other (id)\n\tSELECT id FROM stripe_events;",
	} {
		if !slow.MatchString(text) {
			t.Errorf("%q is not found", text)
		}
	}
	for _, m := range programMigrations(t) {
		if m.name <= needsMigration { // instances of other versions waited for the end of these
			continue
		}
		if found := slow.FindString(m.text); found != "" {
			t.Errorf("%s has %q: that takes as long as there are payments; see docs/adr/0021", m.name, found)
		}
	}
}

// schemaOf returns the statements of all tables and indexes of a SQLite database.
func schemaOf(t *testing.T, db *sql.DB) string {
	t.Helper()
	return strings.Join(
		names(t, db, `SELECT type || ' ' || name || ': ' || sql FROM sqlite_schema WHERE sql IS NOT NULL`),
		"\n",
	)
}

// oldLedger creates a ledger with the schema of commit 6cf4d03, when migrations were still changed
// in place.
func oldLedger(t *testing.T) (path string) {
	t.Helper()
	text, err := os.ReadFile("testdata/old_schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	path = freshSQLite(t)
	withSQL(t, path, string(text))
	withSQL(t, path, `INSERT INTO facts (name, value) VALUES ('born', 1763722696000)`)
	return path
}

func TestMigrationsOfAnOldLedger(t *testing.T) {
	t.Parallel()
	old, fresh := open(t, oldLedger(t)), open(t, freshSQLite(t))
	const indexes = `SELECT name || ' ' || coalesce(sql, '') FROM sqlite_schema WHERE type = 'index'`
	if got, want := names(t, old.reads.DB, indexes), names(t, fresh.reads.DB, indexes); !slices.Equal(got, want) {
		t.Errorf("indexes:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	const columns = `SELECT t.name || '.' || c.name || ' ' || c.type || ' ' || c."notnull" || ' ' ||
			coalesce(c.dflt_value, '') || ' ' || c.pk
		FROM sqlite_schema AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table'`
	if got, want := names(t, old.reads.DB, columns), names(t, fresh.reads.DB, columns); !slices.Equal(got, want) {
		t.Errorf("columns:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	insert(t, old, testPayment("one"))
	wantStored(t, old, []string{"cs_one"})
}

// A ledger of a newer version stays unchanged, because this version might misread it.
func testNewerSchema(t *testing.T, database string) {
	l := open(t, database)
	mustUpdate(t, l, func(tx *Tx) error {
		return second(tx.exec(`INSERT INTO migrations (name) VALUES ('998_soon.sql'), ('999_from_tomorrow.sql')`)).err
	})
	closeLedger(t, l)
	l, err := Open(context.Background(), database)
	if err == nil {
		closeLedger(t, l)
	}
	files := migrationFiles(t)
	last := strings.TrimSuffix(files[len(files)-1], ".sql")
	if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "999_from_tomorrow,") ||
		!strings.Contains(err.Error(), last+";") {
		t.Errorf("got %v; want ErrNewer, and both versions named", err)
	}
	if err := CheckWritable(t.Context(), database); !errors.Is(err, ErrNewer) {
		t.Errorf("the check says %v; want ErrNewer", err)
	}
}

func testMigrationsRunOnce(t *testing.T, database string) {
	for _, name := range []string{"a", "b"} {
		l := open(t, database)
		insert(t, l, testPayment(name))
		wantNames(t, l, "migrations that ran", `SELECT name FROM migrations`, migrationFiles(t))
		closeLedger(t, l)
	}
	wantNames(t, open(t, database), "payments", `SELECT session_id FROM payments`, []string{"cs_a", "cs_b"})
}

func migrationFiles(t *testing.T) (names []string) {
	t.Helper()
	for _, m := range programMigrations(t) {
		names = append(names, m.name)
	}
	return names
}

func programMigrations(t *testing.T) schema {
	t.Helper()
	s, err := programSchema()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testFailedMigration(t *testing.T, database string) {
	db, begin, dialect := unmigrated(t, database)
	// The last table of the first migration fails, so its earlier tables must be rolled back.
	spoilt := func(statement string) string {
		return dialect(strings.Replace(statement, "CREATE TABLE stripe_events", "CREATE NONSENSE stripe_events", 1))
	}
	known := programMigrations(t)
	err := migrator{schema: known, begin: begin, dialect: spoilt}.run(t.Context())
	if err == nil || !strings.Contains(err.Error(), migrationFiles(t)[0]) {
		t.Errorf("got error %v; want one that names the file", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	err = migrator{schema: known, begin: begin, dialect: dialect}.run(ended)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: got %v; want %v", err, context.Canceled)
	}
	tables := `SELECT name FROM sqlite_schema WHERE type = 'table'`
	if dsn.IsPostgres(database) { // the lease is no part of the migrations
		tables = `SELECT table_name FROM information_schema.tables
			WHERE table_schema = 'public' AND table_name NOT IN ('instances', 'leader')`
	}
	if got, want := names(t, db, tables), []string{"migrations"}; !slices.Equal(got, want) {
		t.Errorf("tables after the failures: %q; want %q", got, want)
	}
	if got := names(t, db, `SELECT name FROM migrations`); len(got) != 0 {
		t.Errorf("migrations that are said to have run: %q; want none", got)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	insert(t, open(t, database), testPayment("afterwards"))
}

// unmigrated connects to a database as Open does, without migrating it.
func unmigrated(
	t *testing.T,
	database string,
) (db *sql.DB, begin func(func(*Tx) error) error, dialect func(string) string) {
	t.Helper()
	if dsn.IsPostgres(database) {
		db, err := sql.Open("pgx", database)
		if err != nil {
			t.Fatal(err)
		}
		return db, func(fn func(*Tx) error) error {
			server, err := parsePostgres(database)
			if err != nil {
				return err
			}
			lease, err := join(context.Background(), server, Identity{}, nil)
			if err != nil {
				return err
			}
			defer lease.release()
			w := newPostgresWriter(server, lease, nil)
			defer w.disconnect()
			return w.migrate(context.Background(), fn)
		}, toPostgres
	}
	db, err := sql.Open("sqlite", database)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := &sharedWriter{tx: Tx{db: newPreparedConn(conn, nil)}}
	return db, w.alone, func(s string) string { return s }
}

func TestUnknownMigrationsAreRefused(t *testing.T) {
	t.Parallel()
	known := schema{{name: "010_known.sql"}, {name: "020_known.sql"}}
	for name, c := range map[string]struct {
		seen  migration
		newer bool
	}{
		"a later one":                     {migration{name: "021_unknown.sql"}, true},
		"a later one that needs this":     {migration{name: "021_unknown.sql", needs: "020"}, false},
		"a later one that needs itself":   {migration{name: "022_unknown.sql", needs: "021"}, true},
		"one with a lower number":         {migration{name: "015_unknown.sql"}, true},
		"one with a lower number, opened": {migration{name: "015_unknown.sql", needs: "010"}, false},
	} {
		if err := known.admits([]migration{{name: "010_known.sql"}, c.seen}); errors.Is(err, ErrNewer) != c.newer {
			t.Errorf("%s: %v; want that it is refused: %v", name, err, c.newer)
		}
	}
}
