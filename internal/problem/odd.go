package problem

import (
	"fmt"
	"slices"
	"strings"
)

// maxNamedRecords is how many odd records of one source a problem's text names. The log names all
// of them.
const maxNamedRecords = 3

// Odd sets the unreadable records of one source, such as the list "Stripe's events". No records end
// the source's part of OddRecords, which lasts while any source has some. Odd reports whether the
// source's records changed.
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

// oddText returns the text of OddRecords, "" if no source has odd records. The caller holds the
// lock.
func (b *Board) oddText() string {
	var sources []string
	for source, records := range b.odd {
		named := strings.Join(records[:min(len(records), maxNamedRecords)], ", ")
		if more := len(records) - maxNamedRecords; more > 0 {
			named += fmt.Sprintf(" and %d more", more)
		}
		sources = append(sources, source+": "+named)
	}
	if len(sources) == 0 {
		return ""
	}
	slices.Sort(sources)
	return "notepay cannot read some records and skips them. " + strings.Join(sources, "; ") +
		". Check them in the vendor's dashboard. The log has the details."
}
