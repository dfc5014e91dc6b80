// Package recording watches whether payments can be recorded, and stops sales while they cannot.
//
// Run raises problem.Storage within a few seconds of a failed write, or of the moment when an idle
// ledger can be written no more, and clears it when writes succeed again. It raises
// problem.DiskFull before the disk is full, and problem.LogGrowing when SQLite's log keeps growing.
// The package cannot see quotas, and on systems that do not tell the free space it only sees that
// writes fail.
package recording

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/problem"
)

// Ledger is what the monitor asks of the ledger. *ledger.Ledger implements it.
type Ledger interface {
	// Probe writes a small row.
	Probe(ctx context.Context) error
	// ProbeRoom writes rows that need new room.
	ProbeRoom(ctx context.Context) error
	// LastWrite returns when a write last succeeded.
	LastWrite() time.Time
	// Failures reports writes that failed because of the storage.
	Failures() <-chan ledger.Failure
	// Space returns the room on the disk, or an error where that is not known.
	Space() (ledger.Space, error)
	// LogSize returns the size of SQLite's log in bytes.
	LogSize() int64
	// ShrinkLog makes the log empty, if no reader uses it.
	ShrinkLog(ctx context.Context)
}

const (
	// lookInterval is how often the free space is read.
	lookInterval = time.Second
	// idleProbeInterval is how often a row is written where nothing else is. Each costs a sync of
	// the disk.
	idleProbeInterval = 5 * time.Second
	// failingProbeInterval is how often it is tried whether writes succeed again.
	failingProbeInterval = 2 * time.Second
	// probeTimeout bounds the wait for a probe. A probe that takes longer counts as failed, and its
	// result counts when it comes.
	probeTimeout = 3 * time.Second
	// checkHolds is how long Check repeats a result: anybody may ask, and each probe costs a sync
	// of the disk.
	checkHolds = 2 * time.Second
	// quietTime is how long no write may have failed before a success of the probe counts, if
	// writes failed although the probe succeeded.
	quietTime = 30 * time.Second
	// maxLogSize is how large SQLite's log may grow; usually it has 4 MiB.
	maxLogSize = 64 << 20
)

// errSlow is the result of a probe that has not ended.
var errSlow = fmt.Errorf("the probe has not ended: %w", context.DeadlineExceeded)

// Monitor watches a ledger. It is safe for concurrent use.
type Monitor struct {
	ledger   Ledger
	problems *problem.Board
	log      *slog.Logger

	mu      sync.Mutex
	under   chan struct{} // closed when the probe under way ends; nil: none is
	roomy   bool          // the probe under way, or else the last, needs new room
	at      time.Time     // when the last probe ended
	err     error         // its result
	failing error         // why problem.Storage is raised; nil: it is not
}

// New makes a monitor. Check works at once, the rest once Run does.
func New(l Ledger, problems *problem.Board, log *slog.Logger) *Monitor {
	return &Monitor{ledger: l, problems: problems, log: log}
}

// Check reports whether payments can be recorded, from a probe of the last two seconds or by a new
// one. It waits at most three seconds.
func (m *Monitor) Check(ctx context.Context) error {
	m.mu.Lock()
	failing, recent, err := m.failing, !m.at.IsZero() && time.Since(m.at) <= checkHolds, m.err
	m.mu.Unlock()
	if failing != nil || recent {
		return cmp.Or(failing, err)
	}
	return m.probe(ctx, false)
}

// probe writes, roomy or not, and waits for the result, or for that of a probe under way that will
// do.
func (m *Monitor) probe(ctx context.Context, roomy bool) error {
	timeout := time.NewTimer(probeTimeout)
	defer timeout.Stop()
	for {
		under, enough := m.begin(ctx, roomy)
		select {
		case <-under:
		case <-timeout.C:
			return errSlow
		case <-ctx.Done():
			return ctx.Err()
		}
		if enough {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.err
		}
	}
}

// begin begins a probe, unless one is under way. enough is false if that one is less roomy than
// wanted.
func (m *Monitor) begin(ctx context.Context, roomy bool) (under chan struct{}, enough bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.under != nil {
		return m.under, m.roomy || !roomy
	}
	write := m.ledger.Probe
	if roomy {
		write = m.ledger.ProbeRoom
	}
	under = make(chan struct{})
	m.under, m.roomy = under, roomy
	go func() {
		err := write(context.WithoutCancel(ctx)) // the ledger limits it
		m.mu.Lock()
		defer m.mu.Unlock()
		m.under, m.at, m.err = nil, time.Now(), err
		close(under)
	}()
	return under, true
}

// watch is what Run remembers.
type watch struct {
	probed    time.Time // when the last probe began
	succeeded time.Time // when a probe last succeeded
	failed    time.Time // when a write last failed
	doubt     bool      // a write failed since the last probe began
	repeated  bool      // writes failed although the probe succeeded
	failing   bool      // problem.Storage is raised
	tight     bool      // problem.DiskFull is raised
}

