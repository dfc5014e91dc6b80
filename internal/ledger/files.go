package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ledgerFiles guards the files of a SQLite ledger: the database, its log (-wal) and the index of
// the log (-shm). Some acknowledged updates are only in the log, and SQLite replays any log that it
// finds beside a database. ledgerFiles makes sure that a log is replayed only into its own
// database. It also makes sure that the next process will find the files that this process writes
// to.
type ledgerFiles struct {
	path   string   // path of the database, with symbolic links resolved, as SQLite does
	lock   *os.File // the lock file, which also holds the record
	record record
	known  bool // the lock file holds a record

	logFrames int64 // see logFrames; shorter in tests

	// Set while the ledger is open. Closing any descriptor of a file drops the locks that SQLite
	// holds on it in this process (sqlite.org/howtocorrupt.html, 2.2). So these descriptors are
	// closed after SQLite has closed its own.
	database, index *os.File
	log             *os.File
	opened          []openedFile // the files that verify compares; constant once the ledger is open
	condition       *condition
	abandoned       bool // the database was overwritten, and SQLite must not close it
}

// openedFile is an open file that must keep its name.
type openedFile struct {
	path string
	info os.FileInfo
}

// resolve returns the path of a database with all symbolic links resolved, so that two links to one
// ledger share one lock. The file need not exist.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path) // SQLite treats "" and ":memory:" as databases that are never on disk
	if err != nil {
		return "", err
	}
	for range 40 {
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return "", err
		}
		path = filepath.Join(dir, filepath.Base(path))
		target, err := os.Readlink(path)
		if err != nil {
			return path, nil // not a link, or no such file yet
		}
		if path = target; !filepath.IsAbs(target) {
			path = filepath.Join(dir, target)
		}
	}
	return "", fmt.Errorf("%s: too many symbolic links", path)
}

// lockFiles locks a ledger and finishes an interrupted restore. It returns ErrLocked if another
// process has the lock. The caller releases the files.
func lockFiles(path string) (*ledgerFiles, error) {
	path, err := resolve(path)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		example := "/var/lib/notepay/notepay.db"
		if info.IsDir() {
			example = filepath.Join(path, "notepay.db")
		}
		return nil, fmt.Errorf("%s is no file; DATABASE_URL has to be the path of one, such as %s", path, example)
	}
	held, err := lock(path + ".lock")
	if err != nil {
		return nil, err
	}
	f := &ledgerFiles{path: path, lock: held, condition: newCondition(), logFrames: logFrames}
	content := make([]byte, recordSize)
	n, _ := held.ReadAt(content, 0) // a short or unreadable file holds no record
	f.record, f.known = parseRecord(content[:n])
	if f.known && f.record.State == stateRestoring {
		if err := f.replace(); err != nil {
			return nil, errors.Join(fmt.Errorf("finish the restore that was interrupted: %w", err), f.release())
		}
	}
	return f, nil
}

// write stores a record durably.
func (f *ledgerFiles) write(r record) error {
	content, err := r.encode()
	if err != nil {
		return err
	}
	if _, err = f.lock.WriteAt(content, 0); err == nil {
		err = f.lock.Sync()
	}
	if err != nil {
		return fmt.Errorf("record the ledger's state: %w", err)
	}
	f.record, f.known = r, true
	return nil
}

// stat identifies one of the files, "" for the database. It returns a zero fileID if the file does
// not exist.
func (f *ledgerFiles) stat(suffix string) (id fileID, names uint64, err error) {
	info, err := os.Stat(f.path + suffix)
	if errors.Is(err, fs.ErrNotExist) {
		return fileID{}, 0, nil
	}
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory and not the file of a ledger", f.path+suffix)
	}
	if err != nil {
		return fileID{}, 0, err
	}
	_, names = identify(info)
	return fileIDOf(info), names, nil
}

