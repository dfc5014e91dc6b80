package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// moveRows and moveBytes limit one transaction of a move.
	moveRows  = 1000
	moveBytes = 4 << 20
)

// table is a table that Move copies.
type table struct {
	name     string
	columns  []string
	key      []int  // indexes into columns, in the order of the primary key
	texts    []bool // for each column, whether it holds text
	identity string // the column that numbers the rows, "" for none
	where    string // a condition for the rows that are copied, "" for all
	parents  []string
}

// ownTables selects the names of the tables in the schema. Views hold no rows, and tables of extensions
// belong to the provider of the database.
const ownTables = `SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p', 'f') AND NOT EXISTS (SELECT 1 FROM pg_depend d
		WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')`

// tables returns the tables of this program's schema, each after those that it refers to. The
// database says which there are, because another program may have tables of its own in the source.
func (m *move) tables(ctx context.Context) ([]table, error) {
	conn, _, err := m.server.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer hangUp(conn)
	rows, err := conn.Query(ctx, `SELECT table_name, column_name, is_identity FROM information_schema.columns
		WHERE table_schema = current_schema() AND table_name IN (`+ownTables+`)
		AND table_name NOT IN ('instances', 'leader', 'migrations')`)
	if err != nil {
		return nil, err
	}
	there, identities := map[string][]string{}, map[string]string{}
	defer rows.Close()
	for rows.Next() {
		var name, column, identity string
		if err := rows.Scan(&name, &column, &identity); err != nil {
			return nil, err
		}
		there[name] = append(there[name], column)
		if identity == "YES" {
			identities[name] = column
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	var list []table
	for name, columns := range there {
		t, err := m.table(ctx, name)
		if err != nil {
			return nil, err
		}
		own := slices.Clone(t.columns)
		slices.Sort(own)
		slices.Sort(columns)
		if !slices.Equal(own, columns) || len(t.key) == 0 {
			return nil, fmt.Errorf("table %s has the columns %v here and %v at %s", name, own, columns, m.place)
		}
		t.identity = identities[name]
		list = append(list, t)
	}
	return parentsFirst(list), nil
}

// table describes a table of the source.
func (m *move) table(ctx context.Context, name string) (t table, err error) {
	t.name = name
	if name == "cursors" { // what identifies one state of one file
		t.where = `name <> '` + generationCursor + `'`
	}
	rows, err := m.source.QueryContext(ctx, `SELECT name, type, pk FROM pragma_table_info($1) ORDER BY cid`, name)
	keys := map[int]int{}
	_, err = all(rows, err, func(s scanner) (n int, err error) {
		var column, kind string
		if err := s.Scan(&column, &kind, &n); err != nil {
			return 0, err
		}
		if n > 0 {
			keys[n] = len(t.columns)
		}
		t.columns, t.texts = append(t.columns, column), append(t.texts, kind == "TEXT")
		return n, nil
	})
	if err != nil {
		return table{}, err
	}
	for n := 1; n <= len(keys); n++ {
		t.key = append(t.key, keys[n])
	}
	rows, err = m.source.QueryContext(ctx, `SELECT DISTINCT "table" FROM pragma_foreign_key_list($1)`, name)
	t.parents, err = all(rows, err, func(s scanner) (parent string, err error) { return parent, s.Scan(&parent) })
	return t, err
}

// parentsFirst sorts tables by name, but each after those that it refers to.
func parentsFirst(list []table) (sorted []table) {
	slices.SortFunc(list, func(a, b table) int { return strings.Compare(a.name, b.name) })
	placed := map[string]bool{}
	var place func(t table)
	place = func(t table) {
		if placed[t.name] {
			return
		}
		placed[t.name] = true
		for _, other := range list {
			if slices.Contains(t.parents, other.name) {
				place(other)
			}
		}
		sorted = append(sorted, t)
	}
	for _, t := range list {
		place(t)
	}
	return sorted
}

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }

func quotedList(names []string) string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = quoted(name)
	}
	return strings.Join(list, ", ")
}

func (t table) keyNames() (names []string) {
	for _, k := range t.key {
		names = append(names, t.columns[k])
	}
	return names
}

// order returns the columns of the key for ORDER BY. PostgreSQL compares texts by bytes, as SQLite
// does, only with the collation "C".
func (t table) order(collation, direction string) string {
	var list []string
	for _, k := range t.key {
		column := quoted(t.columns[k])
		if t.texts[k] {
			column += collation
		}
		list = append(list, column+direction)
	}
	return strings.Join(list, ", ")
}

const byBytes = ` COLLATE "C"`

// copyAndCompare copies what is missing and compares all rows. different reports that the sides
// differ, or that the database rejected a row because of one that it has.
func (m *move) copyAndCompare(ctx context.Context, tables []table) (rows int, different bool, err error) {
	for _, t := range tables {
		n, err := m.copy(ctx, t)
		if err != nil {
			return 0, isRejectedRow(err), fmt.Errorf("copy %s: %w", t.name, err)
		}
		if n > 0 {
			m.report(fmt.Sprintf("copied %d rows of %s", n, t.name))
		}
		if err := m.stage("copied " + t.name); err != nil {
			return 0, false, err
		}
	}
	for _, t := range tables {
		n, where, err := m.compare(ctx, t)
		if err != nil {
			return 0, false, fmt.Errorf("compare %s: %w", t.name, err)
		}
		if where != "" {
			m.report(where)
			return 0, true, nil
		}
		rows += n
	}
	return rows, false, nil
}

