package ledger

import (
	"os"
	"syscall"
	"testing"
)

// stranger is a user that no test runs as.
const stranger = 54321

// giveAway makes a file another user's, if the test may do that.
func giveAway(t *testing.T, path string) {
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	if err := os.Chown(path, stranger, stranger); err != nil {
		t.Fatal(err)
	}
}

// wantOwner checks that a file belongs to that user.
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
