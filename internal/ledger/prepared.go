package ledger

import (
	"context"
	"database/sql"
)

// maxPrepared is how many statements a connection keeps. The code has some hundred fixed ones.
// ChangePayment has one for each set of columns, and only some dozens of the sets are common.
const maxPrepared = 256

// preparedConn is one connection that prepares each statement once. Only the writer's goroutine
// uses it. No context reaches the driver: a caller who goes away must not interrupt a transaction
// that others share.
type preparedConn struct {
	conn       *sql.Conn
	condition  *condition
	statements map[string]*prepared
	uses       uint64
}

type prepared struct {
	*sql.Stmt
	used uint64 // the connection's count of uses when this one was last used
}

func newPreparedConn(conn *sql.Conn, condition *condition) *preparedConn {
	return &preparedConn{conn: conn, condition: condition, statements: map[string]*prepared{}}
}

func (c *preparedConn) prepare(query string) (*prepared, error) {
	c.uses++
	if s, ok := c.statements[query]; ok {
		s.used = c.uses
		return s, nil
	}
	if len(c.statements) >= maxPrepared {
		if err := c.forgetOldest(); err != nil {
			return nil, err
		}
	}
	s, err := c.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, c.condition.note(err)
	}
	c.statements[query] = &prepared{s, c.uses}
	return c.statements[query], nil
}

// forgetOldest releases the statement that was not used for longest. The rows of all earlier
// queries are read by now.
func (c *preparedConn) forgetOldest() error {
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

// close gives the connection back to its pool, whose Close reports what matters. As long as a
// statement is open, SQLite would keep the file and its log open behind that.
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
		return 0, c.condition.note(err)
	}
	return result.RowsAffected()
}

func (c *preparedConn) query(query string, args ...any) (resultRows, error) {
	s, err := c.prepare(query)
	if err != nil {
		return nil, err
	}
	rows, err := s.Query(args...)
	if err != nil {
		return nil, c.condition.note(err)
	}
	return observedRows{rows, c.condition}, nil
}
