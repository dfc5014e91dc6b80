package problem

import (
	"fmt"
	"slices"
	"strings"
)

// namedRecords is how many odd records the text of a problem names. The log names them all.
const namedRecords = 3

// Odd sets which records of one source cannot be read, such as of the list "Stripe's events". None
// ends the source's part of the problem OddRecords, which lasts while any source has some. It
// reports whether the source's records changed.
func (b *Board) Odd(source string, records ...string) (changed bool) {
	if b == nil {
		return false
	}
	b.mu.Lock()
	changed = !slices.Equal(b.odd[source], records)
	if len(records) == 0 {
		delete(b.odd, source)
	} else {
		if b.odd == nil {
			b.odd = map[string][]string{}
		}
		b.odd[source] = slices.Clone(records)
	}
	text := b.oddText()
	b.mu.Unlock()
	if text == "" {
		b.Clear(OddRecords)
	} else {
		b.Raise(Problem{Code: OddRecords, Text: text})
	}
	return changed
}

// oddText names the sources and some of their records, "" if there are none. The caller holds the
// lock.
func (b *Board) oddText() string {
	var sources []string
	for source, records := range b.odd {
		named := strings.Join(records[:min(len(records), namedRecords)], ", ")
		if more := len(records) - namedRecords; more > 0 {
			named += fmt.Sprintf(" and %d more", more)
		}
		sources = append(sources, source+": "+named)
	}
	if len(sources) == 0 {
		return ""
	}
	slices.Sort(sources)
	return "notepay cannot read some records and skips them. " + strings.Join(
		sources,
		"; ",
	) + ". Check them in the vendor's dashboard. The log has the details."
}
