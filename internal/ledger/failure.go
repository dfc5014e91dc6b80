package ledger

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
)

// writeLog holds the results of the latest writes.
type writeLog struct {
	began  time.Time    // origin of latest; monotonic, so a step of the host's clock has no effect
	latest atomic.Int64 // time of the last success, in nanoseconds since began; 0 for none
	failed chan Failure // the oldest failure that no receiver has read yet
}

func newWriteLog() *writeLog { return &writeLog{began: time.Now(), failed: make(chan Failure, 1)} }

// Failure is a write that failed because of the storage.
type Failure struct {
	Err   error
	Began time.Time // the write may have waited long before it failed
}

// add records the result of an update. Three kinds of errors say nothing about the storage and are
// ignored: errors of the caller's function, rows that the schema rejects, and canceled calls.
func (w *writeLog) add(began time.Time, err error) {
	switch {
	case err == nil:
		w.latest.Store(int64(max(time.Since(w.began), 1)))
	case isStorageFailure(err):
		select {
		case w.failed <- Failure{err, began}:
		default: // an earlier failure has not been received yet
		}
	}
}

// LastWrite returns the time of the last successful write, or the zero time.
func (l *Ledger) LastWrite() time.Time {
	if at := l.writes.latest.Load(); at != 0 {
		return l.writes.began.Add(time.Duration(at))
	}
	return time.Time{}
}

// Failures returns a channel of writes that failed because of the storage. Failures are dropped
// while the receiver is busy.
func (l *Ledger) Failures() <-chan Failure { return l.writes.failed }

// isStorageFailure reports whether an update failed because of the disk or the database.
func isStorageFailure(err error) bool {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case 1, 18, 19, 20, 21, 25: // bad statement, value or row (sqlite.org/rescode.html)
			return false
		}
		return true
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch e.Code[:min(2, len(e.Code))] {
		case "22", "23", "40", "42": // bad value, row, order or statement (PostgreSQL, appendix A)
			return e.Code == "42501" // a missing privilege prevents every payment
		}
		return true
	}
	if errors.Is(err, errMoved) || errors.Is(err, errDamaged) {
		return true
	}
	_, network := errors.AsType[net.Error](err)
	_, connect := errors.AsType[*pgconn.ConnectError](err)
	if network || connect {
		return true
	}
	for _, target := range []error{errLeaseLost, errUnknownOutcome, errReadOnly, driver.ErrBadConn, sql.ErrConnDone,
		context.DeadlineExceeded, io.ErrUnexpectedEOF, io.EOF, net.ErrClosed} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// Cause describes for the operator why an update failed. It does not quote err.
func Cause(err error) string {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case 5, 6:
			return "another program keeps the ledger's file locked"
		case 8:
			return "the ledger's file or file system is read-only"
		case 10:
			return "the disk of the ledger refuses to write"
		case 11, 26:
			return "the ledger's file is damaged"
		case 13:
			return "the disk of the ledger is full"
		case 14:
			return "the ledger's file cannot be opened"
		}
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch e.Code {
		case "25006":
			return "the database is read-only"
		case "42501":
			return "the database's user may not write"
		case "53100":
			return "the database's disk is full"
		case "53300":
			return "the database has too many connections"
		case "57P03":
			return "the database is starting or stopping"
		}
	}
	switch {
	case errors.Is(err, errMoved):
		return "the ledger's files were deleted, moved or replaced"
	case errors.Is(err, errDamaged):
		return "the ledger's file is damaged"
	case errors.Is(err, errLeaseLost):
		return "the lease on the database was lost"
	case errors.Is(err, errReadOnly):
		return "the database is read-only"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "the ledger's disk or database does not answer"
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return "the database cannot be reached"
	}
	return "the ledger cannot be written"
}
