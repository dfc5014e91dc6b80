package ledger

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestRecord(t *testing.T) {
	t.Parallel()
	most := strings.Repeat("f", 24)
	full := record{
		State:      stateRestoring,
		Generation: strings.TrimSpace(strings.Repeat(most+" ", maxNames)),
		Next:       strings.TrimSpace(strings.Repeat(most+" ", maxNames)),
		Database:   fileID{math.MaxUint64, math.MaxInt64, math.MinInt64},
		Log:        math.MaxUint64,
		Salts:      strings.Repeat("f", 16),
		Replaced:   ".replaced-20261129T054813.000Z",
	}
	content, err := full.encode()
	if err != nil || len(content) != recordSize {
		t.Fatalf("%d bytes, %v; want %d", len(content), err, recordSize)
	}
	if got, ok := parseRecord(content); !ok || !reflect.DeepEqual(got, full) {
		t.Errorf("read as %+v, %v; want %+v", got, ok, full)
	}
	for at := range content[:400] {
		torn := append([]byte(nil), content...)
		torn[at] ^= 0x20
		if _, ok := parseRecord(torn); ok {
			t.Errorf("a record with a changed byte %d is accepted", at)
		}
	}
	for _, none := range []string{"", "\n", recordMagic, string(content[:200]), strings.Repeat(" ", recordSize)} {
		if _, ok := parseRecord([]byte(none)); ok {
			t.Errorf("%q is accepted as a record", none)
		}
	}
}

func TestFileUnchanged(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 29, 5, 48, 13, 123456789, time.UTC)
	id := func(inode uint64, size int64, at time.Time) fileID { return fileID{inode, size, at.UnixNano()} }
	for name, c := range map[string]struct {
		was, is fileID
		want    bool
	}{
		"the same":              {id(7, 4096, at), id(7, 4096, at), true},
		"another file":          {id(7, 4096, at), id(8, 4096, at), false},
		"another size":          {id(7, 4096, at), id(7, 8192, at), false},
		"written later":         {id(7, 4096, at), id(7, 4096, at.Add(time.Nanosecond)), false},
		"an older time":         {id(7, 4096, at), id(7, 4096, at.Add(-time.Hour)), false},
		"kept in seconds":       {id(7, 4096, at), id(7, 4096, at.Truncate(time.Second)), true},
		"kept in even seconds":  {id(7, 4096, at), id(7, 4096, at.Truncate(2*time.Second)), true},
		"the second after":      {id(7, 4096, at), id(7, 4096, at.Truncate(time.Second).Add(time.Second)), false},
		"of an unknown inode":   {id(0, 4096, at), id(0, 4096, at), false},
		"that is not there yet": {fileID{}, id(7, 4096, at), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.was.unchanged(c.is); got != c.want {
				t.Errorf("got %v; want %v", got, c.want)
			}
		})
	}
}

func TestGenerations(t *testing.T) {
	t.Parallel()
	closed := newGeneration("")
	began := newGeneration(closed)
	ended := endGeneration("end", began)
	if long := endGeneration("5", "4 3 2 1 0"); long != "5 4 1 0" {
		t.Errorf("a long generation is %q", long)
	}
	for _, c := range []struct {
		log, database string
		want          bool
	}{
		{began, closed, true},                             // before a checkpoint
		{began, began, true},                              // after a checkpoint
		{ended, closed, true},                             // after the process ended
		{ended, began, true},                              // after a partial checkpoint
		{closed, "", true},                                // a new ledger
		{endGeneration("end", closed), "", true},          // a new ledger after its process ended
		{"", "", true},                                    // an older version's
		{closed, began, false},                            // an older log
		{began, newGeneration(""), false},                 // a copy
		{began, "", false},                                // a copy of an older version
		{newGeneration(ended), began, false},              // an earlier copy
		{"", began, false},                                // an older version's log
		{newGeneration(newGeneration(closed)), "", false}, // much later
	} {
		if got := follows(c.log, c.database); got != c.want {
			t.Errorf("a log of %q beside a database of %q: got %v; want %v", c.log, c.database, got, c.want)
		}
	}
}

// The files beside a ledger may have any content.
func FuzzLedgerFiles(f *testing.F) {
	whole, err := record{State: stateQuiet, Generation: "a b", Database: fileID{1, 2, 3}, Salts: "00"}.encode()
	if err != nil {
		f.Fatal(err)
	}
	header := append([]byte{0x37, 0x7f, 0x06, 0x82, 0, 0x2d, 0xe2, 0x18, 0, 0, 0x10, 0}, make([]byte, 20)...)
	f.Add(whole, header, make([]byte, indexSize))
	f.Add([]byte(recordMagic+"00000000 {}"), []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, lockFile, log, index []byte) {
		if r, ok := parseRecord(lockFile); ok {
			if content, err := r.encode(); err == nil {
				if again, ok := parseRecord(content); !ok || !reflect.DeepEqual(again, r) {
					t.Errorf("%+v is read as %+v, %v", r, again, ok)
				}
			}
		}
		if h, ok := parseLogHeader(log); ok {
			if h.PageSize < 512 || h.PageSize > 65536 || len(h.Salts) != 16 ||
				h.frameOffset(logFrames) <= logHeaderSize {
				t.Errorf("header %+v", h)
			}
		}
		if salts, _, ok := parseIndex(index); ok && len(salts) != 16 {
			t.Errorf("salts %q", salts)
		}
	})
}
