package ledger

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"notepay/internal/dsn"
	"notepay/internal/ledger/pgtest"
	"notepay/internal/payment"
)

// schemaFixtures returns the numbers of the schemas of which testdata/schemas has a ledger.
func schemaFixtures(t *testing.T) (numbers []string) {
	t.Helper()
	files, err := filepath.Glob("testdata/schemas/[0-9]*.sql")
	if err != nil || len(files) < 8 {
		t.Fatalf("%q, %v; want the ledgers of earlier schemas", files, err)
	}
	for _, f := range files {
		numbers = append(numbers, strings.TrimSuffix(filepath.Base(f), ".sql"))
	}
	return numbers
}

// ledgerOfSchema makes a ledger of an earlier schema, with payments in several states.
func ledgerOfSchema(t *testing.T, number, database string) {
	t.Helper()
	text := func(name string) string {
		t.Helper()
		raw, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	begin, dialect, end := oldProgram(t, database)
	defer end()
	if number == "002" {
		err := begin(func(tx *Tx) error { return errOnly(tx.exec(dialect(text("old_schema.sql")))) })
		if err != nil {
			t.Fatal(err)
		}
	} else {
		known := programMigrations(t)
		n := slices.IndexFunc(known, func(m migration) bool { return strings.HasPrefix(m.name, number+"_") })
		if n < 0 {
			t.Fatalf("there is no schema %s", number)
		}
		if err := (migrator{schema: known[:n+1], begin: begin, dialect: dialect}).run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"payments", number} {
		err := begin(func(tx *Tx) error { return errOnly(tx.exec(text("schemas/" + name + ".sql"))) })
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

// oldProgram works on a database as Open does, but does not migrate it. The caller calls end.
func oldProgram(t *testing.T, database string) (
	begin func(func(*Tx) error) error, dialect func(string) string, end func()) {
	t.Helper()
	if !dsn.IsPostgres(database) {
		db, begin, dialect := unmigrated(t, database)
		return begin, dialect, func() { _ = db.Close() }
	}
	server, err := parsePostgres(database)
	if err != nil {
		t.Fatal(err)
	}
	lease, err := join(t.Context(), server, Identity{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := newPostgresWriter(server, lease, nil)
	begin = func(fn func(*Tx) error) error { return w.migrate(context.Background(), fn) }
	return begin, toPostgres, func() { w.disconnect(); lease.release() }
}

// ends returns how each payment of testdata/schemas has to end if every call succeeds, and pending
// notes are not found: the calls, and where credit and money are then.
func ends() map[string]string {
	return map[string]string{
		"cs_queued":    "note: sent paid",
		"cs_flight":    "check_pending note: sent paid",
		"cs_looked":    "check_pending note: sent paid",
		"cs_sent":      "check_pending: fetched paid",
		"cs_started":   ": done paid",
		"cs_held":      "capture: started paid",
		"cs_refunding": "refund: failed refunded",
		"cs_done":      ": done paid",
		"cs_disputed":  ": done disputed",
	}
}

// testEarlierSchemas migrates ledgers of earlier schemas. Their rows stay, and their payments still
// read, and end as they should.
func testEarlierSchemas(t *testing.T, database string) {
	for n, number := range schemaFixtures(t) {
		t.Run(number, func(t *testing.T) {
			t.Parallel()
			database := database
			if n > 0 { // the first one has the given database
				database = another(t, database)
			}
			ledgerOfSchema(t, number, database)
			var before map[string]contents
			if number > "013" { // which gives the rows of some tables other keys
				before = contentsOf(t, database)
			}
			l := open(t, database)
			for table, rows := range before {
				if got := rows.read(t, l.reads.DB, table); !slices.Equal(got, rows.list) {
					t.Errorf("%s has\n%s\nwant\n%s", table, strings.Join(got, "\n"), strings.Join(rows.list, "\n"))
				}
			}
			for session, want := range ends() {
				p, err := l.Payment(t.Context(), session)
				if err != nil {
					t.Errorf("%s: %v", session, err)
					continue
				}
				if p.DeviceName != "Washer" || p.Amount != 350 || p.PaidAt.UnixMilli() != 1763722696000 {
					t.Errorf("%s is read as %+v", session, p)
				}
				if got := runToItsEnd(t, l, p.ID); got != want {
					t.Errorf("%s ends as %q; want %q", session, got, want)
				}
			}
			attempts, err := l.Attempts(t.Context(), payment.CreditID("cs_sent"))
			if err != nil || len(attempts) != 1 || attempts[0].Status != 200 {
				t.Errorf("attempts %+v, %v; want the one of before", attempts, err)
			}
			disputes := inTx(l, func(tx *Tx) ([]payment.Dispute, error) { return tx.Disputes("pi_disputed") })
			if disputes.err != nil || len(disputes.got) != 1 || disputes.got[0].ID != "dp_1" {
				t.Errorf("disputes %+v, %v; want the one of before", disputes.got, disputes.err)
			}
			insert(t, l, testPayment("new"))
		})
	}
}

// contents are the rows of a table, as texts.
type contents struct{ columns, list []string }

// contentsOf reads the tables of a ledger that a migration leaves as they are. Starting changes the
// others.
func contentsOf(t *testing.T, database string) map[string]contents {
	t.Helper()
	db, err := sql.Open("sqlite", database)
	list := tablesOfSQLite
	if dsn.IsPostgres(database) {
		db, err = sql.Open("pgx", database)
		list = `SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()`
	}
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	all := map[string]contents{}
	for _, table := range names(t, db, list) {
		if slices.Contains([]string{"payments", "facts", "cursors", "migrations", "instances", "leader"}, table) {
			continue
		}
		rows, err := db.Query(`SELECT * FROM ` + table + ` LIMIT 0`)
		if err != nil {
			t.Fatal(err)
		}
		var c contents
		c.columns, err = rows.Columns()
		if err := errors.Join(err, rows.Close()); err != nil {
			t.Fatal(err)
		}
		c.list = c.read(t, db, table)
		all[table] = c
	}
	return all
}

// read reads the columns of the table.
func (c contents) read(t *testing.T, db *sql.DB, table string) (list []string) {
	t.Helper()
	columns := `"` + strings.Join(c.columns, `", "`) + `"`
	rows, err := db.Query(`SELECT ` + columns + ` FROM ` + table + ` ORDER BY ` + columns)
	list, err = all(rows, err, func(s scanner) (string, error) {
		values := make([]any, len(c.columns))
		for i := range values {
			values[i] = new(sql.NullString)
		}
		err := s.Scan(values...)
		text := ""
		for i, v := range values {
			text += c.columns[i] + "=" + v.(*sql.NullString).String + " "
		}
		return text, err
	})
	if err != nil {
		t.Fatalf("read %s: %v", table, err)
	}
	return list
}

// another returns a new database of the same kind.
func another(t *testing.T, database string) string {
	t.Helper()
	if dsn.IsPostgres(database) {
		return pgtest.Database(t)
	}
	return freshSQLite(t)
}

// runToItsEnd makes the calls of a payment, each of which succeeds. It returns the steps, and where
// credit and money are at the end.
func runToItsEnd(t *testing.T, l *Ledger, id string) string {
	t.Helper()
	var steps []string
	for range 10 {
		var p payment.Payment
		mustUpdate(t, l, func(tx *Tx) error {
			before, err := tx.Payment(id)
			if err != nil {
				return err
			}
			p, _ = payment.Claim(before, tx.Now)
			return tx.ChangePayment(before, p)
		})
		if !p.InFlight { // nothing is due
			return strings.Join(steps, " ") + ": " + string(p.Delivery) + " " + string(p.Funds)
		}
		steps = append(steps, string(p.Step))
		o := payment.Outcome{Action: p.Step, Status: 200, Began: l.Now()}
		if p.Step == payment.StepRefund {
			// The order is older than its idempotency key, so the refunds are read first.
			o.Reconciled = p.ReconcileRefund
			o.Refund = payment.RefundRecord{
				ID:     "re_1",
				Credit: p.ID,
				Number: p.RefundSeq,
				Amount: p.RefundAmount,
				Status: "succeeded",
			}
			o.Refunds = []payment.RefundRecord{o.Refund}
		}
		mustUpdate(t, l, func(tx *Tx) error {
			return tx.ChangePayment(p, payment.ApplyOutcome(p, o, tx.Now))
		})
	}
	t.Fatalf("%s has no end: %q", id, steps)
	return ""
}
