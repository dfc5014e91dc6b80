// Package recording checks that payments can be recorded, and stops sales while they cannot.
//
// Run raises problem.Storage within a few seconds of a failed write, or when an idle ledger stops
// accepting writes. It clears the problem when writes succeed again. It raises problem.DiskFull
// before the disk is full, and problem.LogGrowing when SQLite's log keeps growing.
//
// The package does not know about disk quotas. On systems that do not report the free space it only
// notices failed writes.
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
	"notepay/internal/message"
	"notepay/internal/problem"
)

// Ledger is the part of *ledger.Ledger that the monitor uses.
type Ledger interface {
	// Probe updates a small row.
	Probe(ctx context.Context) error
	// ProbeRoom writes rows that need new space.
	ProbeRoom(ctx context.Context) error
	// LastWrite returns the time of the last successful write.
	LastWrite() time.Time
	// Failures reports writes that failed because of the storage.
	Failures() <-chan ledger.Failure
	// Space returns the space on the disk, or an error if it is unknown.
	Space() (ledger.Space, error)
	// LogSize returns the size of SQLite's log in bytes.
	LogSize() int64
	// ShrinkLog truncates the log, unless a reader uses it.
	ShrinkLog(ctx context.Context)
}

const (
	// checkInterval is how often the monitor reads the free space.
	checkInterval = time.Second
	// idleProbeInterval is how often the monitor probes an idle ledger. Each probe costs a sync of
	// the disk.
	idleProbeInterval = 5 * time.Second
	// failingProbeInterval is how often the monitor probes after a failure.
	failingProbeInterval = 2 * time.Second
	// probeTimeout bounds the wait for a probe. A longer probe counts as failed until its result
	// arrives.
	probeTimeout = 3 * time.Second
	// resultMaxAge is how long Check repeats a result. Anybody may call Check, and each probe costs
	// a sync of the disk.
	resultMaxAge = 2 * time.Second
	// quietTime is how long no write may have failed before a successful probe counts again. It
	// applies after writes failed although the probe succeeded.
	quietTime = 30 * time.Second
	// maxLogSize is the size from which SQLite's log counts as growing. It usually has 32 MiB.
	maxLogSize = 64 << 20
)

// errSlow is the result of a probe that exceeded probeTimeout.
var errSlow = fmt.Errorf("the probe has not ended: %w", context.DeadlineExceeded)

// Monitor checks a ledger. It is safe for concurrent use.
type Monitor struct {
	ledger   Ledger
	problems *problem.Board
	log      *slog.Logger

	mu      sync.Mutex
	under   chan struct{} // closed when the running probe ends; nil if none is running
	roomy   bool          // the running or last probe writes rows that need new space
	at      time.Time     // end of the last probe
	err     error         // result of the last probe
	failing error         // cause of problem.Storage; nil while it is not raised
}

// New returns a monitor. Check works at once. Everything else needs Run.
func New(l Ledger, problems *problem.Board, log *slog.Logger) *Monitor {
	return &Monitor{ledger: l, problems: problems, log: log}
}

// Check returns nil if payments can be recorded. It uses a probe of the last two seconds or starts
// a new one, and waits at most three seconds.
func (m *Monitor) Check(ctx context.Context) error {
	m.mu.Lock()
	failing, recent, err := m.failing, !m.at.IsZero() && time.Since(m.at) <= resultMaxAge, m.err
	m.mu.Unlock()
	if failing != nil || recent {
		return cmp.Or(failing, err)
	}
	return m.probe(ctx, false)
}

// probe starts a probe, or joins a running one that is roomy enough, and returns its result. A
// roomy probe writes rows that need new space.
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

// begin starts a probe unless one is running. enough is false if the running probe is less roomy
// than requested.
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
		err := write(context.WithoutCancel(ctx)) // the ledger has its own timeout
		m.mu.Lock()
		defer m.mu.Unlock()
		m.under, m.at, m.err = nil, time.Now(), err
		close(under)
	}()
	return under, true
}

// watch is the state of Run.
type watch struct {
	probed    time.Time // start of the last probe
	succeeded time.Time // end of the last successful probe
	failed    time.Time // time of the last failed write
	doubt     bool      // a write failed since the last probe began
	repeated  bool      // writes failed although the probe succeeded
	failing   bool      // problem.Storage is raised
	tight     bool      // problem.DiskFull is raised
}

// Run checks the ledger until ctx ends.
func (m *Monitor) Run(ctx context.Context) {
	ignoreSizeLimitSignal()
	var w watch
	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	for {
		m.checkSpace(ctx, &w)
		m.checkLog()
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
		return false // its result would not count
	case w.failing, w.doubt:
		return since >= failingProbeInterval
	}
	return since >= idleProbeInterval && time.Since(m.ledger.LastWrite()) >= idleProbeInterval
}

// writeFailed handles a failed write. The next probe decides whether one failure was an accident.
// If a write fails that began after that probe succeeded, sales stop for a while. The probe does
// not cover everything that a payment needs.
func (m *Monitor) writeFailed(w *watch, f ledger.Failure) {
	contradicted := time.Since(w.failed) < quietTime && w.succeeded.After(w.failed) && f.Began.After(w.succeeded)
	w.failed, w.doubt = time.Now(), true
	if contradicted || w.repeated {
		w.repeated = true
		m.raise(w, f.Err)
	}
}

// try probes the ledger, and raises or clears problem.Storage.
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
	text := message.New("notepay cannot record payments: %s. "+
		"All sales are stopped and resume by themselves when recording works again.", ledger.Cause(err))
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

// checkSpace stops sales before the disk is full.
func (m *Monitor) checkSpace(ctx context.Context, w *watch) {
	space, err := m.ledger.Space()
	if err != nil {
		if !errors.Is(err, errors.ErrUnsupported) {
			m.log.Debug("free space unknown", "err", err)
		}
		return // the last known state stays, and failed writes are noticed anyway
	}
	switch {
	case space.Free < space.Floor(), w.tight && space.Free < space.Enough():
		text := message.New("Only %s are free on the ledger's disk, and sales need %s. "+
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
	// The log alone may fill a small disk. It is truncated only if that frees enough space, because
	// no other program can take the space that the log holds.
	if space.Free < 2*space.Enough() && space.Free+uint64(m.ledger.LogSize()) >= 2*space.Enough() {
		ctx, cancel := context.WithTimeout(ctx, checkInterval)
		defer cancel()
		m.ledger.ShrinkLog(ctx)
	}
}

// checkLog raises a problem if SQLite cannot move the log into the file, because a program keeps
// reading the ledger.
func (m *Monitor) checkLog() {
	size := m.ledger.LogSize()
	if size <= maxLogSize {
		m.problems.Clear(problem.LogGrowing)
		return
	}
	text := message.New("The ledger's log (the file that ends in -wal) has grown to %s, "+
		"because another program keeps the ledger open for reading. End that program before the disk is full.",
		megabytes(uint64(size)))
	if m.problems.Raise(problem.Problem{Code: problem.LogGrowing, Text: text}) {
		m.log.Warn("ledger log growing", "size", size)
	}
}

func megabytes(bytes uint64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }
