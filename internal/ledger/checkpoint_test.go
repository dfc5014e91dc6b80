package ledger

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
)

// While a reader is open, SQLite cannot restart the log. After the reader has ended, the log
// shrinks.
func TestLogShrinksAfterALongRead(t *testing.T) {
	t.Parallel()
	path := freshSQLite(t)
	l := open(t, path)
	reader, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	reading, err := reader.Begin()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := reading.QueryRow(`SELECT count(*) FROM payments`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	store := func(name string) {
		p := testPayment(name)
		p.DeviceName = strings.Repeat("x", 1<<20)
		insert(t, l, p)
	}
	for n := range 24 {
		store(fmt.Sprint(n))
	}
	if size := l.LogSize(); size < 20<<20 {
		t.Fatalf("the log has %d bytes while a reader is open; want it to grow", size)
	}
	if err := reading.Rollback(); err != nil {
		t.Fatal(err)
	}
	for n := range 3 { // one update moves the log into the file, and the next restarts the log
		store(fmt.Sprint("after ", n))
	}
	if size := l.LogSize(); size > 17<<20 {
		t.Errorf("the log still has %d bytes after the reader has ended; want at most 16 MiB", size)
	}
}
