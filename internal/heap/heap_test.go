package heap_test

import (
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"testing"

	"notepay/internal/heap"
)

// TestBallast requires the heap to grow by the ballast and its live size.
func TestBallast(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	without := goal()
	ballast := heap.Ballast()
	const small = 8 << 20 // more than the heap of this test
	if with := goal(); with < 2*heap.BallastSize || with > 2*heap.BallastSize+small {
		t.Errorf("with the ballast the heap is collected at %d bytes; want twice the ballast", with)
	}
	runtime.KeepAlive(ballast)
	if after := goal(); after > small || without > small {
		t.Errorf("before and after the ballast the heap is collected at %d and %d bytes; want less than %d",
			without, after, small)
	}
}

// TestBallastTakesNoMemory measures in a process of its own, whose heap reuses no memory.
func TestBallastTakesNoMemory(t *testing.T) {
	const child = "TEST_OF_BALLAST"
	if os.Getenv(child) == "" {
		command := exec.Command(os.Args[0], "-test.run=^TestBallastTakesNoMemory$")
		command.Env = append(os.Environ(), child+"=1", "GOGC=", "GOMEMLIMIT=")
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	before := residentMemory(t)
	ballast := heap.Ballast()
	runtime.GC()
	if more := residentMemory(t) - before; more > heap.BallastSize/4 {
		t.Errorf("the process takes %d bytes more; want next to none", more)
	}
	runtime.KeepAlive(ballast)
}

// TestOperatorsChoice requires what the operator has set to hold.
func TestOperatorsChoice(t *testing.T) {
	for name, value := range map[string]string{"GOGC": "100", "GOMEMLIMIT": "200MiB"} {
		t.Setenv("GOGC", "")
		t.Setenv("GOMEMLIMIT", "")
		t.Setenv(name, value)
		if heap.Ballast() != nil {
			t.Errorf("there is a ballast although %s is set", name)
		}
	}
}

// goal returns the size at which the heap is collected next.
func goal() uint64 {
	runtime.GC()
	sample := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// residentMemory returns the bytes of memory of this process, or 0 where that is unknown.
func residentMemory(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0 // not Linux
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
