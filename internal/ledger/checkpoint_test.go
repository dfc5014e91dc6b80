package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"notepay/internal/payment"
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
	if err := keepLogTo(l, 1000); err != nil {
		t.Fatal(err)
	}
	for n := range 44 {
		store(fmt.Sprint(n))
	}
	if size := l.LogSize(); size < 40<<20 {
		t.Fatalf("the log has %d bytes while a reader is open; want it to grow", size)
	}
	if err := reading.Rollback(); err != nil {
		t.Fatal(err)
	}
	for n := range 3 { // one update moves the log into the file, and the next restarts the log
		store(fmt.Sprint("after ", n))
	}
	if size := l.LogSize(); size > 37<<20 {
		t.Errorf("the log still has %d bytes after the reader has ended; want at most 36 MiB", size)
	}
}

// keepLogTo lowers the length at which the log is restarted. An update runs in the writer's
// goroutine, which owns the limit.
func keepLogTo(l *Ledger, frames int64) error {
	return l.Update(context.Background(), func(*Tx) error {
		l.files.logFrames, l.writer.(*sharedWriter).maxFrames = frames, 0
		return nil
	})
}

// The log is moved beside the writer, and restarted before it is longer than its limit.
func TestLogIsKeptShort(t *testing.T) {
	t.Parallel()
	const frames, page = 400, 4096 + frameHeaderSize
	path := freshSQLite(t)
	l := open(t, path)
	if err := keepLogTo(l, frames); err != nil {
		t.Fatal(err)
	}
	p := testPayment("")
	p.DeviceName = strings.Repeat("x", 20_000)
	var stored []string
	for n := range 400 { // 2,000 pages and more
		p.SessionID, p.PaymentIntent, p.Token = fmt.Sprint("cs_", n), fmt.Sprint("pi_", n), fmt.Sprint("token_", n)
		p.ID = payment.CreditID(p.SessionID)
		insert(t, l, p)
		stored = append(stored, p.SessionID)
		// The commit that reaches the limit may exceed it.
		if size := l.LogSize(); size > (frames+20)*page {
			t.Fatalf("the log has %d bytes after %d payments; want at most %d", size, n, frames*page)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Size() < 1500*4096 {
		t.Errorf("the database has %v bytes, %v; want most of what was written", info, err)
	}
	closeLedger(t, l)
	l = open(t, path)
	wantStored(t, l, stored)
	wantNames(t, l, "SQLite's own check", `PRAGMA integrity_check`, []string{"ok"})
}

// While the log is moved, the writer does not let it grow beyond its limit.
func TestWriterWaitsForTheMove(t *testing.T) {
	t.Parallel()
	path := freshSQLite(t)
	synctest.Test(t, func(t *testing.T) {
		l := open(t, path)
		if err := keepLogTo(l, 100); err != nil {
			t.Fatal(err)
		}
		w := l.writer.(*sharedWriter)
		mustUpdate(t, l, func(*Tx) error {
			w.mover.underWay = true // and does not end
			return nil
		})
		stored := 0
		go func() {
			for ; stored < 60; stored++ {
				p := testPayment(fmt.Sprint(stored))
				p.DeviceName = strings.Repeat("x", 20_000)
				insert(t, l, p)
			}
		}()
		synctest.Wait()
		if stored == 0 || stored > 30 {
			t.Errorf("%d payments were stored beside a move that does not end; want some", stored)
		}
		w.mover.done <- struct{}{}
		synctest.Wait()
		if stored != 60 {
			t.Errorf("%d payments were stored after the move; want all", stored)
		}
	})
}
