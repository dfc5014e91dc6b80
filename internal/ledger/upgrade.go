package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// keepBeforeMigration copies a SQLite ledger that an older notepay wrote, before this one changes its
// schema. The older notepay can work with the copy after notepay restore. It returns the copy's name,
// or "" if there is nothing to migrate.
//
// If notepay stops in between, the next start finds the copy, or makes it again.
func keepBeforeMigration(ctx context.Context, path string, known schema) (kept string, err error) {
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		return "", nil // a new ledger; opening it reports any other error
	}
	// Nothing may touch the log before it was checked, so only the file itself is read. In the worst
	// case that is the state before a migration that the log holds, and there is a copy too many.
	applied := map[string]bool{}
	err = runOn(ctx, path, "mode=ro&immutable=1", func(db *sql.DB) error {
		rows, err := db.QueryContext(ctx, `SELECT name FROM migrations`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				return err
			}
			applied[name] = true
		}
		return rows.Err()
	})
	if err != nil || len(applied) == 0 {
		return "", nil // no ledger of ours, or damaged: opening it says so
	}
	next := ""
	for _, m := range known {
		if !applied[m.name] && next == "" {
			next = schemaName(m.name)
		}
		delete(applied, m.name)
	}
	if next == "" || len(applied) > 0 {
		return "", nil // up to date, or of a newer notepay, or moved
	}
	kept = path + ".before-" + next
	if _, err := os.Stat(kept); !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := Backup(ctx, path, kept); err != nil {
		return "", fmt.Errorf("copy the ledger to %s before its schema changes: %w", kept, err)
	}
	return kept, nil
}
