package ledger

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// BenchmarkUpdate stores payments as a webhook does. The result depends on the disk, so each run
// measures the disk, too: fdatasync/s is how often one page of a file can be written and synced,
// and ratio is updates per sync.
func BenchmarkUpdate(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprint("writers=", writers), func(b *testing.B) {
			syncs := syncsPerSecond(b)
			l, err := Open(b.Context(), filepath.Join(b.TempDir(), "notepay.db"))
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			var next atomic.Int64
			var all sync.WaitGroup
			b.ResetTimer()
			for range writers {
				all.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						p := testPayment(fmt.Sprint(n))
						err := l.Update(b.Context(), func(tx *Tx) error {
							_, err := tx.InsertPayment(p)
							return err
						})
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.StopTimer()
			updates := float64(b.N) / b.Elapsed().Seconds()
			b.ReportMetric(updates, "updates/s")
			b.ReportMetric(syncs, "fdatasync/s")
			b.ReportMetric(updates/syncs, "ratio")
		})
	}
}

// syncsPerSecond measures how often one page can be overwritten in place and synced. No log can be
// faster.
func syncsPerSecond(b *testing.B) float64 {
	const times = 500
	f, err := os.Create(filepath.Join(b.TempDir(), "page"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, 4096)
	write := func() {
		if _, err := f.WriteAt(page, 0); err != nil {
			b.Fatal(err)
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			b.Fatal(err)
		}
	}
	write() // the first write extends the file
	began := time.Now()
	for range times {
		write()
	}
	return times / time.Since(began).Seconds()
}