// begin creates the database's file if necessary, locks it, and records that SQLite is about to
// write to it.
func (f *ledgerFiles) begin(is findings) (generation string, err error) {
	database, err := os.OpenFile(f.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	f.database = database
	if err := lockInode(database); err != nil {
		return "", err
	}
	f.tighten()
	info, err := database.Stat()
	if err != nil {
		return "", err
	}
	log, _, err := f.stat("-wal")
	if err != nil {
		return "", err
	}
	r := record{
		State:      stateWriting,
		Generation: is.generation,
		Next:       newGeneration(is.generation),
		Database:   fileIDOf(info),
		Log:        log.Inode,
	}
	// If notepay stops after this, the file may be written or not, and may hold either generation.
	return r.Next, f.write(r)
}

// tighten restricts the files to their owner, because they hold payments and the tokens of
// customers' pages. SQLite gives the log and its index the mode of the database. The files of
// another user stay as they are.
func (f *ledgerFiles) tighten() {
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		if info, err := os.Stat(f.path + suffix); err == nil && info.Mode().Perm()&0o077 != 0 {
			_ = os.Chmod(f.path+suffix, 0o600)
		}
	}
}

// settle records the current state of the database's file. SQLite does not write to the file again
// before the next announce.
func (f *ledgerFiles) settle() error {
	// The modification time is durable only after a sync.
	if err := f.database.Sync(); err != nil {
		return err
	}
	r := record{State: stateQuiet, Generation: f.record.Generation, Next: f.record.Next}
	database, err := f.database.Stat()
	if err != nil {
		return err
	}
	r.Database = fileIDOf(database)
	if log, err := f.log.Stat(); err == nil {
		r.Log = fileIDOf(log).Inode
	}
	if header, ok := f.logHeader(); ok {
		r.Salts = header.Salts
	}
	return f.write(r)
}

// announce records that SQLite is about to write to the database, and the database's next
// generation. At the end of a log, the generation also names the generations that the log began and
// continued with. announce refuses if the database was replaced: SQLite would mix the log into the
// other database, and the unchanged record lets the next start notice.
func (f *ledgerFiles) announce(end bool) (generation string, err error) {
	if err := f.verify(); err != nil {
		return "", err
	}
	r := f.record
	if r.State == stateWriting && r.Next != "" && !end {
		return r.Next, nil // announced already
	}
	if r.State = stateWriting; r.Next == "" { // a pending generation was not committed, or its commit is in doubt
		r.Next = newGeneration(r.Generation)
	}
	if end {
		r.Next = endGeneration(generationName(r.Next), r.Generation)
	}
	return r.Next, f.write(r)
}

// busy reports whether an announced checkpoint has not succeeded yet.
func (f *ledgerFiles) busy() bool { return f.record.State == stateWriting }

// entered notes that the announced generation was committed.
func (f *ledgerFiles) entered() { f.record.Generation, f.record.Next = f.record.Next, "" }

// watch starts comparing the files with the opened ones. SQLite has opened all of them.
func (f *ledgerFiles) watch() (err error) {
	if f.log, err = os.Open(f.path + "-wal"); err != nil {
		return err
	}
	watched := []string{"", "-wal", "-shm", ".lock"}
	if f.record.Database.Inode == 0 {
		watched = watched[:1] // an open file cannot be moved on such a system
	} else if f.index, err = os.Open(f.path + "-shm"); err != nil {
		return err
	}
	if err := f.settle(); err != nil {
		return err
	}
	f.tighten()
	var opened []openedFile
	for _, suffix := range watched {
		info, err := os.Stat(f.path + suffix)
		if err != nil {
			return err
		}
		opened = append(opened, openedFile{f.path + suffix, info})
	}
	f.opened = opened
	return nil
}

// verify returns an error if the name of the database or its log no longer leads to the open file.
// Each commit calls it before the commit is acknowledged. It costs two calls of stat, about 5 µs,
// while a commit costs a sync of the disk.
func (f *ledgerFiles) verify() error {
	if f == nil || f.opened == nil {
		return nil // the ledger is not open yet
	}
	database, err := inPlace(f.opened[:min(2, len(f.opened))])
	if err != nil || f.condition.isMoved() {
		_, err = inPlace(f.opened)
		f.condition.setMoved(err)
	}
	if err == nil {
		err = f.condition.note(f.unwritten(database))
	}
	return err
}

