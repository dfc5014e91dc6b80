package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// queue runs updates that are certain to wait together. A first update blocks the writer until all
// others are in line.
type queue struct {
	*Ledger
	t       *testing.T
	path    string
	release chan struct{}
	results []chan error
}

// inQueue runs a test in a bubble, where synctest.Wait returns only when every goroutine waits.
func inQueue(t *testing.T, test func(t *testing.T, q *queue)) {
	t.Parallel()
	path := freshSQLite(t)
	synctest.Test(t, func(t *testing.T) {
		q := &queue{Ledger: open(t, path), t: t, path: path, release: make(chan struct{})}
		q.add(t.Context(), func(*Tx) error {
			<-q.release
			return nil
		})
		test(t, q)
	})
}

// add starts an update behind the waiting ones.
func (q *queue) add(ctx context.Context, fn func(*Tx) error) (n int) {
	result := make(chan error, 1)
	go func() { result <- q.Update(ctx, fn) }()
	synctest.Wait()
	q.results = append(q.results, result)
	return len(q.results) - 1
}

// errors unblocks the writer and returns the result of each update.
func (q *queue) errors() (list []error) {
	close(q.release)
	for _, result := range q.results {
		list = append(list, <-result)
	}
	return list
}

// commits counts the commits in SQLite's log: the frames that hold the size of the database
// (sqlite.org/fileformat2.html, 4.1 and 4.2).
func (q *queue) commits() (n int) {
	q.t.Helper()
	const header, frameHeader, pageSize = 32, 24, 4096
	log, err := os.ReadFile(q.path + "-wal")
	if err != nil {
		q.t.Fatal(err)
	}
	if got := binary.BigEndian.Uint32(log[8:]); got != pageSize {
		q.t.Fatalf("pages of %d bytes; want %d", got, pageSize)
	}
	for frame := header; frame+frameHeader+pageSize <= len(log); frame += frameHeader + pageSize {
		if binary.BigEndian.Uint32(log[frame+4:]) != 0 {
			n++
		}
	}
	return n
}

func TestWaitingUpdatesShareACommit(t *testing.T) {
	t.Parallel()
	for waiting, commits := range map[int]int{1: 1, 64: 1, maxBatch: 1, maxBatch + 1: 2} {
		t.Run(fmt.Sprint(waiting), func(t *testing.T) {
			inQueue(t, func(t *testing.T, q *queue) {
				before := q.commits()
				for n := range waiting {
					q.add(t.Context(), func(tx *Tx) error { return tx.SetMeta(fmt.Sprint(n), tx.Now) })
				}
				if err := errors.Join(q.errors()...); err != nil {
					t.Fatal(err)
				}
				if got := q.commits() - before; got != commits {
					t.Errorf("%d updates made %d commits; want %d", waiting, got, commits)
				}
				var want []string
				for n := range waiting {
					want = append(want, fmt.Sprint(n))
				}
				slices.Sort(want)
				wantNames(t, q.Ledger, "facts", `SELECT name FROM facts WHERE name <> 'born'`, want)
			})
		})
	}
}

func TestFailedUpdateAffectsNoOther(t *testing.T) {
	t.Parallel()
	errOwn := errors.New("changed my mind")
	for name, c := range map[string]struct {
		fail func() error
		is   func(error) bool
	}{
		"an error": {func() error { return errOwn }, func(err error) bool { return err == errOwn }},
		"a panic":  {func() error { panic("out of range") }, func(err error) bool { return err != nil }},
	} {
		t.Run(name, func(t *testing.T) {
			inQueue(t, func(t *testing.T, q *queue) {
				runs := make([]int, 3)
				for n := range runs {
					q.add(t.Context(), func(tx *Tx) error {
						runs[n]++
						if err := tx.SetMeta(fmt.Sprint(n), tx.Now); err != nil {
							return err
						}
						if n == 1 {
							return c.fail()
						}
						return nil
					})
				}
				results := q.errors()[1:]
				if results[0] != nil || !c.is(results[1]) || results[2] != nil {
					t.Errorf("results %v; want the second alone to have failed", results)
				}
				// The first two updates run together and then each alone. The third runs only after
				// that.
				if want := []int{2, 2, 1}; !slices.Equal(runs, want) {
					t.Errorf("runs %v; want %v", runs, want)
				}
				for n, name := range []string{"0", "1", "2"} {
					_, err := q.Meta(t.Context(), name)
					if kept, err := Found(err); err != nil || kept != (n != 1) {
						t.Errorf("the change of update %d is kept: %v, %v; want %v", n, kept, err, n != 1)
					}
				}
			})
		})
	}
}

