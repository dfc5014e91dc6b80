package ledger

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// This file reads what SQLite writes about its log: the header and the frames of -wal, the index in
// -shm, and the page size in the database.

// logHeader is the header of a -wal file (sqlite.org/fileformat2.html, 4.1).
type logHeader struct {
	PageSize int64
	Salts    string
}

const (
	logHeaderSize   = 32
	frameHeaderSize = 24
)

// parseLogHeader reads the header of a log. It returns false for a log that is empty or that SQLite
// would ignore.
func parseLogHeader(b []byte) (h logHeader, ok bool) {
	if len(b) < logHeaderSize || binary.BigEndian.Uint32(b)&^1 != 0x377f0682 {
		return logHeader{}, false
	}
	h = logHeader{PageSize: int64(binary.BigEndian.Uint32(b[8:])), Salts: hex.EncodeToString(b[16:24])}
	return h, h.PageSize >= 512 && h.PageSize <= 65536
}

// pageSize returns the page size of the database that begins with b (sqlite.org/fileformat2.html,
// 1.3.2). It returns 0 if b is not the start of a database.
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

// frameOffset returns the offset of the nth frame of the log, counted from 1.
func (h logHeader) frameOffset(n int64) int64 {
	return logHeaderSize + (n-1)*(frameHeaderSize+h.PageSize)
}

// indexSize is the number of bytes to read from a -shm file.
const indexSize = 136

// parseIndex reads a -shm file (sqlite.org/walformat.html, 2.1). It returns the salts of the log
// and whether a checkpoint has begun to write that log's pages to the database.
func parseIndex(b []byte) (salts string, written, ok bool) {
	if len(b) < indexSize || !bytes.Equal(b[:48], b[48:96]) {
		return "", false, false
	}
	return hex.EncodeToString(b[32:40]), binary.NativeEndian.Uint32(b[128:]) > 0, true
}

// logHeader reads the header of the log. It returns false if there is no log that SQLite would use.
func (f *ledgerFiles) logHeader() (logHeader, bool) {
	content := make([]byte, logHeaderSize)
	if _, err := f.log.ReadAt(content, 0); err != nil {
		return logHeader{}, false
	}
	return parseLogHeader(content)
}

// logHas reports whether the log holds at least that many frames. SQLite overwrites a log from its
// beginning, so only frames with the header's salts count.
func (f *ledgerFiles) logHas(frames int64) bool {
	header, ok := f.logHeader()
	if !ok {
		return false
	}
	salts := make([]byte, 8)
	_, err := f.log.ReadAt(salts, header.frameOffset(frames)+8)
	return err == nil && fmt.Sprintf("%x", salts) == header.Salts
}
