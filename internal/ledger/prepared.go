package ledger

import (
	"cmp"
	"context"
	"database/sql"
)

// maxPrepared is how many statements a connection keeps. The code has about a hundred fixed ones.
// ChangePayment has one for each set of columns, and only some dozens of sets are common.
const maxPrepared = 256

// preparedConn is a connection that prepares each statement once. Only the writer's goroutine uses
// it. It passes no caller's context to the driver, because a canceled caller must not interrupt a
// shared transaction.
type preparedConn struct {
	conn       *sql.Conn
	condition  *condition
	statements map[string]*prepared
	uses       uint64

	// failed is the first error of a statement while inUpdate is true. No other statement is executed
	// then. SQLite ends a transaction by itself after some errors, and would commit each further
	// statement at once.
	failed   error
	inUpdate bool
}

type prepared struct {
	*sql.Stmt
	used uint64 // value of preparedConn.uses at the last use
}

func newPreparedConn(conn *sql.Conn, condition *condition) *preparedConn {
	return &preparedConn{conn: conn, condition: condition, statements: map[string]*prepared{}}
}

// call runs the function of an update. It returns the error of a statement that failed even if the
// function does not.
func (c *preparedConn) call(fn func(*Tx) error, tx *Tx) error { return cmp.Or(call(fn, tx), c.failed) }

// note records an error of a statement.
func (c *preparedConn) note(err error) error {
	if err = c.condition.note(err); c.inUpdate && c.failed == nil {
		c.failed = err
	}
	return err
}

func (c *preparedConn) prepare(query string) (*prepared, error) {
	if c.inUpdate && c.failed != nil {
		return nil, c.failed
	}
	c.uses++
	if s, ok := c.statements[query]; ok {
		s.used = c.uses
		return s, nil
	}
	if len(c.statements) >= maxPrepared {
		if err := c.closeOldest(); err != nil {
			return nil, c.note(err)
		}
	}
	s, err := c.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, c.note(err)
	}
	c.statements[query] = &prepared{s, c.uses}
	return c.statements[query], nil
}

// closeOldest closes the least recently used statement. The rows of all earlier queries have been
// read.
func (c *preparedConn) closeOldest() error {
	oldest, used := "", c.uses
	for query, s := range c.statements {
		if s.used < used {
			oldest, used = query, s.used
		}
	}
	s := c.statements[oldest]
	delete(c.statements, oldest)
	return s.Close()
}

// close closes the statements and returns the connection to its pool. SQLite keeps the file and its
// log open as long as a statement is open. The pool's Close reports the errors that matter.
func (c *preparedConn) close() {
	for _, s := range c.statements {
		_ = s.Close()
	}
	_ = c.conn.Close()
}

func (c *preparedConn) exec(query string, args ...any) (int64, error) {
	s, err := c.prepare(query)
	if err != nil {
		return 0, err
	}
	result, err := s.Exec(args...)
	if err != nil {
		return 0, c.note(err)
	}
	return result.RowsAffected()
}

// expect knows its result at once, because a statement of SQLite needs no round trip.
func (c *preparedConn) expect(query string, args ...any) (bool, error) {
	n, err := c.exec(query, args...)
	return n == 1, err
}

func (c *preparedConn) run(query string, args ...any) error { return errOnly(c.exec(query, args...)) }

func (c *preparedConn) write(s rowStatement, args ...any) (bool, error) {
	n, err := c.exec(s.one, args...)
	return err == nil && (n == 1 || !s.exact), err
}

func (c *preparedConn) query(query string, args ...any) (resultRows, error) {
	s, err := c.prepare(query)
	if err != nil {
		return nil, err
	}
	rows, err := s.Query(args...)
	if err != nil {
		return nil, c.note(err)
	}
	return writerRows{rows, c}, nil
}

type writerRows struct {
	*sql.Rows
	conn *preparedConn
}

// Err returns the error that ended the rows early.
func (r writerRows) Err() error { return r.conn.note(r.Rows.Err()) }
