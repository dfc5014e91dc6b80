package ledger

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"notepay/internal/payment"
)

// BenchmarkPayment records payments and settles their calls, as the bridge does: two updates for
// each payment. Compare two versions with the binaries of go test -c, run in turns. CPU and written
// bytes are those of the whole process.
func BenchmarkPayment(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprint("writers=", writers), func(b *testing.B) {
			const links = 1000
			l, err := Open(b.Context(), filepath.Join(b.TempDir(), "notepay.db"))
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
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
			var next atomic.Int64
			var all sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			cpu, written := cpuTime(), bytesWritten(b)
			for range writers {
				all.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						if err := list[n-1].run(l); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.StopTimer()
			b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N), "cpu-µs/op")
			b.ReportMetric(float64(bytesWritten(b)-written)/float64(b.N)/1024, "written-KB/op")
		})
	}
}

// sale is one payment of the benchmark, with Stripe's ids.
type sale struct {
	payment payment.Payment
	link    string
	event   StripeEvent
}

// newSale returns a sale. Stripe's ids of events and intents grow with time, those of sessions are
// random.
func newSale(n, links int) sale {
	random := fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64())
	session := "cs_test_a1" + random + random[:16]
	s := sale{link: fmt.Sprint("plink_", n%links)}
	p := testPayment("bench")
	p.ID, p.SessionID, p.Token = payment.CreditID(session), session, benchToken(payment.CreditID(session), random)
	p.PaymentIntent = fmt.Sprintf("pi_3%08dKzQ2eZvKYlo2C1%s", n, random[:8])
	p.DeviceUID, p.Duration = fmt.Sprint("dev:", n), 0
	p.PaidAt = time.Now().Truncate(time.Second)
	p.ExpiresAt = p.PaidAt.Add(time.Hour)
	s.payment = p
	s.event = StripeEvent{
		ID:       fmt.Sprintf("evt_1%08dKzQ2eZvKYlo2C%s", n, random[:8]),
		Type:     "checkout.session.completed",
		ObjectID: session,
		Created:  p.PaidAt,
		Outcome:  "payment_recorded",
		Body:     strings.Repeat("x", 1200),
	}
	return s
}

func (s sale) run(l *Ledger) error {
	var claimed payment.Payment
	err := benchUpdate(l, func(tx *Tx) (err error) {
		p := s.payment
		p.CreatedAt, p.DueAt, p.DeliveryAt, p.FundsAt = tx.Now, tx.Now, tx.Now, tx.Now
		s.event.Received = tx.Now
		if claimed, err = benchRecord(tx, s, p); err != nil {
			return err
		}
		return s.tell(tx)
	})
	if err != nil {
		return err
	}
	return benchUpdate(l, func(tx *Tx) error {
		o := payment.Outcome{Action: payment.StepPostNote, Began: tx.Now}
		if err := benchSettle(tx, claimed, o); err != nil {
			return err
		}
		return s.tell(tx)
	})
}

// tell tells the other instances that the payment has changed, as the bridge does.
func (s sale) tell(tx *Tx) error {
	return tx.Changed(ChangedPayment, s.payment.Token+" "+s.payment.SessionID)
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail with these arguments
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// bytesWritten returns how many bytes this process has given to the kernel.
func bytesWritten(b *testing.B) (n int64) {
	b.Helper()
	content, err := os.ReadFile("/proc/self/io")
	if err != nil {
		b.Skip(err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(content)); lines.Scan(); {
		if _, err := fmt.Sscanf(lines.Text(), "wchar: %d", &n); err == nil {
			return n
		}
	}
	b.Fatal("/proc/self/io names no wchar")
	return 0
}
