package revenue

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
)

const (
	// interval is how often the sums are brought up to date.
	interval = 5 * time.Minute
	// firstWait is the wait after the start, whose first calls matter more.
	firstWait = 20 * time.Second
	// auditInterval is how often payments are searched for movements that are missing, and the last days
	// are summed up again.
	auditInterval = 24 * time.Hour
	// auditDays is how many days back. A clock that was wrong may have dated a payment back.
	auditDays = 7
	// maxIdle is how long nothing is written while nothing happens.
	maxIdle = 24 * time.Hour
	// maxStale is how many marked hours one pass takes into account.
	maxStale = 1000
)

const (
	dayLayout   = "2006-01-02"
	monthLayout = "2006-01"
)

// Roller keeps the sums up to date. One instance runs it.
type Roller struct {
	Ledger *ledger.Ledger
	Zone   *time.Location
	Log    *slog.Logger
}

// Run keeps the sums up to date until ctx ends.
func (r *Roller) Run(ctx context.Context) {
	var audited time.Time
	for wait := firstWait; ; wait = interval {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		var err error
		if now := r.Ledger.Now(); now.Sub(audited) >= auditInterval {
			if err = r.Audit(ctx); err == nil {
				audited = now
			}
		}
		if err = errors.Join(err, r.Pass(ctx)); err != nil && ctx.Err() == nil {
			r.Log.Warn("revenue not summed up", "err", err)
		}
	}
}

// Audit adds missing movements, and has the last days summed up again.
func (r *Roller) Audit(ctx context.Context) error {
	for n := int64(1); n > 0; {
		var err error
		if n, err = r.Ledger.RestoreMovements(ctx, n); err != nil {
			return fmt.Errorf("restore movements: %w", err)
		}
	}
	state, err := r.Ledger.SumState(ctx)
	if err != nil || state.Through.IsZero() {
		return err
	}
	return r.Ledger.Update(ctx, func(tx *ledger.Tx) error {
		for day := range auditDays {
			if err := tx.MarkHour(state.Through.Add(-time.Duration(day) * 24 * time.Hour)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Pass brings the sums up to date: it sums up the days with marked hours again, and then all that was
// recorded since the last pass. Each day is a step of its own, so a pass that is stopped goes on where
// it was.
func (r *Roller) Pass(ctx context.Context) error {
	state, err := r.Ledger.SumState(ctx)
	if err != nil {
		return err
	}
	if zone := zoneID(r.Zone); state.Zone != zone || state.Through.IsZero() {
		if state, err = r.begin(ctx, state, zone); err != nil {
			return err
		}
	}
	stale, err := r.Ledger.StaleHours(ctx, maxStale)
	if err != nil {
		return err
	}
	marked := map[time.Time][]ledger.StaleHour{} // by the day that is summed up last
	days := map[time.Time]bool{}
	for _, h := range stale {
		first, last := dayOf(h.Start(), r.Zone), dayOf(h.Start().Add(time.Hour-1), r.Zone)
		days[first], days[last] = true, true
		marked[last] = append(marked[last], h)
	}
	until := r.Ledger.Now().Add(-ledger.SumDelay).Truncate(time.Millisecond)
	idle := len(stale) == 0 && until.Sub(state.Through) < maxIdle
	if idle {
		recent, err := sumUp(ctx, r.Ledger, state.Through, until, r.Zone, 1)
		if err != nil || len(recent) == 0 {
			return err // nothing to write
		}
	}
	for day := dayOf(state.Through, r.Zone); day.Before(until); day = nextDay(day) {
		days[day] = true
	}
	order := make([]time.Time, 0, len(days))
	for day := range days {
		order = append(order, day)
	}
	slices.SortFunc(order, time.Time.Compare)
	for _, day := range order {
		if !day.Before(until) { // of a clock that was ahead; it is summed up when it comes
			continue
		}
		if state, err = r.step(ctx, state, day, until, marked[day]); err != nil {
			return fmt.Errorf("sum up %s: %w", day.Format(dayLayout), err)
		}
	}
	return nil
}

// begin drops all sums.
func (r *Roller) begin(ctx context.Context, state ledger.SumState, zone string) (ledger.SumState, error) {
	through, err := r.Ledger.FirstPayment(ctx)
	if errors.Is(err, ledger.ErrNotFound) {
		through, err = r.Ledger.Now().Add(-ledger.SumDelay), nil
	}
	if err != nil {
		return state, err
	}
	to := ledger.SumState{Zone: zone, Through: dayOf(through, r.Zone)}
	return r.take(ctx, ledger.SumStep{From: state, To: to})
}

// errOvertaken is returned when another instance took a step.
var errOvertaken = errors.New("another instance sums up, too")

func (r *Roller) take(ctx context.Context, s ledger.SumStep) (ledger.SumState, error) {
	taken, err := r.Ledger.TakeSumStep(ctx, s)
	if err == nil && !taken {
		err = errOvertaken
	}
	if err != nil {
		return s.From, err
	}
	return r.Ledger.SumState(ctx)
}

// step sums up a day until a time. What is read here is outside of any transaction, so no webhook waits
// for it. What changes meanwhile marks its hour, and the mark stays.
func (r *Roller) step(
	ctx context.Context, state ledger.SumState, day, until time.Time, stale []ledger.StaleHour,
) (ledger.SumState, error) {
	end := nextDay(day)
	to := end
	if to.After(until) {
		to = until
	}
	sums, err := sumUp(ctx, r.Ledger, day, to, r.Zone, math.MaxInt32)
	if err != nil {
		return state, err
	}
	s := ledger.SumStep{From: state, To: state, Day: day.Format(dayLayout), DayRows: sums.rows(), Stale: stale}
	if to.After(state.Through) {
		s.To.Through = to
	}
	nextMonth := time.Date(day.Year(), day.Month()+1, 1, 0, 0, 0, 0, r.Zone)
	if !s.To.Through.Before(nextMonth) {
		s.Month = day.Format(monthLayout)
		others, err := r.Ledger.DaySums(ctx, s.Month)
		if err != nil {
			return state, err
		}
		for _, row := range others {
			if row.Start != s.Day {
				sums.add(row)
			}
		}
		s.MonthRows = sums.rows()
	}
	return r.take(ctx, s)
}

// sumUp sums up a time, but not more than limit payments.
func sumUp(ctx context.Context, l *ledger.Ledger, from, to time.Time, zone *time.Location, limit int) (table, error) {
	sums := table{}
	err := l.CreditsToSum(ctx, from, to, limit, func(p payment.Payment) { sums.credit(p, zone) })
	if err != nil {
		return nil, err
	}
	return sums, l.MovementsToSum(ctx, from, to, limit, func(m ledger.Movement) { sums.movement(m, zone) })
}

// dayOf returns the start of a time's day.
func dayOf(t time.Time, zone *time.Location) time.Time {
	year, month, day := t.In(zone).Date()
	return time.Date(year, month, day, 0, 0, 0, 0, zone)
}

func nextDay(day time.Time) time.Time {
	return time.Date(day.Year(), day.Month(), day.Day()+1, 0, 0, 0, 0, day.Location())
}

// zoneID identifies the days of a time zone. A zone of the same name may have other rules after an
// update of the system.
func zoneID(zone *time.Location) string {
	sum := fnv.New64a()
	for month := range 12 * 30 {
		_, offset := time.Date(2020, time.Month(1+month), 1, 0, 0, 0, 0, time.UTC).In(zone).Zone()
		_, _ = sum.Write([]byte(strconv.Itoa(offset) + " ")) // never fails
	}
	return strconv.FormatUint(sum.Sum64(), 36)
}