func TestCanceledUpdateIsNotRun(t *testing.T) {
	inQueue(t, func(t *testing.T, q *queue) {
		ctx, cancel := context.WithCancel(t.Context())
		ran := false
		n := q.add(ctx, func(*Tx) error {
			ran = true
			return nil
		})
		cancel()
		synctest.Wait()
		select {
		case err := <-q.results[n]:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v; want %v", err, context.Canceled)
			}
			q.results[n] <- err
		default:
			t.Error("it waits on although its context has ended")
			q.results[n] <- nil
		}
		q.errors()
		if ran {
			t.Error("it was run after its context had ended")
		}
	})
}

func TestCloseFinishesTheRunningUpdate(t *testing.T) {
	inQueue(t, func(t *testing.T, q *queue) {
		q.add(t.Context(), func(*Tx) error { return nil })
		closed := make(chan error, 1)
		go func() { closed <- q.Close() }()
		synctest.Wait()
		select {
		case err := <-closed:
			t.Errorf("Close returned %v while an update was under way", err)
		default:
		}
		late := q.add(t.Context(), func(*Tx) error { return nil })
		results := q.errors()
		if results[0] != nil {
			t.Errorf("the one under way: got %v; want nil", results[0])
		}
		for _, n := range []int{1, late} {
			if results[n] != ErrClosed {
				t.Errorf("update %d: got %v; want %v", n, results[n], ErrClosed)
			}
		}
		if err := <-closed; err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// TestPatientUpdateWaitsForAnother checks that a patient update shares the commit of the next one,
// and that it waits no longer than MaxPatience.
func TestPatientUpdateWaitsForAnother(t *testing.T) {
	t.Parallel()
	const soon = MaxPatience / 2
	for name, c := range map[string]struct {
		next    func(*queue) error // after half of the time; nil for nothing
		took    time.Duration
		commits int
	}{
		"nothing else happens": {nil, MaxPatience, 1},
		"another patient one": {
			func(q *queue) error { return q.UpdatePatiently(q.t.Context(), setMeta("b")) }, MaxPatience, 1},
		"an update whose caller cannot wait": {
			func(q *queue) error { return q.Update(q.t.Context(), setMeta("b")) }, soon, 1},
		// The second commit records that the ledger was closed.
		"the ledger closes": {func(q *queue) error { q.writer.stop(); return nil }, soon, 2},
	} {
		t.Run(name, func(t *testing.T) {
			inQueue(t, func(t *testing.T, q *queue) {
				close(q.release)
				synctest.Wait()
				before, began := q.commits(), time.Now()
				result := make(chan error, 2)
				go func() { result <- q.UpdatePatiently(t.Context(), setMeta("a")) }()
				time.Sleep(soon)
				synctest.Wait()
				if len(result) != 0 {
					t.Fatal("it did not wait")
				}
				if c.next != nil {
					go func() { result <- c.next(q) }()
				} else {
					result <- nil
				}
				if err := errors.Join(<-result, <-result); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took != c.took {
					t.Errorf("it took %v; want %v", took, c.took)
				}
				if got := q.commits() - before; got != c.commits {
					t.Errorf("%d commits; want %d", got, c.commits)
				}
				if _, err := q.Meta(t.Context(), "a"); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func setMeta(name string) func(*Tx) error {
	return func(tx *Tx) error { return tx.SetMeta(name, tx.Now) }
}
