package ledger

import (
	"path/filepath"
	"testing"
)

func TestNetworkDisk(t *testing.T) {
	t.Parallel()
	for number, want := range map[uint32]string{
		0x6969:     "nfs",
		0xff534d42: "cifs",
		0x65735546: "fuse",
		0xef53:     "", // ext4
		0x58465342: "", // xfs
		0x01021994: "", // tmpfs
	} {
		if got := networkKind(number); got != want {
			t.Errorf("%#x is %q; want %q", number, got, want)
		}
	}
	if _, err := NetworkDisk(filepath.Join(t.TempDir(), "notepay.db")); err != nil {
		t.Errorf("a file that is not there yet: %v", err)
	}
	if _, err := NetworkDisk(filepath.Join(t.TempDir(), "no", "notepay.db")); err == nil {
		t.Error("a directory that is not there has a disk")
	}
}
