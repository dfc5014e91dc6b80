package bridge

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// published is an Observer that adds up the transitions of each payment. So the sum must be the
// ledger's state, whatever their order.
type published struct {
	mu sync.Mutex
	// for each payment, how often it entered a state minus how often it left it
	sums      map[string]map[string]int
	unchecked bool // the test publishes by hand, or exchanges the ledger
}

func (o *published) Event(string)                                {}
func (o *published) Confirmation(string)                         {}
func (o *published) Attempt(payment.Step, string, time.Duration) {}

func (o *published) Payment(before, after payment.Payment) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sums == nil {
		o.sums = map[string]map[string]int{}
	}
	sum := o.sums[after.ID]
	if sum == nil {
		sum = map[string]int{}
		o.sums[after.ID] = sum
	}
	sum[shown(after)]++
	if before.ID != "" {
		sum[shown(before)]--
	}
}

// shown returns the fields of a payment that subscribers use. A claim changes none of them.
func shown(p payment.Payment) string {
	return fmt.Sprintln(p.Funds, p.RefundedAmount, p.LostAmount, p.RefundSeq, p.Delivery, p.Reason, p.ReviewReason,
		p.MachineCode, p.HoldsDevice, payment.DeviceFreeAt(p).UnixMilli(), p.Step, p.Plan, p.DeviceName, p.AccessCode,
		p.PendingNotice, p.CardLast4, p.ReceiptURL)
}

// check compares the sums with the ledger.
func (o *published) check(h *house) {
	h.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.unchecked {
		return
	}
	list, _, err := h.l.Payments(context.Background(), ledger.Filter{Limit: 1000})
	if err != nil {
		h.Error(err)
	}
	for _, p := range list {
		for state, n := range o.sums[p.ID] {
			if want := map[bool]int{true: 1}[state == shown(p)]; n != want {
				h.Errorf("%s entered a state %d times more than it left it; want %d:\n%sin the ledger:\n%s",
					p.SessionID, n, want, state, shown(p))
			}
		}
		if o.sums[p.ID] == nil {
			h.Errorf("%s is in the ledger and was not published", p.SessionID)
		}
	}
}

// TestUpdatePublishesEveryChange makes one change of each kind. The house then compares what was
// published with the ledger, as it does at the end of every test.
func TestUpdatePublishesEveryChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, confirming)
		operator := Actor{"operator", "test"}
		decided := func(_ payment.Payment, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		h.paidTimed("cs_started", "dev:1")
		h.does("cs_started", payment.StepPostNote)
		h.says("evt_1", "dev:1", "cs_started", "started")
		time.Sleep(6 * time.Minute)
		h.paidTimed("cs_next", "dev:1") // ends the first
		h.receive(charge("cs_next", "4242"))
		decided(h.b.Cancel(t.Context(), payment.CreditID("cs_next"), operator))
		h.does("cs_next", payment.StepRefund)

		h.paid("cs_part", "dev:2")
		decided(h.b.Refund(t.Context(), payment.CreditID("cs_part"), 100, operator))
		h.claim(h.b.notehub(), 1)
		h.reopen() // the post is interrupted
		time.Sleep(payment.Lease)
		h.claim(h.b.notehub(), 1)

		decided(h.b.GrantCredit(t.Context(), "dev:1", "", operator))
		h.run()
		time.Sleep(time.Hour) // machines are silent, credits expire
		h.close()
	})
}

// TestUpdateIsTheOnlyWriterOfPayments looks for calls of the ledger that change a payment.
func TestUpdateIsTheOnlyWriterOfPayments(t *testing.T) {
	t.Parallel()
	const root = "../.."
	writers := map[string]bool{"ChangePayment": true, "InsertPayment": true, "SavePayment": true, "SetCharge": true}
	found := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		name := filepath.ToSlash(strings.TrimPrefix(path, root+string(filepath.Separator)))
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") ||
			strings.HasPrefix(name, "internal/ledger/") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && writers[s.Sel.Name] {
				if found++; name != "internal/bridge/publish.go" {
					t.Errorf("%s calls %s, so the change is not published; want a method of update", name, s.Sel.Name)
				}
			}
			return true
		})
		return nil
	})
	if err != nil || found != 3 {
		t.Errorf("%d calls, %v; want the 3 of update", found, err)
	}
}
