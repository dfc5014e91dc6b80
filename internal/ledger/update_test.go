package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"notepay/internal/dsn"
)

func testUpdate(t *testing.T, database string) {
	l := open(t, database)
	errOwn := errors.New("changed my mind")
	err := l.Update(t.Context(), func(tx *Tx) error {
		if err := tx.SetMeta("half", tx.Now); err != nil {
			return err
		}
		if at, err := tx.Meta("half"); err != nil || at.UnixMilli() != tx.Now.UnixMilli() {
			t.Errorf("inside its transaction the change reads %v, %v; want %v", at, err, tx.Now)
		}
		return errOwn
	})
	if err != errOwn {
		t.Errorf("got error %v; want the function's own, %v", err, errOwn)
	}
	wantNoFact(t, l, "half")

	// A rejected statement rolls back the whole update, too.
	err = l.Update(t.Context(), func(tx *Tx) error {
		return errors.Join(tx.SetMeta("half", tx.Now), tx.SaveDevice(Device{UID: "imei:1"}))
	})
	if constraint(err) != "check" {
		t.Errorf("got error %v; want a refusal", err)
	}
	wantNoFact(t, l, "half")
	mustUpdate(t, l, func(tx *Tx) error { return tx.SetMeta("whole", tx.Now) })
}

func wantNoFact(t *testing.T, l *Ledger, name string) {
	t.Helper()
	if at, err := l.Meta(t.Context(), name); !errors.Is(err, ErrNotFound) {
		t.Errorf("fact %s reads %v, %v; want none", name, at, err)
	}
}

func testPanic(t *testing.T, database string) {
	l := open(t, database)
	err := l.Update(t.Context(), func(tx *Tx) error {
		if err := tx.SetMeta("half", tx.Now); err != nil {
			return err
		}
		panic("out of range")
	})
	if err == nil || !strings.Contains(err.Error(), "out of range") {
		t.Errorf("got error %v; want the panic's words", err)
	}
	wantNoFact(t, l, "half")
	mustUpdate(t, l, func(tx *Tx) error { return tx.SetMeta("afterwards", tx.Now) })
}

func testContext(t *testing.T, database string) {
	l := open(t, database)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 { // repeated, because a random choice would fail only sometimes
		ran := false
		err := l.Update(over, func(*Tx) error {
			ran = true
			return nil
		})
		if ran || err != context.Canceled {
			t.Fatalf("with a context that has ended: ran %v, error %v; want not run, %v", ran, err, context.Canceled)
		}
	}

	during, cancel := context.WithCancel(t.Context())
	err := l.Update(during, func(tx *Tx) error {
		cancel()
		return tx.SetMeta("finished", tx.Now)
	})
	if err != nil {
		t.Errorf("with a context that ends during the transaction: got error %v; want nil", err)
	}
	if _, err := l.Meta(t.Context(), "finished"); err != nil {
		t.Errorf("its change: %v", err)
	}
}

func testUpdatesAtOnce(t *testing.T, database string) {
	l := open(t, database)
	const writers = 64
	shared := testPayment("shared")
	insert(t, l, shared)
	var all sync.WaitGroup
	for n := range writers {
		all.Go(func() {
			err := l.Update(t.Context(), func(tx *Tx) error {
				p, err := tx.Payment(shared.ID)
				if err != nil {
					return err
				}
				p.FencingToken++
				_, err = tx.InsertPayment(testPayment(fmt.Sprint("own_", n)))
				return errors.Join(err, tx.SavePayment(p))
			})
			if err != nil {
				t.Errorf("writer %d: %v", n, err)
			}
		})
	}
	all.Wait()
	if p, err := l.Payment(t.Context(), shared.ID); err != nil || p.FencingToken != writers {
		t.Errorf("the row that all have counted up reads %d, %v; want %d", p.FencingToken, err, writers)
	}
	if list, _, err := l.Payments(t.Context(), Filter{Limit: 2 * writers}); err != nil || len(list) != writers+1 {
		t.Errorf("got %d payments, %v; want %d", len(list), err, writers+1)
	}
}

