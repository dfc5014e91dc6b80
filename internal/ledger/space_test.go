package ledger

import (
	"testing"
)

func TestSpaceFloor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		space Space
		floor uint64
		tight bool
	}{
		{Space{Free: 1 << 40, Total: 1 << 40}, 16 << 20, false},
		{Space{Free: 255 << 20, Total: 1 << 40}, 16 << 20, true},
		{Space{Free: 300 << 20, Total: 320 << 20}, 16 << 20, false},
		{Space{Free: 2 << 20, Total: 4 << 20}, 4 << 20 / 20, false},
		{Space{Free: 700 << 10, Total: 4 << 20}, 4 << 20 / 20, true},
	} {
		if c.space.Floor() != c.floor || c.space.Tight() != c.tight {
			t.Errorf("%+v: floor %d, tight %v; want %d, %v",
				c.space, c.space.Floor(), c.space.Tight(), c.floor, c.tight)
		}
	}
}