// Run watches until ctx ends.
func (m *Monitor) Run(ctx context.Context) {
	limitIsAnError()
	var w watch
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for {
		m.lookAtSpace(ctx, &w)
		m.lookAtLog()
		if m.due(&w) {
			m.try(ctx, &w)
		}
		select {
		case <-ctx.Done():
			return
		case f := <-m.ledger.Failures():
			m.writeFailed(&w, f)
		case <-tick.C:
		}
	}
}

// due reports whether it is time for a probe.
func (m *Monitor) due(w *watch) bool {
	since := time.Since(w.probed)
	switch {
	case w.repeated && time.Since(w.failed) < quietTime:
		return false // the result would not count
	case w.failing, w.doubt:
		return since >= failingProbeInterval
	}
	return since >= idleProbeInterval && time.Since(m.ledger.LastWrite()) >= idleProbeInterval
}

// writeFailed takes a failed write into account. One may be an accident, and the probe that follows
// decides. If another fails that began after that probe had succeeded, sales stop for a while,
// because the probe is not the same as a payment.
func (m *Monitor) writeFailed(w *watch, f ledger.Failure) {
	contradicted := time.Since(w.failed) < quietTime && w.succeeded.After(w.failed) && f.Began.After(w.succeeded)
	w.failed, w.doubt = time.Now(), true
	if contradicted || w.repeated {
		w.repeated = true
		m.raise(w, f.Err)
	}
}

// try probes, and raises or clears the problem.
func (m *Monitor) try(ctx context.Context, w *watch) {
	w.probed, w.doubt = time.Now(), false
	err := m.probe(ctx, w.failing || time.Since(w.failed) < quietTime)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		w.failed = time.Now()
		m.raise(w, err)
	case w.failing:
		w.failing, w.repeated, w.failed = false, false, time.Time{}
		m.setFailing(nil)
		m.problems.Clear(problem.Storage)
		m.log.Info("payments recorded again")
		fallthrough
	default:
		w.succeeded = time.Now()
	}
}

func (m *Monitor) raise(w *watch, err error) {
	text := "notepay cannot record payments: " + ledger.Cause(err) +
		". All sales are stopped and resume by themselves when recording works again."
	m.problems.Raise(problem.Problem{Code: problem.Storage, Text: text, StopsSales: true})
	if !w.failing {
		m.log.Error("payments not recorded", "err", err)
	}
	w.failing = true
	m.setFailing(err)
}

func (m *Monitor) setFailing(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failing = err
}

// lookAtSpace stops sales before the disk is full.
func (m *Monitor) lookAtSpace(ctx context.Context, w *watch) {
	space, err := m.ledger.Space()
	if err != nil {
		if !errors.Is(err, errors.ErrUnsupported) {
			m.log.Debug("free space unknown", "err", err)
		}
		return // what was known before holds, and writes that fail are noticed anyway
	}
	switch {
	case space.Free < space.Floor(), w.tight && space.Free < space.Enough():
		text := fmt.Sprintf("Only %s are free on the ledger's disk, and sales need %s. "+
			"All sales are stopped until there is space. Free some, or enlarge the disk.",
			megabytes(space.Free), megabytes(space.Enough()))
		if m.problems.Raise(problem.Problem{Code: problem.DiskFull, Text: text, StopsSales: true}) {
			m.log.Error("disk nearly full", "free", space.Free, "needed", space.Enough())
		}
		w.tight = true
	case w.tight:
		w.tight = false
		m.problems.Clear(problem.DiskFull)
		m.log.Info("disk space sufficient again", "free", space.Free)
	}
	// A small disk may be filled by the log alone. The log is given up only if that brings enough
	// room: on a full disk it is room that no other program can take.
	if log := uint64(m.ledger.LogSize()); space.Free < 2*space.Enough() && space.Free+log >= 2*space.Enough() {
		ctx, cancel := context.WithTimeout(ctx, lookInterval)
		defer cancel()
		m.ledger.ShrinkLog(ctx)
	}
}

// lookAtLog notices a log that SQLite cannot move into the file, because a program keeps reading
// the ledger.
func (m *Monitor) lookAtLog() {
	size := m.ledger.LogSize()
	if size <= maxLogSize {
		m.problems.Clear(problem.LogGrowing)
		return
	}
	text := fmt.Sprintf("The ledger's log (the file that ends in -wal) has grown to %s, "+
		"because another program keeps the ledger open for reading. End that program before the disk is full.",
		megabytes(uint64(size)))
	if m.problems.Raise(problem.Problem{Code: problem.LogGrowing, Text: text}) {
		m.log.Warn("ledger log growing", "size", size)
	}
}

func megabytes(bytes uint64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }
