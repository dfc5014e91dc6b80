package ledger

import (
	"context"
	"embed"
	"fmt"
	"strings"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate runs the embedded migrations that this ledger has not seen. Each runs in one transaction,
// which also records its name. If notepay stops in between, the finished migrations stay, and the
// next start continues.
func migrate(ctx context.Context, begin func(func(*Tx) error) error, dialect func(string) string) error {
	err := begin(func(tx *Tx) error {
		_, err := tx.exec(dialect(`CREATE TABLE IF NOT EXISTS migrations (name TEXT NOT NULL PRIMARY KEY) STRICT`))
		return err
	})
	if err != nil {
		return fmt.Errorf("prepare migrations: %w", err)
	}
	files, err := migrations.ReadDir("migrations")
	if err != nil {
		return err
	}
	if err := begin(func(tx *Tx) error {
		rows, err := tx.db.query(`SELECT name FROM migrations`)
		names, err := all(rows, err, func(s scanner) (name string, err error) { return name, s.Scan(&name) })
		if err != nil {
			return err
		}
		return knownMigrations(names)
	}); err != nil {
		return err
	}
	for _, file := range files {
		text, err := migrations.ReadFile("migrations/" + file.Name())
		if err != nil {
			return err
		}
		err = begin(func(tx *Tx) error {
			inserted, err := tx.exec(`INSERT INTO migrations (name) VALUES ($1) ON CONFLICT (name) DO NOTHING`,
				file.Name())
			if err != nil || inserted == 0 {
				return err
			}
			// Both drivers run all statements of a text without arguments.
			if _, err := tx.exec(dialect(string(text))); err != nil {
				return err
			}
			return ctx.Err()
		})
		if err != nil {
			return fmt.Errorf("migration %s: %w", file.Name(), err)
		}
	}
	return nil
}

// knownMigrations returns ErrNewer if a ledger has seen a migration that this program does not
// have, because this program might misread the data.
func knownMigrations(names []string) error {
	files, err := migrations.ReadDir("migrations")
	if err != nil {
		return err
	}
	last := ""
	known := map[string]bool{}
	for _, file := range files {
		known[file.Name()], last = true, file.Name()
	}
	unknown := ""
	for _, name := range names {
		if !known[name] {
			unknown = max(unknown, name)
		}
	}
	if unknown == "" {
		return nil
	}
	schema := func(name string) string { return strings.TrimSuffix(name, ".sql") }
	return fmt.Errorf("%w: it has schema %s, and this program knows schemas up to %s; "+
		"start the newer notepay, or restore a copy from before it", ErrNewer, schema(unknown), schema(last))
}
