// Package pgtest gives tests new databases on a PostgreSQL server, and lines to them that the test
// controls.
//
// NOTEPAY_TEST_POSTGRES names the server, which tests/postgres.sh starts. The package does not know the
// ledger, so that the ledger's own tests can use it.
package pgtest

import (
	"crypto/rand"
	"database/sql"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// Server returns the URL of the tests' server. Without one it skips the test.
func Server(t testing.TB) string {
	t.Helper()
	server := os.Getenv("NOTEPAY_TEST_POSTGRES")
	if server == "" {
		t.Skip("NOTEPAY_TEST_POSTGRES holds no postgres:// URL")
	}
	return server
}

// Database creates a database for one test, because ledgers lock the whole database. It returns its
// URL, and drops it when the test ends. Without a server it skips the test.
func Database(t testing.TB) string {
	t.Helper()
	server := Server(t)
	name := "notepay_test_" + strings.ToLower(rand.Text())
	Exec(t, server, "CREATE DATABASE "+name+" TEMPLATE template0")
	t.Cleanup(func() { Exec(t, server, "DROP DATABASE "+name+" WITH (FORCE)") })
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

// Exec executes a statement on a connection of its own.
func Exec(t testing.TB, database, statement string) {
	t.Helper()
	db, err := sql.Open("pgx", database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// Line puts a proxy in front of a database until the test ends, and returns the database's URL through
// it. It calls carry for each connection, which must return at once. A connection to a server that
// cannot be reached is closed.
func Line(t testing.TB, database string, carry func(client, server net.Conn)) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	server := u.Host
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	u.Host = listener.Addr().String()
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			backend, err := net.Dial("tcp", server)
			if err != nil {
				_ = client.Close()
				continue
			}
			t.Cleanup(func() { _, _ = client.Close(), backend.Close() })
			carry(client, backend)
		}
	}()
	return u.String()
}
