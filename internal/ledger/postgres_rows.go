package ledger

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
)

// PostgreSQL prepares the checks and indexes of a table again for each statement that writes to it.
// For a payment that takes several times as long as to write the row. So the rows of the updates that
// share a transaction are written by few statements.

// rowStatement writes one row. A statement that writes many takes their values from the columns p1,
// p2 and so on of v, one for each parameter.
type rowStatement struct {
	one  string
	many func(rows string) string // rows is what the statement selects v from

	// about names the row and what it depends on. Statements about the same are executed in their
	// order, and others may change places.
	about []string

	exact bool // it has to change exactly one row
}

// combined is a rowStatement for many rows.
type combined struct {
	query string
	types []uint32 // of the parameters of a row; nil: rows of this statement cannot be combined
}

// rowGroup holds the rows of a statement that wait to be sent.
type rowGroup struct {
	rowStatement
	rows   [][]any
	owners []*update
}

// write implements statements.
func (t *postgresTx) write(s rowStatement, args ...any) (met bool, err error) {
	switch {
	case t.mode == combining && t.err == nil:
		t.group(s, storable(args))
		return true, nil
	case s.exact:
		return t.expect(s.one, args...)
	default:
		err := t.run(s.one, args...)
		return err == nil, err
	}
}

// group adds a row to those that wait.
func (t *postgresTx) group(s rowStatement, args []any) {
	for _, name := range s.about {
		if t.about[name] {
			t.ungroup()
			break
		}
	}
	g := t.groups[s.one]
	if g == nil {
		g = &rowGroup{rowStatement: s}
		t.groups[s.one] = g
		t.order = append(t.order, g)
	}
	g.rows, g.owners = append(g.rows, args), append(g.owners, t.owner)
	for _, name := range s.about {
		t.about[name] = true
	}
}

// ungroup queues the statements of the rows that wait. Statements that are queued afterwards are
// executed after them.
func (t *postgresTx) ungroup() {
	order := t.order
	clear(t.groups)
	clear(t.about)
	t.order = nil
	for _, g := range order {
		if len(g.rows) == 1 || !t.combine(g) {
			for i, args := range g.rows {
				t.queueRow(g.rowStatement, g.owners[i], args)
			}
		}
	}
}

// queueRow queues the statement of one row.
func (t *postgresTx) queueRow(s rowStatement, owner *update, args []any) {
	if s.exact {
		t.queue(owner, oneRow, exactly(s.one, "1"), args)
	} else {
		t.queue(owner, deferred, s.one, args)
	}
}

// combine queues one statement for the rows of a group. It returns false if that is not possible.
func (t *postgresTx) combine(g *rowGroup) bool {
	if t.err != nil {
		return true // nothing is sent any more
	}
	c, known := t.combinations[g.one]
	if !known {
		d, err := t.conn.Prepare(context.Background(), "", g.one)
		if err != nil {
			t.fail(queued{nil, deferred}, err)
			return true
		}
		c = combination(g.rowStatement, d.ParamOIDs)
		t.combinations[g.one] = c
	}
	args, ok := arrays(c.types, g.rows)
	if !ok {
		return false
	}
	var owner *update // if all rows are of one update
	for i, o := range g.owners {
		if i == 0 {
			owner = o
		} else if o != owner {
			owner = nil
		}
	}
	if !t.planned {
		t.planned = true
		t.queue(nil, deferred, nestedLoops, nil)
	}
	t.combined = true
	if g.exact {
		args = append(args, len(g.rows))
		t.queue(owner, oneRow, c.query, args)
	} else {
		t.queue(owner, deferred, c.query, args)
	}
	return true
}

// nestedLoops makes the server find the rows of a combined statement one by one in an index. The
// table may be empty when it plans the statement for the first time, and large soon after.
const nestedLoops = `SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
	set_config('enable_seqscan', 'off', true)`

// exactly returns a statement that divides by zero unless query changes n rows.
func exactly(query, n string) string {
	return `WITH changed AS (` + query + ` RETURNING 1) SELECT 1 / (count(*) = ` + n + `)::int FROM changed`
}

// combination returns the statement for many rows whose parameters have these types.
func combination(s rowStatement, types []uint32) combined {
	parameters, columns := make([]string, len(types)), make([]string, len(types))
	for i, oid := range types {
		n := strconv.Itoa(i + 1)
		columns[i] = "p" + n
		switch oid {
		case pgtype.TextOID:
			parameters[i] = "$" + n + "::text[]"
		case pgtype.Int8OID:
			parameters[i] = "$" + n + "::bigint[]"
		default:
			return combined{}
		}
	}
	query := s.many(fmt.Sprintf("unnest(%s) AS v (%s)", strings.Join(parameters, ", "), strings.Join(columns, ", ")))
	if s.exact {
		query = exactly(query, "$"+strconv.Itoa(len(types)+1))
	}
	return combined{query, types}
}

// arrays returns an array for each parameter, with the values of all rows. It returns false if a value
// does not have the type of its parameter.
func arrays(types []uint32, rows [][]any) (args []any, ok bool) {
	if types == nil {
		return nil, false
	}
	for i, oid := range types {
		var texts []*string
		var numbers []*int64
		for _, row := range rows {
			var text *string
			var number *int64
			switch v := reflect.ValueOf(row[i]); {
			case !v.IsValid(): // NULL
			case oid == pgtype.TextOID && v.Kind() == reflect.String:
				text = new(v.String())
			case oid == pgtype.Int8OID && v.CanInt():
				number = new(v.Int())
			default:
				return nil, false
			}
			texts, numbers = append(texts, text), append(numbers, number)
		}
		if oid == pgtype.TextOID {
			args = append(args, texts)
		} else {
			args = append(args, numbers)
		}
	}
	return args, true
}
