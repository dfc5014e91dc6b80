package ledger

import (
	"errors"
	"testing"
)

// brokenRows has one row and then fails.
type brokenRows struct {
	read bool
	err  error
}

func (r *brokenRows) Next() bool {
	first := !r.read
	r.read = true
	return first
}

func (r *brokenRows) Scan(...any) error { return nil }
func (r *brokenRows) Err() error        { return r.err }
func (r *brokenRows) Close() error      { return nil }

func TestAllReturnsNoRowsWithAnError(t *testing.T) {
	t.Parallel()
	broken := errors.New("the disk fails")
	list, err := all(&brokenRows{err: broken}, nil, func(s scanner) (n int, err error) { return n, s.Scan(&n) })
	if len(list) != 0 || !errors.Is(err, broken) {
		t.Errorf("got %d rows, %v; want none, %v", len(list), err, broken)
	}
}
