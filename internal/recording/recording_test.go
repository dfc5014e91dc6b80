package recording

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/problem"
)

type board = problem.Board

// scripted is a ledger whose results a test sets.
type scripted struct {
	mu           sync.Mutex
	small, roomy error         // results of Probe and ProbeRoom
	hang         chan struct{} // nil if probes return at once
	written      time.Time
	failures     chan ledger.Failure
	space        ledger.Space
	spaceErr     error
	log          int64
	shrunk       int
	probes       int
}

// set changes the script.
func (s *scripted) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *scripted) answer(err *error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.probes++
	result, hang := *err, s.hang
	if hang != nil {
		s.mu.Unlock()
		<-hang
		s.mu.Lock()
	}
	if result == nil {
		s.written = time.Now()
	}
	return result
}

func (s *scripted) Probe(context.Context) error     { return s.answer(&s.small) }
func (s *scripted) ProbeRoom(context.Context) error { return s.answer(&s.roomy) }
func (s *scripted) Failures() <-chan ledger.Failure { return s.failures }

func (s *scripted) LastWrite() (at time.Time) {
	s.set(func() { at = s.written })
	return at
}

func (s *scripted) Space() (space ledger.Space, err error) {
	s.set(func() { space, err = s.space, s.spaceErr })
	return space, err
}

func (s *scripted) LogSize() (size int64) {
	s.set(func() { size = s.log })
	return size
}

func (s *scripted) ShrinkLog(context.Context) { s.set(func() { s.shrunk++ }) }

// watching runs a monitor of a healthy ledger for a minute, and then f.
func watching(t *testing.T, f func(t *testing.T, l *scripted, m *Monitor, board *board)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &scripted{failures: make(chan ledger.Failure, 1), space: ledger.Space{Free: 1 << 30, Total: 1 << 34}}
		board := &board{}
		m := New(l, board, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { m.Run(ctx); close(done) }()
		pass(time.Minute)
		f(t, l, m, board)
		cancel()
		<-done
	})
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// has reports whether a problem is on the board and whether it stops sales.
func has(board *board, code string) (raised, stops bool) {
	for _, p := range board.List() {
		if p.Code == code {
			return true, p.StopsSales
		}
	}
	return false, false
}

func TestMonitorStorage(t *testing.T) {
	t.Parallel()
	full := errors.New("disk I/O error")
	stopped := func(t *testing.T, board *board, want bool, when string) {
		t.Helper()
		if raised, stops := has(board, problem.Storage); raised != want || stops != want {
			t.Errorf("%s: raised %v, stops sales %v; want %v", when, raised, stops, want)
		}
	}
	for name, f := range map[string]func(*testing.T, *scripted, *Monitor, *board){
		"an idle ledger that cannot be written stops sales, which go on by themselves": func(
			t *testing.T, l *scripted, m *Monitor, board *board,
		) {
			stopped(t, board, false, "before")
			l.set(func() { l.small, l.roomy = full, full })
			pass(6 * time.Second)
			stopped(t, board, true, "while nothing can be written")
			if err := m.Check(t.Context()); !errors.Is(err, full) {
				t.Errorf("Check: %v; want %v", err, full)
			}
			l.set(func() { l.small = nil })
			pass(time.Minute)
			stopped(t, board, true, "while there is no new room")
			if err := m.Check(t.Context()); !errors.Is(err, full) {
				t.Errorf("Check while there is no new room: %v; want %v", err, full)
			}
			l.set(func() { l.roomy = nil })
			pass(3 * time.Second)
			stopped(t, board, false, "with room again")
			if err := m.Check(t.Context()); err != nil {
				t.Errorf("Check with room again: %v", err)
			}
		},
		"a failed write stops sales at once if the probe fails, too": func(
			t *testing.T, l *scripted, m *Monitor, board *board,
		) {
			l.set(func() { l.roomy = full })
			l.failures <- ledger.Failure{Err: full, Began: time.Now()}
			pass(failingProbeInterval + checkInterval)
			stopped(t, board, true, "after the first failure")
		},
		"one failed write is an accident": func(t *testing.T, l *scripted, m *Monitor, board *board) {
			l.failures <- ledger.Failure{Err: full, Began: time.Now()}
			pass(time.Second)
			stopped(t, board, false, "after one failure")
			pass(time.Hour)
			l.failures <- ledger.Failure{Err: full, Began: time.Now()}
			pass(time.Second)
			stopped(t, board, false, "after one an hour later")
		},
		"writes that fail although the probe succeeds stop sales for a while": func(
			t *testing.T, l *scripted, m *Monitor, board *board,
		) {
			for range 10 {
				l.failures <- ledger.Failure{Err: full, Began: time.Now()}
				pass(5 * time.Second)
			}
			stopped(t, board, true, "while they fail")
			pass(quietTime)
			stopped(t, board, false, "when none has failed for a while")
		},
		"writes that began before the probe succeeded change nothing": func(
			t *testing.T, l *scripted, m *Monitor, board *board,
		) {
			began := time.Now()
			for range 10 {
				l.failures <- ledger.Failure{Err: full, Began: began}
				pass(5 * time.Second)
				stopped(t, board, false, "while old writes fail")
			}
		},
		"a probe that hangs is a failed one": func(t *testing.T, l *scripted, m *Monitor, board *board) {
			hang := make(chan struct{})
			l.set(func() { l.hang = hang })
			pass(9 * time.Second)
			stopped(t, board, true, "while it hangs")
			began := time.Now()
			if err := m.Check(t.Context()); err == nil || time.Since(began) > probeTimeout {
				t.Errorf("Check: %v after %v; want an error within %v", err, time.Since(began), probeTimeout)
			}
			l.set(func() { l.hang = nil })
			close(hang)
			pass(3 * time.Second)
			stopped(t, board, false, "when it answers again")
		},
		"a busy ledger is not probed": func(t *testing.T, l *scripted, m *Monitor, board *board) {
			probes := func() (n int) {
				l.set(func() { n = l.probes })
				return n
			}
			before := probes()
			for range 60 {
				l.set(func() { l.written = time.Now() })
				pass(time.Second)
			}
			if n := probes() - before; n > 1 {
				t.Errorf("%d probes in a minute; want none", n)
			}
			before = probes()
			pass(time.Minute)
			if n := probes() - before; n < 8 || n > 13 {
				t.Errorf("%d probes in an idle minute; want one in 5 s", n)
			}
		},
		"a small probe that another caller began does not end the stop": func(
			t *testing.T, l *scripted, m *Monitor, board *board,
		) {
			l.set(func() { l.small, l.roomy = full, full })
			pass(6 * time.Second)
			hang := make(chan struct{})
			l.set(func() { l.small, l.hang = nil, hang })
			under, _ := m.begin(t.Context(), false)
			pass(failingProbeInterval + checkInterval/2)
			l.set(func() { l.hang = nil })
			close(hang)
			<-under
			pass(5 * time.Second)
			stopped(t, board, true, "while there is no new room")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			watching(t, f)
		})
	}
}

