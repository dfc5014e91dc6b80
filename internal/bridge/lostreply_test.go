package bridge

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/ledger/pgtest"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// TestUpdateThatMayBeOnDisk checks which devices the fleet reads again after an error of an update.
func TestUpdateThatMayBeOnDisk(t *testing.T) {
	t.Parallel()
	own, lost := errors.New("changed my mind"), errors.New("the reply was lost")
	for name, c := range map[string]struct {
		err   error // of the function
		inUse bool  // what the fleet shows in the end
	}{
		"the reply is lost":            {nil, false},
		"the function changes nothing": {own, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t, confirming)
				h.told.unchecked = true
				h.paidTimed("cs_1", "dev:1")
				losing := func(ctx context.Context, f func(*ledger.Tx) error) error {
					return errors.Join(h.l.Update(ctx, f), lost)
				}
				err := h.b.updateBy(t.Context(), losing, func(tx *update) error {
					before, err := tx.Payment(payment.CreditID("cs_1"))
					if err != nil {
						return err
					}
					after := before
					after.HoldsDevice = false
					return errors.Join(tx.change(before, after), c.err)
				})
				if !errors.Is(err, lost) || !h.inUse("dev:1") {
					t.Fatalf("%v, in use %v; want an error, and nothing shown yet", err, h.inUse("dev:1"))
				}
				if n := len(h.b.unshown.ids); (n == 0) != c.inUse {
					t.Errorf("%d devices are to be shown", n)
				}
				h.b.retryShow()
				if h.inUse("dev:1") != c.inUse {
					t.Errorf("in use: %v; want %v, as the ledger has it", h.inUse("dev:1"), c.inUse)
				}
				h.close()
			})
		})
	}
}

// A commit may end after its reply was given up. The device must not be read before that.
func TestRetryShowAfterTheCommit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, confirming)
		h.told.unchecked = true
		h.paidTimed("cs_1", "dev:1")
		lost, done := errors.New("no reply in time"), make(chan error)
		late := func(ctx context.Context, f func(*ledger.Tx) error) error {
			ran := make(chan struct{})
			go func() {
				done <- h.l.Update(ctx, func(tx *ledger.Tx) error {
					err := f(tx)
					close(ran)
					time.Sleep(showTimeout * 3 / 2)
					return err
				})
			}()
			<-ran
			return lost
		}
		err := h.b.updateBy(t.Context(), late, func(tx *update) error {
			before, err := tx.Payment(payment.CreditID("cs_1"))
			if err != nil {
				return err
			}
			after := before
			after.HoldsDevice = false
			return tx.change(before, after)
		})
		if !errors.Is(err, lost) {
			t.Errorf("got %v; want %v", err, lost)
		}
		h.b.retryShow() // gives up, because the commit takes longer
		h.b.retryShow()
		if h.inUse("dev:1") || len(h.b.unshown.ids) > 0 {
			t.Error("the device is shown as it was before the commit")
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		h.close()
	})
}

// losesReplies returns the URL of a proxy in front of the tests' database. After lose, the reply to the
// next commit is lost with its connection.
func losesReplies(t *testing.T, database string) (line string, lose func()) {
	t.Helper()
	var losing atomic.Bool
	pass := func(to, from net.Conn, replies bool) {
		defer func() { _, _ = to.Close(), from.Close() }()
		buffer := make([]byte, 1<<16)
		for {
			n, err := from.Read(buffer)
			committed := replies && bytes.Contains(buffer[:n], []byte("C\x00\x00\x00\x0bCOMMIT\x00"))
			if err != nil || committed && losing.CompareAndSwap(true, false) {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
	}
	line = pgtest.Line(t, database, func(client, server net.Conn) {
		go pass(server, client, false)
		go pass(client, server, true)
	})
	return line, func() { losing.Store(true) }
}

// losingHouse returns a house whose ledger can lose the reply to a commit.
func losingHouse(t *testing.T) (h *house, lose func()) {
	t.Helper()
	line, lose := losesReplies(t, pgtest.Database(t))
	h = newHouseAt(t, line, nil, confirming)
	h.told.unchecked = true // metrics miss what a lost reply has hidden
	return h, lose
}

// shows checks what the fleet shows after the devices have been read again.
func (h *house) shows(what string, shown func() bool) {
	h.Helper()
	for end := time.Now().Add(5 * time.Second); !shown(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			h.Errorf("the fleet does not show that %s", what)
			return
		}
		h.b.retryShow()
	}
}

// What a commit changed is shown though its reply was lost, and though a repetition finds it done.
func TestPostgresLostReplyIsShown(t *testing.T) {
	t.Parallel()
	h, lose := losingHouse(t)
	h.paidTimed("cs_1", "dev:1")
	h.hub.will(payment.StepPostNote, answer{err: &upstream.Error{Outcome: upstream.Rejected, Status: 422}})
	claimed := h.due("cs_1", payment.StepPostNote)
	lose()
	h.b.execute(t.Context(), claimed)
	if p := h.payment("cs_1"); p.HoldsDevice || p.Delivery != payment.Failed {
		t.Errorf("after a rejected note the payment is %+v", p)
	}
	h.shows("the machine is free", func() bool { return !h.inUse("dev:1") })

	at := time.Now().Truncate(time.Second)
	out := payment.Confirmation{EventID: "evt_out", DeviceUID: "dev:2", State: payment.MachineOut, At: at}
	lose()
	if err := h.b.Confirm(t.Context(), out); err == nil {
		t.Error("a note was acknowledged without the reply to its commit")
	}
	if err := h.b.Confirm(t.Context(), out); err != nil { // Notehub sends it again
		t.Error(err)
	}
	h.shows("the machine is out of order", func() bool { return h.b.c.Fleet.Device("dev:2").Out != nil })

	lose()
	if err := h.b.Pause(t.Context(), "dev:2", Actor{"operator", "leaks"}); err == nil {
		t.Error("a pause was acknowledged without the reply to its commit")
	}
	h.shows("the machine is paused", func() bool { return h.b.c.Fleet.Device("dev:2").Pause != nil })
}

// The outcome of a call is applied once, though its commit got no reply and it is recorded again.
func TestPostgresLostReplyToAnOutcome(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(h *house){
		"nothing happens meanwhile": func(*house) {},
		"it is claimed again meanwhile": func(h *house) {
			p := h.payment("cs_1")
			err := h.l.Update(h.Context(), func(tx *ledger.Tx) error {
				again, _ := payment.Claim(p, tx.Now)
				return tx.ChangePayment(p, again)
			})
			if err != nil {
				h.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, lose := losingHouse(t)
			h.paid("cs_1", "dev:1")
			h.hub.will(payment.StepPostNote, answer{err: &upstream.Error{Outcome: upstream.Retryable, Status: 503}})
			claimed := h.due("cs_1", payment.StepPostNote)
			lose()
			done := make(chan struct{})
			go func() { h.b.execute(context.Background(), claimed); close(done) }()
			var once payment.Payment
			for once = h.payment("cs_1"); once.InFlight; once = h.payment("cs_1") {
				time.Sleep(10 * time.Millisecond)
			}
			meanwhile(h)
			want := h.payment("cs_1")
			<-done
			if got := h.payment("cs_1"); got != want || once.Failures != 1 {
				t.Errorf("the outcome was applied again:\n%+v\nwant\n%+v", got, want)
			}
			if attempts, err := h.l.Attempts(t.Context(), want.ID); len(attempts) != 1 || err != nil {
				t.Errorf("%d attempts, %v; want 1", len(attempts), err)
			}
		})
	}
}
