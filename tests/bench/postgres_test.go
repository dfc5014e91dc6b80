//go:build linux

package bench

import (
	"crypto/rand"
	"database/sql"
	"net/url"
	"os"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver
)

// postgresServer returns the URL of the server in NOTEPAY_TEST_POSTGRES, or "".
func postgresServer() string { return os.Getenv("NOTEPAY_TEST_POSTGRES") }

// database is a database of its own on that server.
type database struct {
	*sql.DB
	*testing.T
	url string
}

// newDatabase makes a database, which goes with the test. The server must wait for its disk, as
// SQLite does in the same run.
func newDatabase(t *testing.T) *database {
	t.Helper()
	server := connected(t, postgresServer())
	var syncs string
	if err := server.QueryRow(`SHOW fsync`).Scan(&syncs); err != nil || syncs != "on" {
		t.Fatalf("the server has fsync=%s, %v; want on (POSTGRES_FSYNC=on tests/postgres.sh)", syncs, err)
	}
	name := "notepay_bench_" + strings.ToLower(rand.Text())
	if _, err := server.Exec(`CREATE DATABASE ` + name + ` TEMPLATE template0`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := server.Exec(`DROP DATABASE ` + name + ` WITH (FORCE)`); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(postgresServer())
	if err != nil {
		t.Fatal(err)
	}
	u.Path = name
	return &database{connected(t, u.String()), t, u.String()}
}

// connected opens a pool of connections that closes with the test.
func connected(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// number reads a number.
func (d *database) number(query string) (n float64) {
	d.Helper()
	if err := d.QueryRow(query).Scan(&n); err != nil {
		d.Fatalf("%s: %v", query, err)
	}
	return n
}

// rollbacks returns how many transactions the server has rolled back in this database. Its figures
// are up to a second late.
func (d *database) rollbacks() float64 {
	return d.number(`SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()`)
}