// isRejectedRow reports whether a row violates a constraint.
func isRejectedRow(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && strings.HasPrefix(e.Code, "23")
}

// copy copies the rows of a table whose keys follow the last one in the database. Each transaction
// adds the next rows in the order of the keys, so the database itself says how far the copy is.
func (m *move) copy(ctx context.Context, t table) (copied int, err error) {
	last, err := m.lastKey(ctx, t)
	if err != nil {
		return 0, err
	}
	insert := `INSERT INTO ` + quoted(t.name) + ` (` + quotedList(t.columns) + `)
		VALUES (` + numbered(len(t.columns)) + `)`
	for {
		batch, err := m.next(ctx, t, last)
		if err != nil || len(batch) == 0 {
			return copied, err
		}
		err = m.transact(ctx, func(tx *Tx) error {
			for _, row := range batch { // all of them travel with COMMIT
				if err := tx.db.(*postgresTx).later(deferred, insert, row); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return copied, err
		}
		copied += len(batch)
		last = nil
		for _, k := range t.key {
			last = append(last, batch[len(batch)-1][k])
		}
		if err := m.stage("copying " + t.name); err != nil {
			return copied, err
		}
	}
}

// lastKey returns the last key of a table in the database, nil if the table is empty.
func (m *move) lastKey(ctx context.Context, t table) ([]any, error) {
	conn, _, err := m.server.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer hangUp(conn)
	rows, err := conn.Query(ctx, `SELECT `+quotedList(t.keyNames())+` FROM `+quoted(t.name)+
		` ORDER BY `+t.order(byBytes, " DESC")+` LIMIT 1`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	if !rows.Next() {
		return nil, rows.Err()
	}
	return rows.Values()
}

// query returns a statement that reads a table of the source in the order of its keys, and a
// condition with after.
func (t table) query(after string) string {
	conditions := slices.DeleteFunc([]string{t.where, after}, func(s string) bool { return s == "" })
	where := ""
	if len(conditions) > 0 {
		where = ` WHERE ` + strings.Join(conditions, ` AND `)
	}
	return `SELECT ` + quotedList(t.columns) + ` FROM ` + quoted(t.name) + where + ` ORDER BY ` + t.order("", "")
}

// next reads the rows of the source that follow a key, for one transaction.
func (m *move) next(ctx context.Context, t table, last []any) (batch [][]any, err error) {
	after := ""
	if last != nil {
		after = `(` + quotedList(t.keyNames()) + `) > (` + numbered(len(last)) + `)`
	}
	rows, err := m.source.QueryContext(ctx, t.query(after)+fmt.Sprintf(` LIMIT %d`, moveRows), last...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for size := 0; size < moveBytes && rows.Next(); {
		row, err := t.scan(rows)
		if err != nil {
			return nil, err
		}
		for _, v := range row {
			if text, ok := v.(string); ok {
				size += len(text)
			}
		}
		batch = append(batch, row)
	}
	return batch, rows.Err()
}

// scan reads a row of the source as the database can store it: PostgreSQL has no zero bytes and no
// invalid UTF-8 in texts.
func (t table) scan(rows scanner) ([]any, error) {
	row := make([]any, len(t.columns))
	into := make([]any, len(row))
	for i := range row {
		into[i] = &row[i]
	}
	if err := rows.Scan(into...); err != nil {
		return nil, err
	}
	for i, v := range row {
		if text, ok := v.(string); ok {
			row[i] = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
		}
	}
	return row, nil
}

// compare reads a table on both sides in the order of its keys. It returns the number of rows, and
// where the first difference is, or "".
func (m *move) compare(ctx context.Context, t table) (n int, where string, err error) {
	conn, _, err := m.server.connect(ctx)
	if err != nil {
		return 0, "", err
	}
	defer hangUp(conn)
	tx, err := conn.Begin(ctx)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = tx.Rollback(ctx) }() // it only reads
	if _, err := tx.Exec(ctx, `SELECT set_config('statement_timeout', '0', true)`); err != nil {
		return 0, "", err
	}
	copied, err := tx.Query(ctx, `SELECT `+quotedList(t.columns)+` FROM `+quoted(t.name)+
		` ORDER BY `+t.order(byBytes, ""))
	if err != nil {
		return 0, "", err
	}
	defer copied.Close()
	rows, err := m.source.QueryContext(ctx, t.query(""))
	if err != nil {
		return 0, "", err
	}
	defer rows.Close()
	for {
		here, there := rows.Next(), copied.Next()
		if !here || !there {
			if err := errors.Join(rows.Err(), copied.Err()); err != nil {
				return n, "", err
			}
			if here != there {
				return n, fmt.Sprintf("%s: one side has more than %d rows", t.name, n), nil
			}
			return n, "", nil
		}
		want, err := t.scan(rows)
		if err != nil {
			return n, "", err
		}
		got, err := copied.Values()
		if err != nil {
			return n, "", err
		}
		for i := range want {
			if want[i] != got[i] {
				return n, fmt.Sprintf("%s: row %d differs in %s", t.name, n+1, t.columns[i]), nil
			}
		}
		n++
	}
}

// empty removes all rows that the move has copied.
func (m *move) empty(ctx context.Context, tables []table) error {
	var names []string
	for _, t := range tables {
		names = append(names, t.name)
	}
	return m.transact(ctx, func(tx *Tx) error { return errOnly(tx.exec(`TRUNCATE ` + quotedList(names))) })
}
