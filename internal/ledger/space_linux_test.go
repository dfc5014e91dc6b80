package ledger

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestSpaceAt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "notepay.db")} { // the second path does not exist yet
		space, err := SpaceAt(path)
		if err != nil || space.Total != fs.Blocks*uint64(fs.Frsize) || space.Free == 0 || space.Free > space.Total {
			t.Errorf("SpaceAt(%s) = %+v, %v; want the total of statfs", path, space, err)
		}
	}
	if space, err := SpaceAt(filepath.Join(dir, "no", "such")); err == nil {
		t.Errorf("SpaceAt of a directory that does not exist: %+v; want an error", space)
	}
	if space, err := SpaceAt("/proc/self"); err == nil { // a file system without blocks
		t.Errorf("SpaceAt of a file system that does not tell: %+v; want an error", space)
	}
}

func TestLogSizeFollowsALink(t *testing.T) {
	t.Parallel()
	real, link := filepath.Join(t.TempDir(), "real.db"), filepath.Join(t.TempDir(), "notepay.db")
	closeLedger(t, open(t, real))
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	l := open(t, link)
	log, err := os.Stat(real + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	if size := l.LogSize(); size == 0 || size != log.Size() {
		t.Errorf("a log of %d bytes: %d", log.Size(), size)
	}
}
