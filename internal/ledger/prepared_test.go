package ledger

import (
	"fmt"
	"testing"
)

// ChangePayment uses one statement for each set of columns that change. Unused statements are
// closed.
func TestPreparedConnClosesUnusedStatements(t *testing.T) {
	t.Parallel()
	l := open(t, freshSQLite(t))
	insert(t, l, testPayment("one"))
	id := testPayment("one").ID
	mustUpdate(t, l, func(tx *Tx) error {
		conn := tx.db.(*preparedConn)
		for n := range 3 * maxPrepared {
			before, err := tx.Payment(id)
			if err != nil {
				return err
			}
			after := before
			set := func(bit int, change func()) {
				if n>>bit&1 == 1 {
					change()
				}
			}
			set(0, func() { after.DeviceName += "x" })
			set(1, func() { after.PriceID += "x" })
			set(2, func() { after.Plan += "x" })
			set(3, func() { after.Reason += "x" })
			set(4, func() { after.MachineCode += "x" })
			set(5, func() { after.ReviewReason += "x" })
			set(6, func() { after.FencingToken++ })
			set(7, func() { after.Failures++ })
			set(8, func() { after.CancelReason += "x" })
			set(9, func() { after.RefundSeq++ })
			if err := tx.ChangePayment(before, after); err != nil {
				return fmt.Errorf("set %d: %w", n, err)
			}
			if len(conn.statements) > maxPrepared {
				return fmt.Errorf("%d statements are kept after %d sets of columns; want at most %d",
					len(conn.statements), n, maxPrepared)
			}
		}
		// A frequently used statement is kept.
		if _, ok := conn.statements[`SELECT `+paymentColumns+` FROM payments WHERE id = $1`]; !ok {
			return fmt.Errorf("the statement that was used each time is released")
		}
		return nil
	})
}
