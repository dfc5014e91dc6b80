package ledger

import (
	"os"
	"syscall"
	"testing"
)

// stranger is the id of a user that no test runs as.
const stranger = 54321

// giveAway makes stranger the owner of a file if the test runs as root.
func giveAway(t *testing.T, path string) {
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	if err := os.Chown(path, stranger, stranger); err != nil {
		t.Fatal(err)
	}
}

// wantOwner checks that stranger owns a file.
func wantOwner(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; os.Getuid() == 0 && uid != stranger {
		t.Errorf("%s belongs to user %d; want the user of the earlier ledger", path, uid)
	}
}
