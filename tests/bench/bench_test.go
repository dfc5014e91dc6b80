//go:build linux

// Package bench measures how fast notepay is and writes docs/performance.md. It does not judge the
// machine.
package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// median returns the middle of a list. It sorts the list.
func median[T float64 | time.Duration](list []T) T { return quantile(list, 0.5) }

func quantile[T float64 | time.Duration](list []T, q float64) T {
	slices.Sort(list)
	return list[min(int(q*float64(len(list))), len(list)-1)]
}

// syncTimes repeatedly overwrites one page of a file and syncs it. No log can be faster. A new sync
// begins after every, or at once if the one before took longer: a disk that rests between syncs
// takes longer for each.
func syncTimes(t *testing.T, dir string, times int, every time.Duration) []time.Duration {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "page"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, 4096)
	took := make([]time.Duration, 0, times)
	for n := range times + 1 {
		began := time.Now()
		if _, err := f.WriteAt(page, 0); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			t.Fatal(err)
		}
		if n > 0 { // the first write extends the file
			took = append(took, time.Since(began))
		}
		time.Sleep(every - time.Since(began))
	}
	return took
}

// perSecond returns the rate that belongs to the mean of a list.
func perSecond(list []time.Duration) float64 {
	var sum time.Duration
	for _, d := range list {
		sum += d
	}
	return float64(len(list)) / sum.Seconds()
}

// caller is one keep-alive connection. It costs a fraction of http.Client, so that the server
// dominates the measurement.
type caller struct {
	conn net.Conn
	r    *bufio.Reader
}

func dial(addr string) (*caller, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &caller{conn, bufio.NewReader(conn)}, nil
}

// call sends a prepared request and reads the whole reply.
func (c *caller) call(request []byte) (status int, err error) {
	if _, err := c.conn.Write(request); err != nil {
		return 0, err
	}
	length := -1
	for first := true; ; first = false {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if first {
			if status, err = strconv.Atoi(string(line[9:12])); err != nil {
				return 0, err
			}
			continue
		}
		if len(line) <= 2 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(strings.TrimSpace(string(value))); err != nil {
				return 0, err
			}
		}
	}
	if length < 0 {
		return 0, errors.New("reply without a length")
	}
	_, err = c.r.Discard(length)
	return status, err
}

// callAll sends each request once over the given number of connections. It returns how long each
// request took and how long all took together.
func callAll(
	t *testing.T,
	addr string,
	connections int,
	requests [][]byte,
	want int,
) (each []time.Duration, all time.Duration) {
	t.Helper()
	return callEach(t, []string{addr}, connections, requests, want)
}

// callEach does the same as callAll, with connections to several addresses in turns.
func callEach(
	t *testing.T,
	addrs []string,
	connections int,
	requests [][]byte,
	want int,
) (each []time.Duration, all time.Duration) {
	t.Helper()
	callers := make([]*caller, connections)
	for i := range callers {
		c, err := dial(addrs[i%len(addrs)])
		if err != nil {
			t.Fatal(err)
		}
		defer c.conn.Close()
		callers[i] = c
	}
	each = make([]time.Duration, len(requests))
	var next atomic.Int64
	var work sync.WaitGroup
	began := time.Now()
	for _, c := range callers {
		work.Go(func() {
			for n := next.Add(1) - 1; n < int64(len(requests)); n = next.Add(1) - 1 {
				sent := time.Now()
				status, err := c.call(requests[n])
				if err != nil || status != want {
					t.Errorf("request %d: status %d, %v; want %d", n, status, err, want)
					return
				}
				each[n] = time.Since(sent)
			}
		})
	}
	work.Wait()
	return each, time.Since(began)
}

// loadAverage returns the number of processes that run or wait to run, averaged over a minute.
func loadAverage(t *testing.T) string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(text))[0]
}

func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// short formats a duration with three digits.
func short(d time.Duration) string {
	digits := 3 - 1 - int(math.Floor(math.Log10(float64(max(d, 1)))))
	unit := time.Duration(math.Pow10(max(-digits, 0)))
	return strings.Replace(d.Round(unit).String(), "µ", "μ", 1)
}

func inSeconds(perSecond float64) string {
	return fmt.Sprintf("%.0f/s", perSecond)
}
