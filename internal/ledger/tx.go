package ledger

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Tx is a transaction. It is valid only inside the function that receives it.
type Tx struct {
	// Now is the same for the whole transaction, so that its rows agree.
	Now    time.Time
	db     statements
	memory *memory // nil if the writer keeps none
	self   string  // the id of this instance; "" on SQLite
}

// statements is the interface that both databases implement.
type statements interface {
	exec(query string, args ...any) (rowsAffected int64, err error)
	query(query string, args ...any) (resultRows, error)

	// expect executes a statement that normally changes exactly one row, and reports whether it did.
	//
	// A writer may queue the statement and return true before it knows. If it finds out later that
	// the statement changed another number of rows, or failed, it rolls back the whole transaction.
	// Then it runs the updates again, at last each in a transaction of its own, in which expect executes
	// its statement at once. So a function has to be right for both results, and nothing that it did
	// after a wrong true reaches the disk.
	expect(query string, args ...any) (met bool, err error)

	// run executes a statement whose number of rows does not matter. A writer may queue it, like one
	// of expect.
	run(query string, args ...any) error

	// write executes a statement for one row, like expect if it is exact, and else like run. A writer
	// may write the row together with those of other updates.
	write(s rowStatement, args ...any) (met bool, err error)
}

func (tx *Tx) exec(query string, args ...any) (int64, error) { return tx.db.exec(query, args...) }

func (tx *Tx) expect(query string, args ...any) (bool, error) { return tx.db.expect(query, args...) }

func (tx *Tx) run(query string, args ...any) error { return tx.db.run(query, args...) }

// all reads every row of a query with scan, or returns an error and no rows. It closes rows.
func all[T any](rows resultRows, err error, scan func(scanner) (T, error)) (list []T, _ error) {
	if unstorable(err) {
		return nil, nil // no row can hold the requested text
	}
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		t, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return list, nil
}

// one reads the only row of a query, or returns ErrNotFound.
func one[T any](rows resultRows, err error, scan func(scanner) (T, error)) (t T, _ error) {
	list, err := all(rows, err, scan)
	if err != nil || len(list) == 1 {
		if err == nil {
			t = list[0]
		}
		return t, err
	}
	if len(list) > 1 {
		return t, fmt.Errorf("%d rows where there can be one", len(list))
	}
	return t, ErrNotFound
}

type scanner interface{ Scan(dest ...any) error }

// milliseconds returns a time as stored: Unix milliseconds, or NULL for the zero time.
func milliseconds(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMilli()
}

type instant struct{ *time.Time }

func (i instant) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*i.Time = time.Time{}
	case int64:
		*i.Time = time.UnixMilli(v).UTC()
	default:
		return fmt.Errorf("a time is stored as %T", v)
	}
	return nil
}

type seconds struct{ *time.Duration }

func (s seconds) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("a duration is stored as %T", v)
	}
	*s.Duration = time.Duration(n) * time.Second
	return nil
}

type flag struct{ *bool }

func (f flag) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("a flag is stored as %T", v)
	}
	*f.bool = n != 0
	return nil
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// placeholders returns one placeholder for each column.
func placeholders(columns string) string { return numbered(strings.Count(columns, ",") + 1) }

// numbered returns "$1, $2, ..." up to n.
func numbered(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("$%d", i+1)
	}
	return strings.Join(list, ", ")
}

// rowColumns returns "v.p1, v.p2, ...", one for each column, for a rowStatement.
func rowColumns(columns string) string { return strings.ReplaceAll(placeholders(columns), "$", "v.p") }

func anys(list []string) []any {
	args := make([]any, len(list))
	for i, s := range list {
		args[i] = s
	}
	return args
}

// errOnly drops a result when only its existence matters.
func errOnly[T any](_ T, err error) error { return err }

// Found converts ErrNotFound into false, nil into true, and returns other errors.
func Found(err error) (bool, error) {
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