func testCloseUnderLoad(t *testing.T, database string) {
	l := open(t, database)
	const writers, atLeast = 16, 100
	var mu sync.Mutex
	var acknowledged []string
	enough := make(chan struct{})
	acknowledge := func(session string) {
		mu.Lock()
		defer mu.Unlock()
		acknowledged = append(acknowledged, session)
		if len(acknowledged) == atLeast {
			close(enough)
		}
	}
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for n := 0; ; n++ {
				p := testPayment(fmt.Sprintf("%d_%d", w, n))
				err := l.Update(t.Context(), func(tx *Tx) error {
					_, err := tx.InsertPayment(p)
					return err
				})
				if err != nil {
					if !errors.Is(err, ErrClosed) {
						t.Errorf("update: got %v; want nil or %v", err, ErrClosed)
					}
					return
				}
				acknowledge(p.SessionID)
			}
		})
	}
	<-enough
	closeLedger(t, l)
	all.Wait()
	if err := l.Update(t.Context(), func(*Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: got %v; want %v", err, ErrClosed)
	}
	wantStored(t, open(t, database), acknowledged)
}

// wantStored checks that each of these sessions has a payment.
func wantStored(t *testing.T, l *Ledger, sessions []string) {
	t.Helper()
	stored := names(t, l.reads.DB, `SELECT session_id FROM payments`)
	for _, session := range sessions {
		if _, ok := slices.BinarySearch(stored, session); !ok {
			t.Errorf("%s was acknowledged and is not stored", session)
		}
	}
}

func testCloseWaits(t *testing.T, database string) {
	l := open(t, database)
	begun, finish := make(chan struct{}), make(chan struct{})
	result := make(chan error, 1)
	go func() {
		result <- l.Update(t.Context(), func(tx *Tx) error {
			close(begun)
			<-finish
			return tx.SetMeta("under_way", tx.Now)
		})
	}()
	<-begun
	go close(finish)
	closeLedger(t, l)
	if err := <-result; err != nil {
		t.Errorf("the update that was under way: %v", err)
	}
	if _, err := open(t, database).Meta(t.Context(), "under_way"); err != nil {
		t.Errorf("its change: %v", err)
	}
}

func testLock(t *testing.T, database string) {
	l := open(t, database)
	if second, err := Open(t.Context(), database); !errors.Is(err, ErrLocked) {
		if err == nil {
			_ = second.Close()
		}
		t.Errorf("the second Open: got %v; want %v", err, ErrLocked)
	}
	mustUpdate(t, l, func(tx *Tx) error { return tx.SetMeta("still_works", tx.Now) })
	closeLedger(t, l)
	open(t, database)
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
	files, err := migrations.ReadDir("migrations")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		names = append(names, file.Name())
	}
	return names
}

// wantNames compares the values of one column, sorted.
func wantNames(t *testing.T, l *Ledger, what, query string, want []string) {
	t.Helper()
	if got := names(t, l.reads.DB, query); !slices.Equal(got, want) {
		t.Errorf("%s: got %q; want %q", what, got, want)
	}
}

// names reads one column, sorted.
func names(t *testing.T, db *sql.DB, query string) []string {
	t.Helper()
	rows, err := db.Query(query)
	list, err := all(rows, err, func(s scanner) (name string, err error) {
		err = s.Scan(&name)
		return name, err
	})
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	slices.Sort(list)
	return list
}

func testFailedMigration(t *testing.T, database string) {
	db, begin, dialect := unmigrated(t, database)
	// The last table of the first migration fails, so its earlier tables must be rolled back.
	spoilt := func(statement string) string {
		return dialect(strings.Replace(statement, "CREATE TABLE stripe_events", "CREATE NONSENSE stripe_events", 1))
	}
	err := migrate(t.Context(), begin, spoilt)
	if err == nil || !strings.Contains(err.Error(), migrationFiles(t)[0]) {
		t.Errorf("got error %v; want one that names the file", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := migrate(ended, begin, dialect); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: got %v; want %v", err, context.Canceled)
	}
	tables := `SELECT name FROM sqlite_schema WHERE type = 'table'`
	if dsn.IsPostgres(database) {
		tables = `SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'`
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
		w := &postgresWriter{db: db, lock: &postgresLock{}}
		return db, func(fn func(*Tx) error) error { return w.update(context.Background(), fn) }, toPostgres
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
