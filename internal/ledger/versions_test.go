package ledger

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"notepay/internal/ledger/pgtest"
	"notepay/internal/vendortime"
)

// Three programs: one of today, the next one, which only adds to the schema, and the one after that,
// whose schema today's program cannot use.
func programs(t *testing.T) (today, next, last schema) {
	t.Helper()
	today = programMigrations(t)
	number, _, _ := strings.Cut(today.level(), "_")
	next = append(slices.Clone(today), migration{
		name:  "900_expand.sql",
		needs: number,
		text:  `ALTER TABLE devices ADD COLUMN later TEXT NOT NULL DEFAULT '';`,
	})
	last = append(slices.Clone(next), migration{
		name:  "901_contract.sql",
		needs: "900",
		text:  `ALTER TABLE devices DROP COLUMN spelled;`,
	})
	return today, next, last
}

// openedBy opens a ledger by another program, and closes it at the end of the test.
func openedBy(t *testing.T, s schema, database string) (*Ledger, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	l, err := Opening{schema: s}.Open(ctx, database)
	if err == nil {
		t.Cleanup(func() { _ = l.Close() })
	}
	return l, err
}

// A program works on a newer schema if that schema needs no newer program.
func testProgramsOfOtherLevels(t *testing.T, database string) {
	today, next, last := programs(t)
	steps := []struct {
		name    string
		program schema
		words   string // of the refusal
	}{
		{"today's", today, ""},
		{"the next, which adds", next, ""},
		{"today's, after the next", today, ""},
		{"the last, which removes", last, ""},
		{"the next, after the last", next, ""},
		{"today's, which cannot use that", today, "901_contract, which needs a notepay with schema 900 or a later one"},
	}
	for _, s := range steps {
		l, err := Opening{schema: s.program}.Open(t.Context(), database)
		if err == nil {
			mustUpdate(t, l, func(tx *Tx) error { return tx.SetMeta("x", tx.Now) })
			closeLedger(t, l)
		}
		switch {
		case s.words == "" && err != nil:
			t.Errorf("%s: %v", s.name, err)
		case s.words != "" && (!errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), s.words) ||
			!strings.Contains(err.Error(), today.level())):
			t.Errorf("%s: %v; want it refused with %q, and both versions", s.name, err, s.words)
		}
	}
	if err := CheckWritable(t.Context(), database); !errors.Is(err, ErrNewer) {
		t.Errorf("CheckWritable: %v; want %v", err, ErrNewer)
	}
}

// Instances go on while a program that adds to the schema starts beside them. They may even restart.
func TestInstancesExpand(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	today, next, _ := programs(t)
	old, err := openedBy(t, today, database)
	if err != nil {
		t.Fatal(err)
	}
	newer, err := openedBy(t, next, database)
	if err != nil {
		t.Fatal(err)
	}
	if newer.instance.alone {
		t.Error("the newer instance believes that it is alone")
	}
	another, err := openedBy(t, today, database)
	if err != nil {
		t.Fatalf("an old instance does not start beside the newer one: %v", err)
	}
	for n, l := range []*Ledger{old, newer, another} {
		mustUpdate(t, l, func(tx *Tx) error {
			return tx.SaveDevice(Device{UID: "dev:" + string(rune('a'+n))})
		})
		select {
		case <-l.Lost():
			t.Errorf("instance %d was shut out", n)
		default:
		}
	}
}

// A program whose schema older ones cannot use waits for them, and says for whom.
func TestInstancesContract(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	today, next, last := programs(t)
	old, err := openedBy(t, today, database)
	if err != nil {
		t.Fatal(err)
	}
	middle, err := openedBy(t, next, database)
	if err != nil {
		t.Fatal(err)
	}
	reasons, opened := make(chan string, 100), make(chan error, 1)
	go func() {
		l, err := Opening{schema: last, Clock: vendortime.New(nil), Waiting: func(why string) { reasons <- why }}.
			Open(t.Context(), database)
		if err == nil {
			t.Cleanup(func() { _ = l.Close() })
		}
		opened <- err
	}()
	reason := ""
	select {
	case reason = <-reasons:
	case err := <-opened:
		t.Fatalf("it starts beside an instance that cannot use its schema: %v", err)
	}
	for _, want := range []string{"901_contract", "900", today.level(), old.instance.id[:8]} {
		if !strings.Contains(reason, want) {
			t.Errorf("it waits because %q; want %s named", reason, want)
		}
	}
	mustUpdate(t, old, func(tx *Tx) error { return tx.SaveDevice(Device{UID: "dev:1"}) })
	old.instance.weak.Store(true) // it leaves the lead to an instance that can do the work
	for holder := old.instance.id; holder != middle.instance.id; time.Sleep(50 * time.Millisecond) {
		if err := old.reads.QueryRow(`SELECT holder FROM leader`).Scan(&holder); err != nil {
			t.Fatal(err)
		}
		if holder != old.instance.id && holder != middle.instance.id {
			t.Fatal("an instance leads that still waits to migrate")
		}
	}
	closeLedger(t, old)
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	if _, err := openedBy(t, today, database); !errors.Is(err, ErrNewer) {
		t.Errorf("today's program: %v; want %v", err, ErrNewer)
	}
}

// An instance that stood still while the schema changed under it writes nothing any more.
func TestInstanceThatSleptThroughAMigration(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	today, next, last := programs(t)
	slept, err := openedBy(t, today, database)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openedBy(t, next, database); err != nil { // so that the last is not alone
		t.Fatal(err)
	}
	slept.instance.stop()
	slept.instance.ended.Wait()
	if _, err := openedBy(t, last, database); err != nil {
		t.Fatal(err)
	}
	err = slept.Update(t.Context(), func(tx *Tx) error { return tx.SetMeta("late", tx.Now) })
	if !errors.Is(err, errLeaseLost) {
		t.Errorf("it writes with %v; want %v", err, errLeaseLost)
	}
}

// A migration that waits for a lock lets others go first, instead of holding them up for as long as
// a long read takes.
func TestInstancesMigrationWaitsForALock(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	today, next, _ := programs(t)
	old, err := openedBy(t, today, database)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := postgresDB(t, database).Begin() // pg_dump, for example
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Exec(`SELECT uid FROM devices`); err != nil {
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	go func() { opened <- errOnly(openedBy(t, next, database)) }()
	done := make(chan error, 1)
	go func() { // it has to get through between two tries
		for end := time.Now().Add(4 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			err := old.Update(context.Background(), func(tx *Tx) error { return tx.SaveDevice(Device{UID: "dev:1"}) })
			if err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	if err := <-done; err != nil {
		t.Errorf("an update meanwhile: %v", err)
	}
	select {
	case err := <-opened:
		t.Fatalf("the migration did not wait for the reader: %v", err)
	default:
	}
	if err := reader.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Error(err)
	}
}
