// Package machine runs the real firmware, compiled for this computer, as the machine of the whole
// service in fake time. Notes that the service makes go through the firmware, and its answers
// return by Notehub's route. The board loses its power at random moments.
package machine

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// plans returns the plans that machines sell, as the metadata of their prices.
func plans() map[string]map[string]string {
	return map[string]map[string]string{
		"vending": {},
		"washer":  {"duration": "2m"},
		"delayed": {"duration": "2m", "delayed_start": "1m"},
		"locker":  {"duration": "5m", "access_code": "true"},
	}
}

// inBoard runs a test with the real firmware on the washer's board, and a service that wants
// confirmations.
func inBoard(t *testing.T, metadata map[string]string, capture string, test func(*apptest.Front, *board)) {
	t.Helper()
	compiled(t)
	apptest.InFront(t, func(s *config.Settings) {
		s.ConfirmWithin, s.NotehubRouteToken, s.Capture = time.Minute, apptest.RouteToken, capture
	}, func(f *apptest.Front) {
		f.Stripe.SetPrice(fixture.Warm, func(p *sandbox.Price) { p.Metadata = metadata })
		b := newBoard(f.T, f.Notehub, fixture.Washer, newRandom(f.T))
		ctx, stop := context.WithCancel(f.Context())
		defer b.done.Wait()
		defer stop()
		b.run(ctx)
		f.Route().Run()
		f.Pass(10 * time.Second)
		test(f, b)
	})
}

// told returns the states that a credit was answered with, such as "started done".
func told(f *apptest.Front, credit string) string {
	var states []string
	for _, a := range f.Notehub.Answers(fixture.Washer) {
		if a.Body["credit_id"] == credit {
			states = append(states, fmt.Sprint(a.Body["state"]))
		}
	}
	return strings.Join(slices.Compact(states), " ")
}

func TestFirmwareServesAPayment(t *testing.T) {
	t.Parallel()
	for name, metadata := range plans() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBoard(t, metadata, "immediate", func(f *apptest.Front, b *board) {
				session := f.Buy(sandbox.PayOptions{})
				credit := payment.CreditID(session.ID)
				f.Pass(20 * time.Second)
				f.MachineIs(session, payment.Started)
				f.Pass(10 * time.Minute)
				f.Money(session.ID, 350, 0, 0)
				want, paid := "started done", time.Duration(0)
				switch name {
				case "vending":
					want = "started"
				case "locker":
					paid = 5 * time.Minute
				default:
					paid = 2 * time.Minute
				}
				if got := told(f, credit); got != want || b.starts[credit] != 1 {
					t.Errorf("answered %q after %d starts; want %q after one", got, b.starts[credit], want)
				}
				if ran := b.ran[credit]; (ran - paid).Abs() > time.Second {
					t.Errorf("ran for %v; want %v", ran, paid)
				}
			})
		})
	}
}

func TestFirmwareReturnsTheMoney(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, capture string
		trouble       func(*board)
		want          apptest.Ending
		answer        string
	}{
		{"its door is open", "immediate", func(b *board) { b.refusal = "E-DOOR" },
			apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonFailed, ""), "failed"},
		{"it runs for another customer", "immediate", func(b *board) { b.refusal = "busy" },
			apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonBusy, ""), "busy"},
		{"its door is open, and the money is only authorized", "on_start", func(b *board) { b.refusal = "E-DOOR" },
			apptest.Ends(payment.Canceled, payment.Failed, payment.ReasonFailed, ""), "failed"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			inBoard(t, plans()["washer"], row.capture, func(f *apptest.Front, b *board) {
				b.set(func() { row.trouble(b) })
				session := f.Buy(sandbox.PayOptions{})
				f.Pass(5 * time.Minute)
				f.Stands(session.ID, row.want)
				credit := payment.CreditID(session.ID)
				if got := told(f, credit); got != row.answer || b.starts[credit] != 0 {
					t.Errorf("answered %q after %d starts; want %q after none", got, b.starts[credit], row.answer)
				}
			})
		})
	}
}

func TestFirmwareStopsAfterARefund(t *testing.T) {
	t.Parallel()
	inBoard(t, plans()["washer"], "immediate", func(f *apptest.Front, b *board) {
		session := f.Buy(sandbox.PayOptions{})
		credit := payment.CreditID(session.ID)
		f.Pass(30 * time.Second)
		f.Stripe.Refund(session.ID, 0)
		f.Pass(30 * time.Second)
		if got := told(f, credit); got != "started done" || b.ran[credit] > 45*time.Second {
			t.Errorf("answered %q after %v; want it stopped", got, b.ran[credit])
		}
	})
}

func TestFirmwareExpires(t *testing.T) {
	t.Parallel()
	inBoard(t, plans()["vending"], "immediate", func(f *apptest.Front, b *board) {
		b.set(func() { b.cutOneIn, b.dark = 1, 11*time.Minute })
		f.Pass(5 * time.Second)
		b.set(func() { b.cutOneIn = 0 })
		session := f.Buy(sandbox.PayOptions{})
		b.card.Sync() // it has the note, and its host has no power
		f.Pass(20 * time.Minute)
		if got := told(f, payment.CreditID(session.ID)); got != "expired" || len(b.starts) != 0 {
			t.Errorf("answered %q after starts %v; want expired after none", got, b.starts)
		}
		f.Money(session.ID, 350, 0, 350)
	})
}

