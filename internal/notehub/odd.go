package notehub

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"notepay/internal/problem"
)

// OddRecords names the records that cannot be read on the problem board, and logs and counts each
// of them once. A nil *OddRecords drops everything, and all methods are safe for concurrent use.
type OddRecords struct {
	board   *problem.Board
	log     *slog.Logger
	counted func()

	mu     sync.Mutex
	added  map[string][]addedRecord // by source
	logged map[string]bool
}

type addedRecord struct {
	name string
	ends time.Time // when it leaves the board
}

const (
	oddHolds  = time.Hour // how long a record stays on the board whose list is not read as a whole again
	maxAdded  = 100       // records of one source that are on the board for so long
	maxLogged = 10_000    // names remembered; beyond them records are logged again
)

// NewOddRecords returns a collection that is empty. It calls counted for each record that it had
// not seen.
func NewOddRecords(board *problem.Board, log *slog.Logger, counted func()) *OddRecords {
	return &OddRecords{
		board:   board,
		log:     log,
		counted: counted,
		added:   map[string][]addedRecord{},
		logged:  map[string]bool{},
	}
}

// Set replaces the odd records of a list that was read completely. No records means that all of it
// could be read.
func (o *OddRecords) Set(source string, records ...Odd) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	names, _ := o.note(source, records)
	delete(o.added, source)
	o.board.Odd(source, names...)
	o.expire()
}

// Add adds odd records of a list that is not read as a whole, such as events. They stay on the
// board for an hour. It reports whether one of them is new.
func (o *OddRecords) Add(source string, records ...Odd) (isNew bool) {
	if o == nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	names, isNew := o.note(source, records)
	for _, name := range names {
		known := slices.ContainsFunc(o.added[source], func(r addedRecord) bool { return r.name == name })
		if !known && len(o.added[source]) < maxAdded {
			o.added[source] = append(o.added[source], addedRecord{name, time.Now().Add(oddHolds)})
		}
	}
	o.expire()
	return isNew
}

// note logs and counts the records that are new, and returns the names of all. The caller holds the
// lock.
func (o *OddRecords) note(source string, records []Odd) (names []string, isNew bool) {
	for _, r := range records {
		names = append(names, r.String())
		key := source + ": " + r.String()
		if o.logged[key] {
			continue
		}
		if len(o.logged) >= maxLogged {
			clear(o.logged)
		}
		o.logged[key] = true
		o.log.Warn("odd record", "source", source, "record", r.ID, "field", r.Field)
		o.counted()
		isNew = true
	}
	return names, isNew
}

// expire takes the added records off the board whose time is over, and shows the others. The caller
// holds the lock.
func (o *OddRecords) expire() {
	now := time.Now()
	for source, records := range o.added {
		records = slices.DeleteFunc(records, func(r addedRecord) bool { return now.After(r.ends) })
		var names []string
		for _, r := range records {
			names = append(names, r.name)
		}
		o.board.Odd(source, names...)
		if o.added[source] = records; len(records) == 0 {
			delete(o.added, source)
		}
	}
}
