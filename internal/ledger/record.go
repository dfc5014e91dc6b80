package ledger

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"strings"
)

// record describes the database's file as notepay last left it. The lock file holds it, and it is
// durable before SQLite writes to the database. From it the next start can tell whether a log
// belongs to the database.
type record struct {
	State      state  `json:"state"`
	Generation string `json:"generation"`         // the generation stored in the ledger
	Next       string `json:"next,omitempty"`     // the generation stored if a pending change was committed
	Database   fileID `json:"database"`           // the exact file, except in stateWriting
	Log        uint64 `json:"log,omitempty"`      // inode of the -wal, 0 for none
	Salts      string `json:"salts,omitempty"`    // salts of the log's header, which SQLite changes with each new log
	Replaced   string `json:"replaced,omitempty"` // in stateRestoring, the suffix for the old ledger's name
}

// state tells what may have happened to the database's file since the record was written.
type state string

const (
	stateQuiet     state = "quiet"     // a process uses the ledger and writes only to the log
	stateWriting   state = "writing"   // a start, a checkpoint or the end writes to the database's file
	stateClosed    state = "closed"    // the last process closed the ledger
	stateRestoring state = "restoring" // a checked copy is about to replace the ledger, see Restore
)

// fileID identifies a file and its content, as far as the file system allows.
type fileID struct {
	Inode    uint64 `json:"inode"` // 0: unknown
	Size     int64  `json:"size"`
	Modified int64  `json:"modified"` // Unix nanoseconds
}

func fileIDOf(info os.FileInfo) fileID {
	inode, _ := identify(info)
	return fileID{inode, info.Size(), info.ModTime().UnixNano()}
}

// unchanged reports whether now is the recorded file without a write since. Some file systems store
// only whole or even seconds, and lose the rest when they are mounted again.
func (id fileID) unchanged(now fileID) bool {
	const second = 1_000_000_000
	at := id.Modified
	sameTime := now.Modified == at || now.Modified == at-at%second || now.Modified == at-at%(2*second)
	return id.Inode != 0 && id.Inode == now.Inode && id.Size == now.Size && sameTime
}

// recordSize is smaller than a disk sector, so a power cut leaves either the old record or the new
// one.
const recordSize = 512

const recordMagic = "notepay ledger "

// encode returns the record with a checksum, padded to recordSize.
func (r record) encode() ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	line := fmt.Appendf(nil, "%s%08x %s", recordMagic, crc32.ChecksumIEEE(text), text)
	if len(line) >= recordSize {
		return nil, fmt.Errorf("the record of the ledger has %d bytes", len(line))
	}
	line = append(line, bytes.Repeat([]byte{' '}, recordSize-1-len(line))...)
	return append(line, '\n'), nil
}

// parseRecord reads a record. Anything but a whole record, such as the empty lock file of an older
// version, counts as none.
func parseRecord(content []byte) (r record, ok bool) {
	rest, ok := bytes.CutPrefix(bytes.TrimRight(content, " \n"), []byte(recordMagic))
	sum, text, found := bytes.Cut(rest, []byte{' '})
	if !ok || !found || fmt.Sprintf("%08x", crc32.ChecksumIEEE(text)) != string(sum) {
		return record{}, false
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return record{}, false
	}
	return r, true
}

// A generation is the name of a state of a ledger, followed by the names of earlier states. The
// first transaction of a log gives the ledger a generation that follows the database's. The last
// one gives it a generation that follows both. A log with another generation than the database
// therefore shows which database it belongs to.

// newGeneration returns a generation with a new random name that follows before.
func newGeneration(before string) string {
	var name [12]byte
	_, _ = rand.Read(name[:]) // never fails
	return hex.EncodeToString(name[:]) + " " + generationName(before)
}

// generationName returns the name of a generation, "none" for a new ledger or one of an older
// version.
func generationName(generation string) string {
	name, _, _ := strings.Cut(generation, " ")
	return cmp.Or(name, "none")
}

// endGeneration returns a generation with the names of all earlier ones in the same log. Only a log
// that cannot be moved for long has more than three. Then the first and the last names are kept,
// because a record is small.
func endGeneration(name, before string) string {
	names := append([]string{name}, strings.Fields(cmp.Or(before, generationName("")))...)
	if len(names) > maxNames {
		names = slices.Concat(names[:2], names[len(names)-maxNames+2:])
	}
	return strings.Join(names, " ")
}

// maxNames is the maximum number of names in a generation.
const maxNames = 4

// follows reports whether a log with one generation may belong to a database with the other.
func follows(log, database string) bool {
	return log == database || slices.Contains(strings.Fields(log), generationName(database))
}
