//go:build linux

package bench

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"notepay/internal/apptest"
)

// maxStart is how long notepay may take from its start to the first redirect.
const maxStart = time.Second

// TestYears starts the binary on a SQLite ledger with as many payments as NOTEPAY_YEARS says, of
// 10,000 devices, and scans a device at once. Both vendors answer. The ledger of ten million payments
// needs 10 GB and some minutes.
func TestYears(t *testing.T) {
	wanted, err := strconv.Atoi(os.Getenv("NOTEPAY_YEARS"))
	if err != nil {
		t.Skip("NOTEPAY_YEARS is no number of payments: make years runs this")
	}
	const devices, starts = 10_000, 5
	w := apptest.NewWorld(t).Set("LOG_LEVEL", "info")
	database := filepath.Join(t.TempDir(), "years.db")
	began := time.Now()
	growLedger(w, database, 0, devices)
	multiply(t, database, wanted)
	info, err := os.Stat(database)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d payments of %d devices in %d MB, generated in %s", wanted, devices, info.Size()/1e6,
		time.Since(began).Round(time.Second))
	path := binary(t)
	start := func(cold bool) time.Duration {
		if cold {
			syscall.Sync()
			if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("1"), 0o600); err != nil {
				t.Skipf("the system's cache cannot be emptied: %v", err)
			}
		}
		p := launchOn(w, path, database)
		took := p.firstRedirect("/pay?device=dev:7777")
		now, peak := p.memory()
		p.terminate()
		t.Logf("cold %v: first redirect after %s, %.0f MB resident, at most %.0f", cold, short(took), now, peak)
		return took
	}
	for _, cold := range []bool{false, true} {
		t.Run(fmt.Sprintf("cold %v", cold), func(t *testing.T) {
			var took []time.Duration
			for range starts {
				took = append(took, start(cold))
			}
			if half := median(took); half > maxStart {
				t.Errorf("the first redirect took %s; want at most %s", short(half), maxStart)
			}
		})
	}
}

// multiply copies the payments of a ledger, and their attempts, until there are as many as wanted. The
// copies are older than the originals and need no attention. Their events are removed as by KEEP_EVENTS.
func multiply(t *testing.T, database string, wanted int) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	do := func(text string, args ...any) {
		if _, err := db.Exec(text, args...); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	// A failed run is thrown away, so nothing is synced. The log stays as notepay wants it.
	do(`PRAGMA synchronous = OFF`)
	do(`PRAGMA cache_size = -2000000`)
	var originals int
	if err := db.QueryRow(`SELECT count(*) FROM payments`).Scan(&originals); err != nil {
		t.Fatal(err)
	}
	rows, err := db.Query(`SELECT name FROM pragma_table_info('payments') WHERE name <> 'n'`)
	if err != nil {
		t.Fatal(err)
	}
	changed := map[string]string{
		"id":             `'cr_' || lower(hex(randomblob(8)))`,
		"session_id":     `'cs_test_' || lower(hex(randomblob(32)))`,
		"payment_intent": `'pi_' || lower(hex(randomblob(12)))`,
		"token":          `lower(hex(randomblob(26)))`,
		"attention":      `''`,
	}
	for _, name := range []string{"paid_at", "created_at", "sent_at", "expires_at"} {
		changed[name] = name + ` - $1`
	}
	names, values := "", ""
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		value, found := changed[name]
		if !found {
			value = name
		}
		names, values = names+", "+name, values+", "+value
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for made := originals; made < wanted; {
		age := time.Duration(made/originals) * time.Duration(originals) * betweenPayments / 10
		do(`BEGIN`)
		do(`INSERT INTO payments (`+names[2:]+`) SELECT `+values[2:]+` FROM payments WHERE n <= $2 LIMIT $3`,
			age.Milliseconds(), originals, wanted-made)
		do(`INSERT INTO attempts SELECT n, 1, sent_at, 'note', 'ok', 200, '', 12 FROM payments WHERE n > $1`, made)
		do(`COMMIT`)
		made += min(originals, wanted-made)
	}
	do(`PRAGMA wal_checkpoint(TRUNCATE)`)
}
