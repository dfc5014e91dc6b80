package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

func testUpdate(t *testing.T, database string) {
	l := open(t, database)
	errOwn := errors.New("changed my mind")
	err := l.Update(t.Context(), func(tx *Tx) error {
		if err := tx.SetMeta("half", tx.Now); err != nil {
			return err
		}
		if at, err := tx.Meta("half"); err != nil || at.UnixMilli() != tx.Now.UnixMilli() {
			t.Errorf("inside its transaction the change reads %v, %v; want %v", at, err, tx.Now)
		}
		return errOwn
	})
	if err != errOwn {
		t.Errorf("got error %v; want the function's own, %v", err, errOwn)
	}
	wantNoFact(t, l, "half")

	// A rejected statement rolls back the whole update, too.
	err = l.Update(t.Context(), func(tx *Tx) error {
		return errors.Join(tx.SetMeta("half", tx.Now), tx.SaveDevice(Device{UID: "imei:1"}))
	})
	if constraint(err) != "check" {
		t.Errorf("got error %v; want a refusal", err)
	}
	wantNoFact(t, l, "half")
	mustUpdate(t, l, func(tx *Tx) error { return tx.SetMeta("whole", tx.Now) })
}

// A function that goes on after a failed statement changes nothing, and its update fails. The database
// may have ended the transaction. The other updates of the batch are not affected.
func testStatementAfterAFailure(t *testing.T, database string) {
	l := open(t, database)
	hold := make(chan struct{})
	go func() { // so that the others wait together
		_ = l.Update(context.Background(), func(*Tx) error { <-hold; return nil })
	}()
	var all sync.WaitGroup
	for n := range 3 {
		all.Go(func() {
			err := l.Update(t.Context(), func(tx *Tx) error {
				if n != 1 {
					return tx.SetMeta(fmt.Sprint("beside ", n), tx.Now)
				}
				_, _ = tx.exec(`INSERT INTO cursors (name, value) VALUES (NULL, $1)`, "x")
				_ = tx.SetMeta("after a failure", tx.Now)
				if at, err := tx.Meta("after a failure"); err == nil || errors.Is(err, ErrNotFound) {
					t.Errorf("a read after a failure: %v, %v; want the failure", at, err)
				}
				return nil
			})
			if failed := constraint(err) != ""; failed != (n == 1) {
				t.Errorf("update %d: %v", n, err)
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	close(hold)
	all.Wait()
	wantNoFact(t, l, "after a failure")
	for _, n := range []int{0, 2} {
		if _, err := l.Meta(t.Context(), fmt.Sprint("beside ", n)); err != nil {
			t.Error(err)
		}
	}
}

func wantNoFact(t *testing.T, l *Ledger, name string) {
	t.Helper()
	if at, err := l.Meta(t.Context(), name); !errors.Is(err, ErrNotFound) {
		t.Errorf("fact %s reads %v, %v; want none", name, at, err)
	}
}

func testPanic(t *testing.T, database string) {
	l := open(t, database)
	err := l.Update(t.Context(), func(tx *Tx) error {
		if err := tx.SetMeta("half", tx.Now); err != nil {
			return err
		}
		panic("out of range")
	})
	if err == nil || !strings.Contains(err.Error(), "out of range") {
		t.Errorf("got error %v; want the panic's words", err)
	}
	wantNoFact(t, l, "half")
	mustUpdate(t, l, func(tx *Tx) error { return tx.SetMeta("afterwards", tx.Now) })
}

func testContext(t *testing.T, database string) {
	l := open(t, database)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 { // repeated, because a random choice would fail only sometimes
		ran := false
		err := l.Update(over, func(*Tx) error {
			ran = true
			return nil
		})
		if ran || err != context.Canceled {
			t.Fatalf("with a context that has ended: ran %v, error %v; want not run, %v", ran, err, context.Canceled)
		}
	}

	during, cancel := context.WithCancel(t.Context())
	err := l.Update(during, func(tx *Tx) error {
		cancel()
		return tx.SetMeta("finished", tx.Now)
	})
	if err != nil {
		t.Errorf("with a context that ends during the transaction: got error %v; want nil", err)
	}
	if _, err := l.Meta(t.Context(), "finished"); err != nil {
		t.Errorf("its change: %v", err)
	}
}

func testUpdatesAtOnce(t *testing.T, database string) {
	l := open(t, database)
	const writers = 64
	shared := testPayment("shared")
	insert(t, l, shared)
	var all sync.WaitGroup
	for n := range writers {
		all.Go(func() {
			err := l.Update(t.Context(), func(tx *Tx) error {
				p, err := tx.Payment(shared.ID)
				if err != nil {
					return err
				}
				p.FencingToken++
				_, err = tx.InsertPayment(testPayment(fmt.Sprint("own_", n)))
				return errors.Join(err, tx.SavePayment(p))
			})
			if err != nil {
				t.Errorf("writer %d: %v", n, err)
			}
		})
	}
	all.Wait()
	if p, err := l.Payment(t.Context(), shared.ID); err != nil || p.FencingToken != writers {
		t.Errorf("the row that all have counted up reads %d, %v; want %d", p.FencingToken, err, writers)
	}
	if list, _, err := l.Payments(t.Context(), Filter{Limit: 2 * writers}); err != nil || len(list) != writers+1 {
		t.Errorf("got %d payments, %v; want %d", len(list), err, writers+1)
	}
}

func testCloseUnderLoad(t *testing.T, database string) {
	l := open(t, database)
	const writers, atLeast = 16, 100
	var mu sync.Mutex
	var acknowledged []string
	enough := make(chan struct{})
	acknowledge := func(session string) {
		mu.Lock()
		defer mu.Unlock()
		acknowledged = append(acknowledged, session)
		if len(acknowledged) == atLeast {
			close(enough)
		}
	}
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for n := 0; ; n++ {
				p := testPayment(fmt.Sprintf("%d_%d", w, n))
				err := l.Update(t.Context(), func(tx *Tx) error {
					_, err := tx.InsertPayment(p)
					return err
				})
				if err != nil {
					if !errors.Is(err, ErrClosed) {
						t.Errorf("update: got %v; want nil or %v", err, ErrClosed)
					}
					return
				}
				acknowledge(p.SessionID)
			}
		})
	}
	<-enough
	closeLedger(t, l)
	all.Wait()
	if err := l.Update(t.Context(), func(*Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: got %v; want %v", err, ErrClosed)
	}
	wantStored(t, open(t, database), acknowledged)
}

func testCloseWaits(t *testing.T, database string) {
	l := open(t, database)
	begun, finish := make(chan struct{}), make(chan struct{})
	result := make(chan error, 1)
	go func() {
		result <- l.Update(t.Context(), func(tx *Tx) error {
			close(begun)
			<-finish
			return tx.SetMeta("under_way", tx.Now)
		})
	}()
	<-begun
	go close(finish)
	closeLedger(t, l)
	if err := <-result; err != nil {
		t.Errorf("the update that was under way: %v", err)
	}
	if _, err := open(t, database).Meta(t.Context(), "under_way"); err != nil {
		t.Errorf("its change: %v", err)
	}
}

func testLock(t *testing.T, database string) {
	l := open(t, database)
	if l.Shared() { // instances share the ledger
		return
	}
	if second, err := Open(t.Context(), database); !errors.Is(err, ErrLocked) {
		if err == nil {
			_ = second.Close()
		}
		t.Errorf("the second Open: got %v; want %v", err, ErrLocked)
	}
	mustUpdate(t, l, func(tx *Tx) error { return tx.SetMeta("still_works", tx.Now) })
	closeLedger(t, l)
	open(t, database)
}
