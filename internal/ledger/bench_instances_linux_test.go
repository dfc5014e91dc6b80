package ledger

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"notepay/internal/ledger/pgtest"
	"notepay/internal/vendortime"
)

// BenchmarkInstances is BenchmarkPayment with 48 writers that are divided among several instances of
// one database. Writers take turns, so the rate should stay about the same. Without hints the others
// only poll, and with/without is the rate of two instances that hint divided by that rate. It should
// be 0.85 at least.
func BenchmarkInstances(b *testing.B) {
	pgtest.Server(b)
	rates := map[string]float64{}
	for _, test := range []struct {
		name      string
		instances int
		hints     bool
	}{
		{"1", 1, true},
		{"2", 2, true},
		{"3", 3, true},
		{"2-without-hints", 2, false},
	} {
		b.Run("instances="+test.name, func(b *testing.B) {
			database := pgtest.Database(b)
			ctx, cancel := context.WithCancel(context.Background())
			var following sync.WaitGroup
			defer following.Wait()
			defer cancel()
			var followed atomic.Int64
			ledgers := make([]*Ledger, test.instances)
			for n := range ledgers {
				l, err := OpenBy(b.Context(), database, vendortime.New(nil))
				if err != nil {
					b.Fatal(err)
				}
				defer l.Close()
				if ledgers[n] = l; !test.hints {
					l.instance.hints = nil
				}
				following.Go(func() {
					l.Follow(ctx, func(_ context.Context, list []Change) error {
						followed.Add(int64(len(list)))
						return nil
					})
				})
			}
			const links, writers = 1000, 48
			err := ledgers[0].Update(b.Context(), func(tx *Tx) error {
				for n := range links {
					k := link(fmt.Sprint("plink_", n))
					k.DeviceUID = fmt.Sprint("dev:", n)
					if err := tx.SaveLink(k); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
			time.Sleep(2 * beatInterval) // all know of each other, and leave hints alone
			list := make([]sale, b.N)
			for n := range list {
				list[n] = newSale(n, links)
			}
			var next, failed atomic.Int64
			var all sync.WaitGroup
			postgres := serverOf(b, ledgers[0])
			before := cpuTime() + familyCPU(b, postgres)
			b.ResetTimer()
			for w := range writers {
				all.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						if err := list[n-1].run(ledgers[w%len(ledgers)]); err != nil {
							failed.Add(1)
						}
					}
				})
			}
			all.Wait()
			b.StopTimer()
			cpu := cpuTime() + familyCPU(b, postgres) - before
			b.ReportMetric(float64(cpu.Microseconds())/float64(b.N), "cpu-µs/op")
			rates[test.name] = float64(b.N) / b.Elapsed().Seconds()
			b.ReportMetric(rates[test.name], "payments/s")
			if with := rates["2"]; !test.hints && with > 0 {
				b.ReportMetric(with/rates[test.name], "with/without")
			}
			b.ReportMetric(float64(failed.Load()), "failed")
			b.ReportMetric(float64(followed.Load())/float64(b.N), "followed/op")
		})
	}
}
