package ledger

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"strings"
)

// record describes the database's file as notepay last left it. It is kept in the lock file, and it
// is on disk before SQLite writes to the database, so that the next start can tell whether the log
// beside the database belongs to it.
type record struct {
	State      state  `json:"state"`
	Generation string `json:"generation"`         // what the ledger's own row says
	Next       string `json:"next,omitempty"`     // what it says if the change to it was still committed
	Database   fileID `json:"database"`           // outside of stateWriting, the file is exactly this one
	Log        uint64 `json:"log,omitempty"`      // the inode of the -wal, 0 if there was none
	Salts      string `json:"salts,omitempty"`    // of the log's header; SQLite changes them when it starts a log
	Replaced   string `json:"replaced,omitempty"` // in stateRestoring: what is added to the old ledger's name
}

// state says what may have happened to the database's file since the record was written.
type state string

const (
	stateQuiet     state = "quiet"     // a process works on the ledger, but only on the log
	stateWriting   state = "writing"   // the database's file is being written: at a start, a checkpoint or the end
	stateClosed    state = "closed"    // the last process has closed the ledger
	stateRestoring state = "restoring" // a checked copy is about to take the ledger's place, see Restore
)

// fileID identifies a file and what is in it, as far as a file system tells.
type fileID struct {
	Inode    uint64 `json:"inode"` // 0: unknown
	Size     int64  `json:"size"`
	Modified int64  `json:"modified"` // Unix nanoseconds
}

func fileIDOf(info os.FileInfo) fileID {
	inode, _ := identify(info)
	return fileID{inode, info.Size(), info.ModTime().UnixNano()}
}

// unchanged reports whether a file is still the one that was recorded, and was not written since.
// Some file systems keep whole or even seconds only, and forget the rest when they are mounted
// again.
func (id fileID) unchanged(now fileID) bool {
	const second = 1_000_000_000
	at := id.Modified
	sameTime := now.Modified == at || now.Modified == at-at%second || now.Modified == at-at%(2*second)
	return id.Inode != 0 && id.Inode == now.Inode && id.Size == now.Size && sameTime
}

// recordSize is less than a sector of a disk, so that a power cut leaves the old record or the new
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

// parseRecord reads a record. Anything else than a whole record, such as the empty lock file of an
// older version, counts as none.
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

// A generation is the name of a state of a ledger, followed by the names of states before it. The
// first transaction of a log gives the ledger a generation that follows the database's, and the
// last one another that follows both. So a log that tells another generation than the
// database tells which database it belongs to.

// newGeneration returns a generation with a name that no other has.
func newGeneration(before string) string {
	var name [12]byte
	_, _ = rand.Read(name[:]) // never fails
	return hex.EncodeToString(name[:]) + " " + generationName(before)
}

// generationName returns the name of a generation. A new ledger, or one of an older version, has
// none.
func generationName(generation string) string {
	name, _, _ := strings.Cut(generation, " ")
	return cmp.Or(name, "none")
}

// endGeneration returns a generation with the names of all before it in the same log. Only a log
// that cannot be moved for long has more than three, and then the first and the last ones are kept:
// a record has little room.
func endGeneration(name, before string) string {
	names := append([]string{name}, strings.Fields(cmp.Or(before, generationName("")))...)
	if len(names) > maxNames {
		names = slices.Concat(names[:2], names[len(names)-maxNames+2:])
	}
	return strings.Join(names, " ")
}

// maxNames is how many names a generation has.
const maxNames = 4

// follows reports whether a log that tells a generation may belong to a database that tells
// another, or the same.
func follows(log, database string) bool {
	return log == database || slices.Contains(strings.Fields(log), generationName(database))
}

// logHeader is the header of a -wal file (sqlite.org/fileformat2.html, 4.1).
type logHeader struct {
	PageSize int64
	Salts    string
}

const (
	logHeaderSize   = 32
	frameHeaderSize = 24
)

// parseLogHeader reads the header of a log. A log that is empty, or that SQLite would ignore, has
// none.
func parseLogHeader(b []byte) (h logHeader, ok bool) {
	if len(b) < logHeaderSize || binary.BigEndian.Uint32(b)&^1 != 0x377f0682 {
		return logHeader{}, false
	}
	h = logHeader{PageSize: int64(binary.BigEndian.Uint32(b[8:])), Salts: hex.EncodeToString(b[16:24])}
	return h, h.PageSize >= 512 && h.PageSize <= 65536
}

// pageSize returns the size of a database's pages from the start of its file
// (sqlite.org/fileformat2.html, 1.3.2), 0 if that is no database.
func pageSize(b []byte) int64 {
	if len(b) < 100 || string(b[:16]) != "SQLite format 3\x00" {
		return 0
	}
	size := int64(binary.BigEndian.Uint16(b[16:]))
	if size == 1 {
		return 65536
	}
	return size
}

// frameOffset returns where the nth frame of the log begins, counted from 1.
func (h logHeader) frameOffset(n int64) int64 {
	return logHeaderSize + (n-1)*(frameHeaderSize+h.PageSize)
}

// indexSize is how much of a -shm file is read.
const indexSize = 136

// parseIndex reads from a -shm file the salts of the log that it is about, and whether a checkpoint
// has begun to write that log's pages to the database (sqlite.org/walformat.html, 2.1).
func parseIndex(b []byte) (salts string, written, ok bool) {
	if len(b) < indexSize || !bytes.Equal(b[:48], b[48:96]) {
		return "", false, false
	}
	return hex.EncodeToString(b[32:40]), binary.NativeEndian.Uint32(b[128:]) > 0, true
}
