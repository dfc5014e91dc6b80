package ledger

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"notepay/internal/ledger/pgtest"
)

// BenchmarkPostgres is BenchmarkPayment on PostgreSQL. cpu-us/op is the CPU time of this process
// and of the server for one payment.
func BenchmarkPostgres(b *testing.B) {
	pgtest.Server(b)
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprint("writers=", writers), func(b *testing.B) {
			l, err := Open(b.Context(), pgtest.Database(b))
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			postgres := serverOf(b, l)
			var rollbacks, rollbacksBefore int
			const rolledBack = `SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()`
			_ = l.reads.QueryRow(rolledBack).Scan(&rollbacksBefore)
			const links = 1000
			err = l.Update(b.Context(), func(tx *Tx) error {
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
			list := make([]sale, b.N)
			for n := range list {
				list[n] = newSale(n, links)
			}
			var next, failed atomic.Int64
			var all sync.WaitGroup
			before := cpuTime() + familyCPU(b, postgres)
			b.ResetTimer()
			for range writers {
				all.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						if err := list[n-1].run(l); err != nil {
							failed.Add(1)
						}
					}
				})
			}
			all.Wait()
			b.StopTimer()
			cpu := cpuTime() + familyCPU(b, postgres) - before
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "payments/s")
			b.ReportMetric(float64(cpu.Microseconds())/float64(b.N), "cpu-us/op")
			b.ReportMetric(float64(failed.Load()), "failed")
			time.Sleep(1200 * time.Millisecond) // the server's statistics are late
			_ = l.reads.QueryRow(rolledBack).Scan(&rollbacks)
			b.ReportMetric(float64(rollbacks-rollbacksBefore)/float64(b.N), "rollbacks/op")
		})
	}
}

// processStat returns the fields of /proc/pid/stat after the name: state, parent, ... It returns nil
// if the process has ended.
func processStat(b *testing.B, pid int) []int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	stat := make([]int64, len(fields))
	for i, field := range fields {
		stat[i], _ = strconv.ParseInt(field, 10, 64) // the state is a letter
	}
	return stat
}

// serverOf returns the first process of a ledger's server.
func serverOf(b *testing.B, l *Ledger) int {
	b.Helper()
	var session int
	if err := l.reads.QueryRow(`SELECT pg_backend_pid()`).Scan(&session); err != nil {
		b.Fatal(err)
	}
	return int(processStat(b, session)[1])
}

// familyCPU returns the CPU time of a process and its children, with those that have ended.
func familyCPU(b *testing.B, parent int) time.Duration {
	const tick = 10 * time.Millisecond
	var ticks int64
	list, _ := filepath.Glob("/proc/[0-9]*")
	for _, path := range list {
		pid, _ := strconv.Atoi(filepath.Base(path))
		stat := processStat(b, pid)
		switch {
		case stat == nil:
		case pid == parent:
			ticks += stat[11] + stat[12] + stat[13] + stat[14]
		case int(stat[1]) == parent:
			ticks += stat[11] + stat[12]
		}
	}
	return time.Duration(ticks) * tick
}
