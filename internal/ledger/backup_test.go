package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestBackupOfALedgerInUse(t *testing.T) {
	t.Parallel()
	path, copied := freshSQLite(t), filepath.Join(t.TempDir(), "copy.db")
	l := open(t, path)
	insert(t, l, testPayment("before"))
	ctx, stop := context.WithCancel(t.Context())
	var writes sync.WaitGroup
	begun := make(chan struct{})
	writes.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			p := testPayment(fmt.Sprintf("during_%d", n))
			if err := l.Update(context.Background(), func(tx *Tx) error {
				_, err := tx.InsertPayment(p)
				return errors.Join(err, tx.AddAttempt(p.ID, posted()))
			}); err != nil {
				t.Error(err)
				return
			}
			if n == 10 {
				close(begun)
			}
		}
	})
	<-begun
	if err := Backup(t.Context(), path, copied); err != nil {
		t.Fatal(err)
	}
	stop()
	writes.Wait()
	insert(t, l, testPayment("after"))

	c := open(t, copied)
	list, _, err := c.Payments(t.Context(), Filter{Limit: 100000})
	if err != nil || len(list) < 11 {
		t.Errorf("%d payments in the copy (%v); want those that were there", len(list), err)
	}
	for _, p := range list {
		if attempts, err := c.Attempts(t.Context(), p.ID); p.SessionID != "cs_before" &&
			(err != nil || len(attempts) != 1) {
			t.Errorf("%s has %d attempts (%v); want what was committed together", p.SessionID, len(attempts), err)
		}
	}
	if _, err := c.Payment(t.Context(), "cs_before"); err != nil {
		t.Errorf("what was there before the copy: %v", err)
	}
	if _, err := c.Payment(t.Context(), "cs_after"); !errors.Is(err, ErrNotFound) {
		t.Errorf("what came after the copy: %v; want it not in there", err)
	}
	if read := inTx(c, (*Tx).RestoredPayments); read.err != nil ||
		len(read.got) != len(list) {
		t.Errorf("%d payments to be judged (%v); want all %d", len(read.got), read.err, len(list))
	}
	// The original ledger is not changed.
	closeLedger(t, l)
	l = open(t, path)
	if read := inTx(l, (*Tx).RestoredPayments); read.err != nil ||
		len(read.got) != 0 {
		t.Errorf("the ledger itself has %d to be judged (%v); want none", len(read.got), read.err)
	}
}

func TestBackupFailures(t *testing.T) {
	t.Parallel()
	whole := freshSQLite(t)
	l := open(t, whole)
	for n := range 200 {
		insert(t, l, testPayment(fmt.Sprint(n)))
	}
	closeLedger(t, l)
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	content, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	letter := "Dear customer, " + strings.Repeat("thank you. ", 100)
	damaged := append([]byte(nil), content...)
	for n := len(damaged) / 4; n < len(damaged)*3/4; n++ {
		damaged[n] ^= 0x5a
	}
	for name, c := range map[string]struct{ database, file, words string }{
		"of a damaged ledger":       {write("damaged.db", damaged), "to_1.db", "ledger"},
		"of another file":           {write("letter.txt", []byte(letter)), "to_2.db", "copy the ledger"},
		"of none":                   {filepath.Join(dir, "none.db"), "to_3.db", "no ledger"},
		"to a file that is there":   {whole, filepath.Base(write("there.db", []byte("precious"))), "there already"},
		"to a directory that isn't": {whole, "nowhere/to.db", "copy the ledger"},
		"of a PostgreSQL database":  {"postgres://notepay:hunter2@127.0.0.1:1/notepay", "to_4.db", "pg_dump"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(dir, c.file)
			before, _ := os.ReadFile(file)
			err := Backup(t.Context(), c.database, file)
			if err == nil || !strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v; want an error of %q", err, c.words)
			}
			after, _ := os.ReadFile(file)
			if string(before) != string(after) {
				t.Errorf("the file was changed")
			}
			if _, err := os.Stat(file + ".partial"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("something is left: %v", err)
			}
			if _, err := os.Stat(filepath.Join(dir, "none.db")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a ledger was made where none was: %v", err)
			}
		})
	}
	err = Backup(t.Context(), "postgres://127.0.0.1/notepay", filepath.Join(dir, "x.db"))
	if !errors.Is(err, ErrPostgres) {
		t.Errorf("got %v; want %v", err, ErrPostgres)
	}
}

