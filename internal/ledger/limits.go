package ledger

import (
	"context"
	"database/sql"
	"time"
)

const (
	// updateTimeout bounds an update, and readTimeout a query. Callers that cannot wait so long
	// bring a shorter deadline.
	updateTimeout = 10 * time.Second
	readTimeout   = 10 * time.Second
	// migrationTimeout bounds one migration, which may build an index over all payments.
	migrationTimeout = 10 * time.Minute
)

// readPool gives each query a deadline, because a database that hangs must not hang its readers. It
// notices damage that queries come upon.
type readPool struct {
	*sql.DB
	condition *condition
}

// QueryContext runs a query. The deadline holds until the rows are closed.
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

// resultRows are the rows of a query, with or without a deadline.
type resultRows interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
	Close() error
}