func TestMonitorSpace(t *testing.T) {
	t.Parallel()
	watching(t, func(t *testing.T, l *scripted, _ *Monitor, board *board) {
		for _, step := range []struct {
			free uint64
			err  error
			want bool
			why  string
		}{
			{17 << 20, nil, false, "above the floor"},
			{15 << 20, nil, true, "below the floor"},
			{1 << 30, errors.New("unreadable"), true, "what was known holds while it cannot be read"},
			{17 << 20, nil, true, "a little more is not enough"},
			{25 << 20, nil, false, "half as much again is"},
			{0, errors.ErrUnsupported, false, "a system that does not tell"},
			{0, nil, true, "nothing at all"},
			{17 << 20, nil, true, "a little more again"},
		} {
			l.set(func() { l.space.Free, l.spaceErr = step.free, step.err })
			pass(2 * time.Second)
			if raised, stops := has(board, problem.DiskFull); raised != step.want || stops != step.want {
				t.Errorf("%s: raised %v, stops sales %v; want %v", step.why, raised, stops, step.want)
			}
		}
		text := board.List()[0].Text.String()
		if !strings.Contains(text, "17.8 MB") || !strings.Contains(text, "25.2 MB") {
			t.Errorf("the problem says %q; want what is free and what is needed", text)
		}
		for size, want := range map[int64]bool{1 << 20: false, 40 << 20: true} {
			l.set(func() { l.log, l.shrunk = size, 0 })
			pass(2 * time.Second)
			l.set(func() {
				if got := l.shrunk > 0; got != want {
					t.Errorf("a log of %d bytes is shrunk: %v; want %v", size, got, want)
				}
			})
		}
	})
}

func TestMonitorLog(t *testing.T) {
	t.Parallel()
	watching(t, func(t *testing.T, l *scripted, _ *Monitor, board *board) {
		for _, step := range []struct {
			size int64
			want bool
		}{{4 << 20, false}, {82e6, true}, {16 << 20, false}} {
			l.set(func() { l.log = step.size })
			pass(2 * time.Second)
			if raised, stops := has(board, problem.LogGrowing); raised != step.want || stops {
				t.Errorf("a log of %d bytes: raised %v, stops sales %v; want %v, and sales go on",
					step.size, raised, stops, step.want)
			}
		}
	})
}
