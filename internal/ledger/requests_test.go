package ledger

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func testRequests(t *testing.T, database string) {
	l := open(t, database)
	type begun struct {
		answer   string
		repeated bool
	}
	begin := func(id, request, answer string, action error) (b begun, err error) {
		err = l.Update(t.Context(), func(tx *Tx) (err error) {
			if b.answer, b.repeated, err = tx.BeginRequest(id, request); err != nil || b.repeated {
				return err
			}
			return errors.Join(tx.AnswerRequest(id, answer), action)
		})
		return b, err
	}
	failure := errors.New("the action failed")
	if _, err := begin("key:1", "a", "no", failure); !errors.Is(err, failure) {
		t.Fatalf("%v; want the action's failure", err)
	}
	if b, err := begin("key:1", "a", "yes", nil); err != nil || b.repeated {
		t.Errorf("after a failure: %+v, %v; want it begun", b, err)
	}
	if b, err := begin("key:1", "a", "no", nil); err != nil || b != (begun{"yes", true}) {
		t.Errorf("again: %+v, %v; want the first answer", b, err)
	}
	if _, err := begin("key:1", "b", "no", nil); !errors.Is(err, ErrOtherRequest) {
		t.Errorf("another request: %v; want ErrOtherRequest", err)
	}
	for id, want := range map[string]bool{"key:1": true, "key:2": false} {
		if known, err := l.HasRequest(t.Context(), id); err != nil || known != want {
			t.Errorf("%s begun: %v, %v; want %v", id, known, err, want)
		}
	}
	err := l.Update(t.Context(), func(tx *Tx) error { return tx.AnswerRequest("key:3", "x") })
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("an answer to no request: %v; want ErrNotFound", err)
	}

	// Of many concurrent requests with one key, one is executed.
	done, failed := make(chan begun, 20), make(chan error, 20)
	for range cap(done) {
		go func() {
			b, err := begin("key:many", "a", "done", nil)
			done <- b
			failed <- err
		}()
	}
	first := 0
	for range cap(done) {
		if err := <-failed; err != nil {
			t.Error(err)
		}
		if b := <-done; !b.repeated {
			first++
		} else if b.answer != "done" {
			t.Errorf("a repeat was answered %q", b.answer)
		}
	}
	if first != 1 {
		t.Errorf("%d were done; want one", first)
	}
}

func TestRequestsExpireAfterADay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := open(t, freshSQLite(t))
		begin := func(id string) (repeated bool) {
			mustUpdate(t, l, func(tx *Tx) (err error) { _, repeated, err = tx.BeginRequest(id, "a"); return err })
			return repeated
		}
		begin("key:1")
		time.Sleep(RequestsKept - time.Second)
		if known, err := l.HasRequest(t.Context(), "key:1"); !begin("key:1") || !known || err != nil {
			t.Errorf("forgotten before its time: %v, %v", known, err)
		}
		time.Sleep(2 * time.Second)
		if known, err := l.HasRequest(t.Context(), "key:1"); known || err != nil {
			t.Errorf("after a day: begun %v, %v; want it forgotten", known, err)
		}
		if begin("key:2"); len(names(t, l.reads.DB, `SELECT id FROM requests`)) != 1 {
			t.Error("the request of yesterday is still stored; want it pruned by the next")
		}
		if begin("key:1") {
			t.Error("a key of yesterday counts as a repeat")
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}
