package notehub

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"notepay/internal/problem"
	"notepay/internal/upstream"
)

// oddRecord is a record, or a field of a record, that could not be decoded.
type oddRecord struct {
	id    string // the record's own id, or its place in the list
	field string // "" for the whole record
}

// String returns the record and its field, for the operator.
func (o oddRecord) String() string {
	if o.field == "" {
		return o.id
	}
	return o.id + " (" + o.field + ")"
}

// displayID returns the id of a record for the log or the problem board. It is from outside, so it
// is put on one line and cut.
func displayID(id string) string {
	const maxRunes = 64
	r := []rune(upstream.Excerpt([]byte(id)))
	if len(r) > maxRunes {
		return string(r[:maxRunes]) + "..."
	}
	return string(r)
}

// place returns the name of a record without an id: its place in its list, from 1.
func place(index int) string { return fmt.Sprintf("record %d", index+1) }

// OddRecords shows the records that cannot be decoded on the problem board, and logs and counts
// each of them once. A nil *OddRecords drops everything. All methods are safe for concurrent use.
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
	addedTTL  = time.Hour // how long an added record stays on the board
	maxAdded  = 100       // added records of one source
	maxLogged = 10_000    // remembered names, after which all are forgotten and may be logged again
)

// NewOddRecords returns an empty collection. It calls counted for each new record.
func NewOddRecords(board *problem.Board, log *slog.Logger, counted func()) *OddRecords {
	return &OddRecords{
		board:   board,
		log:     log,
		counted: counted,
		added:   map[string][]addedRecord{},
		logged:  map[string]bool{},
	}
}

// set replaces the odd records of a list that was read completely. With no records the whole list
// could be decoded.
func (o *OddRecords) set(source string, records ...oddRecord) {
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

// add adds odd records of a list that is never read as a whole, such as events. They stay on the
// board for an hour. add reports whether one of them is new.
func (o *OddRecords) add(source string, records ...oddRecord) (isNew bool) {
	if o == nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	names, isNew := o.note(source, records)
	for _, name := range names {
		known := slices.ContainsFunc(o.added[source], func(r addedRecord) bool { return r.name == name })
		if !known && len(o.added[source]) < maxAdded {
			o.added[source] = append(o.added[source], addedRecord{name, time.Now().Add(addedTTL)})
		}
	}
	o.expire()
	return isNew
}

// note logs and counts the new records, and returns the names of all. The caller holds the lock.
func (o *OddRecords) note(source string, records []oddRecord) (names []string, isNew bool) {
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
		o.log.Warn("odd record", "source", source, "record", r.id, "field", r.field)
		o.counted()
		isNew = true
	}
	return names, isNew
}

// expire removes the added records from the board whose time is over, and shows the others. The
// caller holds the lock.
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
