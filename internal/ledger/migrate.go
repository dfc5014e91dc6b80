package ledger

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

//go:embed migrations/*.sql
var migrations embed.FS

// needsMigration adds the column in which each later migration says which programs may run on it.
const needsMigration = "056_needs.sql"

const (
	// migrationLockTimeout bounds how long a migration waits for a lock, because everything that needs
	// a lock on the same table waits behind it.
	migrationLockTimeout = "2s"
	// maxLockTries is how often a migration tries to get its locks.
	maxLockTries = 20
	// migrationPause is how long a migration waits before it tries again.
	migrationPause = 500 * time.Millisecond
)

// schema holds the migrations that a program knows, in their order.
type schema []migration

type migration struct {
	name string // of its file
	// needs is the number of the oldest schema whose program may run on a ledger that has seen this
	// migration. "" is the migration's own.
	needs string
	text  string
}

// programSchema returns the migrations of this program. Each is a file. If the first line of the
// file is "-- needs: 050", programs that know the schema 050 may run on a ledger that has seen it.
func programSchema() (schema, error) {
	files, err := migrations.ReadDir("migrations")
	if err != nil {
		return nil, err
	}
	var s schema
	for _, file := range files {
		text, err := migrations.ReadFile("migrations/" + file.Name())
		if err != nil {
			return nil, err
		}
		first, _, _ := strings.Cut(string(text), "\n")
		needs, _ := strings.CutPrefix(first, "-- needs: ")
		if needs == first {
			needs = ""
		}
		s = append(s, migration{name: file.Name(), needs: needs, text: string(text)})
	}
	return s, nil
}

// level returns the name of the newest schema that the program knows.
func (s schema) level() string {
	if len(s) == 0 {
		return ""
	}
	return schemaName(s[len(s)-1].name)
}

// schemaName returns the name of a schema as operators see it.
func schemaName(migration string) string { return strings.TrimSuffix(migration, ".sql") }

// minLevel returns the level that a program needs to run on a ledger that has seen the migration.
func (m migration) minLevel() string {
	if m.needs != "" {
		return m.needs
	}
	return schemaName(m.name)
}

// admits returns nil if this program may work on a ledger that has seen these migrations. It returns
// ErrNewer if one of them is unknown and needs a newer program, because this program might misread
// the data. It returns another error if the ledger was moved, or is the unfinished target of a move.
func (s schema) admits(seen []migration) error {
	newest, needs := "", ""
	for _, m := range seen {
		if slices.ContainsFunc(s, func(known migration) bool { return known.name == m.name }) {
			continue
		}
		if err := moveOf(m.name).refusal(); err != nil {
			return err
		}
		if level := m.minLevel(); m.needs == "" || level > s.level() { // also one with a lower number
			newest, needs = max(newest, schemaName(m.name)), max(needs, level)
		}
	}
	switch {
	case newest == "":
		return nil
	case needs < newest:
		return fmt.Errorf("%w: it has schema %s, which needs a notepay with schema %s or a later one, "+
			"and this program knows schemas up to %s; start the newer notepay, or restore a copy from before it",
			ErrNewer, newest, needs, s.level())
	}
	return fmt.Errorf("%w: it has schema %s, and this program knows schemas up to %s; "+
		"start the newer notepay, or restore a copy from before it", ErrNewer, newest, s.level())
}

// seenMigrations reads the migrations that a ledger has seen.
func seenMigrations(query func(string) (resultRows, error)) ([]migration, error) {
	rows, err := query(`SELECT name FROM migrations`)
	seen, err := all(rows, err, func(s scanner) (m migration, err error) { return m, s.Scan(&m.name) })
	if err != nil || !slices.ContainsFunc(seen, func(m migration) bool { return m.name == needsMigration }) {
		return seen, err
	}
	rows, err = query(`SELECT name, coalesce(needs, '') FROM migrations`)
	return all(rows, err, func(s scanner) (m migration, err error) { return m, s.Scan(&m.name, &m.needs) })
}

// migrator brings a ledger to the schema of this program.
type migrator struct {
	schema schema
	// begin runs a function in a transaction that may take long.
	begin   func(func(*Tx) error) error
	dialect func(string) string
	waiting func(why string) // see Opening; may be nil
	move    string           // the id of the move that this process makes; "" for none
	others  *sightings       // of other instances; set by run
}

