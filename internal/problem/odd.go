package problem

import (
	"maps"
	"slices"
	"strings"

	"notepay/internal/message"
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
	if text.IsZero() {
		b.Clear(OddRecords)
	} else {
		b.Raise(Problem{Code: OddRecords, Text: text})
	}
	return changed
}

// oddText returns the text of OddRecords, none if no source has odd records. The caller holds the
// lock.
func (b *Board) oddText() message.Message {
	var sources message.List
	for _, source := range slices.Sorted(maps.Keys(b.odd)) {
		records := b.odd[source]
		named := strings.Join(records[:min(len(records), maxNamedRecords)], ", ")
		if more := len(records) - maxNamedRecords; more > 0 {
			sources = append(sources, message.New("%s: %s and %d more", message.New(source), named, more))
		} else {
			sources = append(sources, message.New("%s: %s", message.New(source), named))
		}
	}
	if len(sources) == 0 {
		return message.Message{}
	}
	return message.New("notepay cannot read some records and skips them. %s. "+
		"Check them in the vendor's dashboard. The log has the details.", sources)
}