func TestBackupReplacesAnEarlierPartialCopy(t *testing.T) {
	t.Parallel()
	path, copied := freshSQLite(t), filepath.Join(t.TempDir(), "copy.db")
	insert(t, open(t, path), testPayment("one"))
	if err := os.WriteFile(copied+".partial", []byte("half a copy"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Backup(t.Context(), path, copied); err != nil {
		t.Fatal(err)
	}
	wantStored(t, open(t, copied), []string{"cs_one"})
}

// SQLite copies damage in the contents of rows without an error.
func TestBackupRejectsDamagedRows(t *testing.T) {
	t.Parallel()
	path := freshSQLite(t)
	l := open(t, path)
	insert(t, l, testPayment("one"))
	mustUpdate(t, l, func(tx *Tx) error {
		return tx.AddAttempt(testPayment("one").ID, posted())
	})
	closeLedger(t, l)
	// An attempt without a detail, which violates the schema.
	const schema = `PRAGMA writable_schema = ON;
		UPDATE sqlite_schema SET sql = replace(sql, %s) WHERE name = 'attempts';
		PRAGMA writable_schema = RESET`
	withSQL(t, path, fmt.Sprintf(schema, `'detail     TEXT NOT NULL', 'detail     TEXT'`))
	withSQL(t, path, `UPDATE attempts SET detail = NULL`)
	withSQL(t, path, fmt.Sprintf(schema, `'detail     TEXT,', 'detail     TEXT NOT NULL,'`))

	file := filepath.Join(t.TempDir(), "copy.db")
	if err := Backup(t.Context(), path, file); err == nil || !strings.Contains(err.Error(), "attempts.detail") {
		t.Errorf("got %v; want what is damaged", err)
	}
	if got := filesIn(t, filepath.Dir(file)); len(got) != 0 {
		t.Errorf("left behind: %q", got)
	}
	if _, err := Restore(t.Context(), file, path); err == nil || !strings.Contains(err.Error(), "attempts.detail") {
		t.Errorf("restore: got %v; want what is damaged", err)
	}
}

// A stamped backup gets a new birth, and its open payments are returned until they are quarantined.
func testRestored(t *testing.T, database string) {
	l := open(t, database)
	due := testPayment("due")
	insert(t, l, due, idle(testPayment("closed")))
	restored := func(want ...string) {
		t.Helper()
		wantSessions(t, "restored", inTx(l, (*Tx).RestoredPayments), want...)
	}
	restored() // not a backup
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(tx.SetMeta("born", noon2020(0)), tx.SetMeta(metaBackup, noon2020(1)))
	})
	closeLedger(t, l)

	for n := range 2 { // two starts without SetQuarantined
		l = open(t, database)
		if time.Since(l.CreatedAt()).Abs() > time.Hour {
			t.Errorf("born %v; want now", l.CreatedAt())
		}
		own := testPayment(fmt.Sprintf("own%d", n)) // paid before the others are quarantined
		own.PaidAt, own.CreatedAt = l.Now(), l.Now()
		missed := testPayment(fmt.Sprintf("missed%d", n)) // paid before, and recorded only now
		missed.CreatedAt = l.Now()
		insert(t, l, own, missed)
		restored("due")
		if at, err := l.Meta(t.Context(), MetaEventsRead); err != nil || !at.Equal(noon2020(0)) {
			t.Errorf("events are read from %v, %v; want from the birth of the ledger that never read any", at, err)
		}
		if _, err := l.Meta(t.Context(), metaBackup); !errors.Is(err, ErrNotFound) {
			t.Errorf("the stamp: %v; want it removed", err)
		}
		closeLedger(t, l)
	}
	l = open(t, database)
	mustUpdate(t, l, func(tx *Tx) error { return tx.SetQuarantined() })
	restored()
	closeLedger(t, l)
	l = open(t, database)
	restored()
}
