package ledger

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"time"
)

const (
	// updateTimeout bounds an update, and readTimeout bounds a query. A caller with less time
	// passes a context with a deadline.
	updateTimeout = 10 * time.Second
	readTimeout   = 10 * time.Second
	// migrationTimeout bounds one migration, which may index all payments.
	migrationTimeout = 10 * time.Minute
)

// readPool gives each query a deadline, because a hanging database must not block its readers. It
// also records damage that a query finds.
type readPool struct {
	*sql.DB
	condition *condition
	prepared  *preparedReads // nil: nothing is prepared, because a pooler may lose it
}

// preparedReads are the statements of the queries that the queue asks all the time. Most of the time
// of such a query goes into its preparation.
type preparedReads struct {
	mu         sync.Mutex
	statements map[string]*sql.Stmt
}

// statement returns the prepared statement of a query.
func (r *preparedReads) statement(ctx context.Context, db *sql.DB, query string) (*sql.Stmt, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.statements[query]
	if s == nil {
		var err error
		if s, err = db.PrepareContext(ctx, query); err != nil {
			return nil, err
		}
		r.statements[query] = s
	}
	return s, nil
}

// queryOften runs a fixed query like QueryContext, and prepares it once.
func (p readPool) queryOften(ctx context.Context, query string, args ...any) (*boundedRows, error) {
	if p.prepared == nil {
		return p.QueryContext(ctx, query, args...)
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	s, err := p.prepared.statement(ctx, p.DB, query)
	var rows *sql.Rows
	if err == nil {
		rows, err = s.QueryContext(ctx, args...)
	}
	if err != nil {
		cancel()
		return nil, p.condition.note(err)
	}
	return &boundedRows{observedRows{rows, p.condition}, cancel}, nil
}

// Close closes the statements and then the connections.
func (p readPool) Close() error {
	if p.prepared == nil {
		return p.DB.Close()
	}
	p.prepared.mu.Lock()
	defer p.prepared.mu.Unlock()
	var errs []error
	for query, s := range p.prepared.statements {
		errs = append(errs, s.Close())
		delete(p.prepared.statements, query)
	}
	return errors.Join(append(errs, p.DB.Close())...)
}

// QueryContext runs a query. The deadline applies until the rows are closed.
func (p readPool) QueryContext(ctx context.Context, query string, args ...any) (*boundedRows, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	rows, err := p.DB.QueryContext(ctx, query, args...)
	if err != nil {
		cancel()
		return nil, p.condition.note(err)
	}
	return &boundedRows{observedRows{rows, p.condition}, cancel}, nil
}

// boundedRows are rows with a deadline.
type boundedRows struct {
	observedRows
	cancel context.CancelFunc
}

// Close closes the rows and releases the deadline's timer.
func (r *boundedRows) Close() error {
	defer r.cancel()
	return r.observedRows.Close()
}

// resultRows is the part of sql.Rows that this package uses.
type resultRows interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
	Close() error
}