// run runs the migrations that the ledger has not seen. Each runs in one transaction, which also
// records its name. If notepay stops in between, the finished migrations stay, and the next start
// continues.
func (m migrator) run(ctx context.Context) error {
	const table = `CREATE TABLE IF NOT EXISTS migrations (name TEXT NOT NULL PRIMARY KEY) STRICT`
	var seen []migration
	m.others = &sightings{}
	err := m.begin(func(tx *Tx) error { return errOnly(tx.exec(m.dialect(table))) })
	if err == nil {
		err = m.begin(func(tx *Tx) (err error) {
			seen, err = seenMigrations(func(q string) (resultRows, error) { return tx.db.query(q) })
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("prepare migrations: %w", err)
	}
	if m.move != "" {
		seen = slices.DeleteFunc(seen, func(s migration) bool { return moveOf(s.name).begun(m.move) })
	}
	if err := m.schema.admits(seen); err != nil {
		return err
	}
	for _, next := range m.schema {
		if slices.ContainsFunc(seen, func(s migration) bool { return s.name == next.name }) {
			continue
		}
		if err := m.apply(ctx, next); err != nil {
			return fmt.Errorf("migration %s: %w", next.name, err)
		}
	}
	return nil
}

// apply runs one migration. It waits for instances whose programs may not run on it, and for locks.
func (m migrator) apply(ctx context.Context, next migration) error {
	told := ""
	for tries := 1; ; {
		err := m.begin(func(tx *Tx) error {
			if err := tx.mayMigrate(next, m.others); err != nil {
				return err
			}
			return m.try(ctx, tx, next)
		})
		older, blocked := errors.AsType[olderInstances](err)
		switch {
		case blocked && older.known && m.waiting != nil && older.Error() != told:
			told = older.Error()
			m.waiting(told)
		case blocked:
		case isPostgres(err, lockTimeout) && tries < maxLockTries:
			tries++
		case isPostgres(err, lockTimeout):
			return fmt.Errorf("another connection to the database holds a lock: %w", err)
		default:
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(migrationPause):
		}
	}
}

func (m migrator) try(ctx context.Context, tx *Tx, next migration) error {
	inserted, err := tx.exec(`INSERT INTO migrations (name) VALUES ($1) ON CONFLICT (name) DO NOTHING`, next.name)
	if err != nil || inserted == 0 {
		return err // another instance was faster
	}
	// Both drivers run all statements of a text without arguments.
	if _, err := tx.exec(m.dialect(next.text)); err != nil {
		return err
	}
	if next.needs != "" && next.name >= needsMigration {
		if _, err := tx.exec(`UPDATE migrations SET needs = $1 WHERE name = $2`, next.needs, next.name); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// olderInstances says for which instances a migration waits.
type olderInstances struct {
	migration migration
	levels    []string
	known     bool // one of them is alive for certain
}

func (o olderInstances) Error() string {
	return fmt.Sprintf("schema %s needs instances with schema %s or a later one, and instances with %s are running; "+
		"stop them", schemaName(o.migration.name), o.migration.minLevel(), strings.Join(o.levels, ", "))
}

// mayMigrate returns olderInstances if instances may be alive that may not run on a migration. It shuts
// out those that are dead, so that one that stood still cannot write when it wakes.
//
// Writers take turns, so an instance that starts meanwhile sees the migration before it writes.
func (tx *Tx) mayMigrate(next migration, others *sightings) error {
	if tx.self == "" {
		return nil
	}
	if _, err := tx.exec(`SELECT set_config('lock_timeout', $1, true)`, migrationLockTimeout); err != nil {
		return err
	}
	type instance struct {
		id, level string
		seen      int64
	}
	rows, err := tx.db.query(`SELECT id, level, seen FROM instances WHERE id <> $1 ORDER BY id`, tx.self)
	list, err := all(rows, err, func(s scanner) (i instance, err error) {
		return i, s.Scan(&i.id, &i.level, &i.seen)
	})
	if err != nil {
		return err
	}
	others.look(time.Now())
	older := olderInstances{migration: next}
	for _, i := range list {
		state := others.judge(i.id, i.seen)
		switch {
		case i.level >= next.minLevel():
		case state == dead:
			if _, err := tx.exec(`DELETE FROM instances WHERE id = $1`, i.id); err != nil {
				return err
			}
		default:
			older.levels = append(older.levels, fmt.Sprintf("%s (%.8s)", i.level, i.id))
			older.known = older.known || state == alive
		}
	}
	if len(older.levels) > 0 {
		return older
	}
	return nil
}
