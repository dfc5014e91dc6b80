package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"notepay/internal/ledger/pgtest"
	"notepay/internal/payment"
)

// A transaction whose COMMIT may have been executed must not run again. Only an error of severity ERROR
// comes from a server that goes on, and so has rolled back.
func TestPostgresErrorInPlaceOfTheReplyToCommit(t *testing.T) {
	t.Parallel()
	saying := func(severity, code string) []byte {
		said, err := (&pgproto3.ErrorResponse{
			Severity:            severity,
			SeverityUnlocalized: severity,
			Code:                code,
			Message:             "scripted",
		}).Encode(nil)
		if err != nil {
			t.Error(err)
		}
		return said
	}
	for name, c := range map[string]struct {
		replace func(reply []byte) []byte
		want    error
	}{
		"a server that is terminated after its commit": {func(reply []byte) []byte {
			end := bytes.Index(reply, commitTag) + len(commitTag)
			return append(reply[:end:end], saying("FATAL", "57P01")...)
		}, nil},
		"a pooler that lost its server": {func([]byte) []byte { return saying("FATAL", "08P01") }, errUnknownOutcome},
		"a server that is terminated before it replies": {func([]byte) []byte { return saying("FATAL", "57P01") },
			errUnknownOutcome},
		"a pooler that calls its failure an error": {func([]byte) []byte { return saying("ERROR", "08006") },
			errUnknownOutcome},
		"a pooler without a code for its failure": {func([]byte) []byte { return saying("ERROR", "58000") },
			errUnknownOutcome},
		"a server that panics": {func([]byte) []byte { return saying("PANIC", "23505") }, errUnknownOutcome},
	} {
		for _, mode := range []string{"cache_statement", "exec"} {
			t.Run(name+", "+mode, func(t *testing.T) {
				t.Parallel()
				line := newLine(t, pgtest.Database(t))
				l := open(t, line.url+"?default_query_exec_mode="+mode)
				p, runs := testPayment("one"), 0
				record := func() error {
					return l.Update(t.Context(), func(tx *Tx) error {
						runs++
						if _, err := tx.InsertPayment(p); err != nil {
							return err
						}
						return tx.AddAttempt(p.ID, Attempt{At: noon(), Action: payment.StepPostNote, Outcome: "ok"})
					})
				}
				if err := record(); err != nil { // the statements are prepared
					t.Fatal(err)
				}
				p, runs = testPayment("two"), 0
				line.replaceCommit(c.replace)
				if err := record(); !errors.Is(err, c.want) {
					t.Errorf("got %v; want %v", err, c.want)
				}
				attempts, err := l.Attempts(t.Context(), p.ID)
				if runs != 1 || len(attempts) != 1 || err != nil {
					t.Errorf("it ran %d times and left %d rows, %v; want once", runs, len(attempts), err)
				}
				wantHealed(t, l)
			})
		}
	}
}

// slowCommit delays the reply to the next commit by more than a hurried update has left.
func (l *lineTo) slowCommit() {
	l.replaceCommit(func(reply []byte) []byte { time.Sleep(1500 * time.Millisecond); return reply })
}

// hurried returns a context that ends soon.
func hurried(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	t.Cleanup(cancel)
	return ctx
}

// wantUpdates checks that every update of a slow commit was acknowledged and stored.
func wantUpdates(t *testing.T, l *Ledger, errs []error) {
	t.Helper()
	var want []string
	for n, err := range errs {
		if err != nil {
			t.Errorf("update %d: %v; want that the commit was waited for", n, err)
		}
		want = append(want, fmt.Sprintf("cs_slow_%d", n))
	}
	wantStored(t, l, want)
}

func insertSlow(n int) func(*Tx) error {
	p := testPayment(fmt.Sprintf("slow_%d", n))
	p.DeviceUID = p.SessionID
	return func(tx *Tx) error { return errOnly(tx.InsertPayment(p)) }
}

// A caller in a hurry shares a commit with others. Its deadline must not cut theirs.
func TestPostgresHurriedUpdateInABatch(t *testing.T) {
	t.Parallel()
	line := newLine(t, pgtest.Database(t))
	l := open(t, line.url)
	hold := make(chan struct{})
	go func() { // so that the others wait together
		_ = l.Update(context.Background(), func(*Tx) error { <-hold; return nil })
	}()
	time.Sleep(20 * time.Millisecond)
	errs := make([]error, 4)
	var all sync.WaitGroup
	for n := range errs {
		ctx := t.Context()
		if n == 2 {
			ctx = hurried(t)
		}
		insert := insertSlow(n)
		all.Go(func() {
			errs[n] = l.Update(ctx, func(tx *Tx) error {
				if n == 2 {
					line.slowCommit()
				}
				return insert(tx)
			})
		})
	}
	time.Sleep(100 * time.Millisecond)
	close(hold)
	all.Wait()
	wantUpdates(t, l, errs)
}

// The same while another instance has its turn: updates join the transaction that waits for it.
func TestInstanceHurriedUpdateJoins(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]bool{"the first is in a hurry": true, "the one that joins is": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := pgtest.Database(t)
			line := newLine(t, database)
			other, l := joins(t, database, 0), joins(t, line.url, 0)
			for len(l.Peers()) == 0 {
				time.Sleep(10 * time.Millisecond)
			}
			insert(t, l, testPayment("before")) // everything is prepared
			turn, held := make(chan struct{}), make(chan struct{})
			go func() {
				_ = other.Update(context.Background(), func(tx *Tx) error {
					_, err := tx.Payment(payment.CreditID("cs_before")) // has the turn
					close(held)
					<-turn
					return err
				})
			}()
			<-held
			errs := make([]error, 2)
			var all sync.WaitGroup
			for n := range errs {
				ctx := t.Context()
				if first == (n == 0) {
					ctx = hurried(t)
				}
				insert := insertSlow(n)
				all.Go(func() {
					errs[n] = l.Update(ctx, func(tx *Tx) error {
						if n == 0 {
							line.slowCommit()
						}
						return insert(tx)
					})
				})
				time.Sleep(100 * time.Millisecond)
			}
			close(turn)
			all.Wait()
			if first {
				errs[0] = nil // alone, it waits no longer than it may
			}
			wantUpdates(t, l, errs)
		})
	}
}
