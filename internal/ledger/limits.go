package ledger

import (
	"context"
	"database/sql"
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