// TestFirmwareReadsEncryptedNotes runs a firmware that verifies signatures, on a Notecard that decrypts. With
// another key it ignores the note, and the money goes back.
func TestFirmwareReadsEncryptedNotes(t *testing.T) {
	t.Parallel()
	master := bytes.Repeat([]byte{0x0f}, 32)
	for name, row := range map[string]struct {
		key    []byte
		answer string
		back   int64
	}{
		"its own key":   {payment.DeviceKey(master, fixture.Washer), "started done", 0},
		"another's key": {payment.DeviceKey(master, "dev:1"), "", 350},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := program(t, secured)
			apptest.InFront(t, func(s *config.Settings) {
				s.ConfirmWithin, s.NotehubRouteToken = time.Minute, apptest.RouteToken
				s.NoteSignKey, s.EncryptNotes = config.Secret(hex.EncodeToString(master)), "experimental"
			}, func(f *apptest.Front) {
				f.Stripe.SetPrice(fixture.Warm, func(p *sandbox.Price) { p.Metadata = plans()["locker"] })
				b := newBoard(f.T, f.Notehub, fixture.Washer, newRandom(f.T))
				b.program, b.key = path, hex.EncodeToString(row.key)
				ctx, stop := context.WithCancel(f.Context())
				defer b.done.Wait()
				defer stop()
				b.run(ctx)
				f.Route().Run()
				f.Pass(10 * time.Second)
				session := f.Buy(sandbox.PayOptions{})
				f.Pass(20 * time.Minute)
				f.Money(session.ID, 350, 0, row.back)
				if got := told(f, payment.CreditID(session.ID)); got != row.answer {
					f.Errorf("answered %q; want %q", got, row.answer)
				}
				for _, n := range f.Notehub.Notes(fixture.Washer) {
					if n.Body["alg"] == nil || n.Body["credit_id"] != nil {
						f.Errorf("Notehub has %v; want an encrypted body", n.Body)
					}
				}
			})
		})
	}
}

// TestFirmwareLosesPower shows what the firmware promises while its power fails at random steps and
// replies are lost: payments that keep their money are starts that were answered.
func TestFirmwareLosesPower(t *testing.T) {
	t.Parallel()
	for name, metadata := range plans() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBoard(t, metadata, "immediate", func(f *apptest.Front, b *board) {
				r, wanted := newRandom(t), int(fromEnvironment(t, "NOTEPAY_FIRMWARE_PAYMENTS", 12))
				var sold []sandbox.Session
				refunded := map[string]bool{}
				for len(sold) < wanted {
					b.set(func() {
						b.cutOneIn, b.loss = 60+r.IntN(200), []int{0, 10, 40}[r.IntN(3)]
						b.dark = []time.Duration{0, 5 * time.Second, 40 * time.Second, 3 * time.Minute}[r.IntN(4)]
						b.refusal = []string{"", "", "", "", "E-DOOR", "busy"}[r.IntN(6)]
					})
					f.Asks("resume", "/api/devices/"+fixture.Washer+"/resume", "", 200, "")
					f.Pass(10 * time.Second)
					for range 1 + r.IntN(2) {
						sold = append(sold, f.Buy(sandbox.PayOptions{}))
						f.Pass(time.Duration(r.IntN(20)) * time.Second)
					}
					if last := sold[len(sold)-1].ID; r.IntN(6) == 0 {
						refunded[last] = true
						f.Stripe.Refund(last, 0)
					}
					f.Pass(time.Duration(2+r.IntN(6)) * time.Minute)
				}
				b.set(func() { b.cutOneIn, b.loss, b.refusal = 0, 0, "" })
				f.Pass(20 * time.Minute)
				check(f, b, sold, refunded)
			})
		})
	}
}

// check compares the money of all payments with what the machine did and answered.
func check(f *apptest.Front, b *board, sold []sandbox.Session, refunded map[string]bool) {
	f.Helper()
	if left := len(b.card.Waiting("payment.qi")) + b.card.Unsent(); left > 0 || b.running != "" {
		f.Errorf("%d notes are left, %q runs; want all handled", left, b.running)
	}
	kept, given, review := 0, 0, 0
	for _, s := range sold {
		p := f.Paid(s.ID)
		charged, _, back, _ := f.Stripe.Money(s.ID)
		said := told(f, p.ID)
		answered := strings.HasPrefix(said, "started") || strings.HasPrefix(said, "done")
		on := fmt.Sprintf("%s: %d starts, ran %v, answered %q, %s %s %s %s", p.ID, b.starts[p.ID], b.ran[p.ID], said,
			p.Funds, p.Delivery, p.Reason, p.ReviewReason)
		keeps := charged > back
		switch {
		case keeps && !answered:
			f.Errorf("the money is kept without an answered start: %s", on)
		case keeps && b.starts[p.ID] == 0 && p.ReviewReason == "":
			f.Errorf("paid for nothing: %s", on)
		case !keeps && answered && !refunded[s.ID] && p.Reason != payment.ReasonUnconfirmed &&
			p.Reason != payment.ReasonStartedAfter:
			f.Errorf("the money of an answered start is back: %s", on)
		case b.ran[p.ID] > p.Duration+time.Second:
			f.Errorf("on for too long: %s", on)
		case p.Duration == 0 && b.starts[p.ID] > 1:
			f.Errorf("two starts: %s", on)
		case p.Step != payment.NoStep:
			f.Errorf("not at its end: %s", on)
		}
		switch {
		case keeps && p.ReviewReason != "":
			review++
		case keeps:
			kept++
		case b.starts[p.ID] > 0:
			given++
		}
	}
	f.Logf("%d power cuts, %d payments: %d kept the money, %d of them need attention, %d starts were given away",
		b.cuts, len(sold), kept+review, review, given)
	if b.cuts < len(sold)/3 || kept < len(sold)/6 {
		f.Errorf("got %d power cuts, %d payments that kept their money; want more", b.cuts, kept)
	}
}