// inPlace compares open files with the files under their names. It returns the current state of the
// first one.
func inPlace(opened []openedFile) (first os.FileInfo, err error) {
	for i, o := range opened {
		info, err := os.Stat(o.path)
		if err != nil || !os.SameFile(info, o.info) {
			return nil, fmt.Errorf("%w: %s was deleted, moved or replaced", errMoved, filepath.Base(o.path))
		}
		if i == 0 {
			first = info
		}
	}
	return first, nil
}

// unwritten returns an error if another program overwrote the database's file. Only the writer's
// goroutine calls it, because it reads the record.
func (f *ledgerFiles) unwritten(database os.FileInfo) error {
	if f.index == nil || f.record.State != stateQuiet || f.record.Database.unchanged(fileIDOf(database)) {
		return nil
	}
	header, ok := f.logHeader()
	content := make([]byte, indexSize)
	n, _ := f.index.ReadAt(content, 0)
	salts, written, _ := parseIndex(content[:n])
	if ok && (header.Salts != f.record.Salts || (written && salts == header.Salts)) {
		return f.settle() // another program ran a checkpoint
	}
	if f.touched(fileIDOf(database)) {
		return f.settle()
	}
	return fmt.Errorf("%w: %s was overwritten while notepay runs", errDamaged, filepath.Base(f.path))
}

// touched reports whether only the file's modification time has changed, as touch and backup
// programs do. The size and the stored generation still match the beginning of the log.
func (f *ledgerFiles) touched(database fileID) bool {
	if f.record.Database.Inode != database.Inode || f.record.Database.Size != database.Size {
		return false
	}
	before := strings.Fields(f.record.Generation)
	alone, err := f.inspect(context.Background(), "immutable=1", false)
	return err == nil && len(before) > 1 && slices.Contains(before[1:], generationName(alone.generation))
}

// closeLog prepares for the close by SQLite, which moves the log into the database and removes it.
// It returns damage if the database was overwritten. SQLite must not touch the log then, because
// the log holds the only copy of the latest payments. If notepay stops here, the next start rejects
// the log.
func (f *ledgerFiles) closeLog() error {
	if f.log == nil {
		return nil
	}
	var overwritten error
	if database, err := inPlace(f.opened[:min(1, len(f.opened))]); err == nil && database != nil {
		overwritten = f.unwritten(database)
	}
	f.abandoned = isDamage(overwritten)
	return errors.Join(overwritten, f.log.Close())
}

// release records the final state of the ledger after SQLite has closed it, and releases the lock.
func (f *ledgerFiles) release() error {
	var err error
	if _, moved := inPlace(f.lasting()); f.opened != nil && moved == nil && !f.abandoned {
		r := record{State: stateClosed, Generation: f.record.Generation, Next: f.record.Next}
		if err = f.database.Sync(); err == nil {
			if r.Database, _, err = f.stat(""); err == nil {
				log, _, _ := f.stat("-wal") // the log stays if another program has the ledger open
				r.Log = log.Inode
				err = f.write(r)
			}
		}
	}
	for _, file := range []*os.File{f.database, f.index} {
		if file != nil {
			err = errors.Join(err, unlock(file))
		}
	}
	return errors.Join(err, unlock(f.lock))
}

// lasting returns the files that remain after SQLite closes the ledger.
func (f *ledgerFiles) lasting() []openedFile {
	return slices.DeleteFunc(slices.Clone(f.opened), func(o openedFile) bool {
		return o.path != f.path && o.path != f.lock.Name()
	})
}

// fileURI returns the URI of a SQLite file.
func fileURI(path, settings string) string {
	return "file:" + (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath() + "?" + settings
}
