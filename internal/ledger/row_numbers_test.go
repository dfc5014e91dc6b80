package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"notepay/internal/payment"
)

const rowNumbers = "013_row_numbers.sql"

// ledgerBefore makes a ledger that has not seen migration 013, with two payments. Each has two
// attempts in the same millisecond and an earlier one, which was recorded last.
func ledgerBefore(t *testing.T, database string) (stored []payment.Payment, attempts []Attempt) {
	t.Helper()
	db, begin, dialect := unmigrated(t, database)
	run := func(what string, statements ...func(tx *Tx) error) {
		t.Helper()
		for _, statement := range statements {
			if err := begin(statement); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	before := programMigrations(t)
	before = before[:slices.IndexFunc(before, func(m migration) bool { return m.name == rowNumbers })]
	if err := (migrator{schema: before, begin: begin, dialect: dialect}).run(t.Context()); err != nil {
		t.Fatal(err)
	}
	full, queued := fullPayment(t), testPayment("queued")
	full.Rev, full.InFlight, full.CreatedAt = 0, false, noon().Add(time.Minute)
	full.NoteFile, full.Pulses, full.Output, full.RefundReference, full.Discount = "", 0, 0, "", 0
	full.Token, queued.Token = strings.Repeat("ab", 16), strings.Repeat("cd", 16)
	queued.DeviceUID = "dev:2"
	stored = []payment.Payment{full, queued}
	attempts = []Attempt{
		{At: noon(), Action: payment.StepCheckPending, Outcome: "retry", Detail: "recorded last"},
		{At: noon().Add(time.Second), Action: payment.StepPostNote, Outcome: "retry", Status: 503},
		{At: noon().Add(time.Second), Action: payment.StepPostNote, Outcome: "ok", Status: 200},
	}
	// columns that did not exist
	later := []string{"rev", "note_file", "pulses", "output", "refund_reference", "discount"}
	for _, p := range stored {
		run("payment", func(tx *Tx) error {
			var columns []string
			var args []any
			values := append(immutable(&p), mutable(&p)...)
			for i, name := range strings.Split(paymentColumns, ",") {
				if name = strings.TrimSpace(name); !slices.Contains(later, name) {
					columns, args = append(columns, name), append(args, values[i])
				}
			}
			list := strings.Join(columns, ", ")
			return second(tx.exec(`INSERT INTO payments (`+list+`) VALUES (`+numbered(len(args))+`)`, args...)).err
		})
		for _, a := range []Attempt{attempts[1], attempts[2], attempts[0]} {
			run("attempt", func(tx *Tx) error {
				return second(tx.exec(`INSERT INTO attempts
					(payment_id, at, action, outcome, status, detail, took_ms) VALUES ($1, $2, $3, $4, $5, $6, 0)`,
					p.ID, a.At.UnixMilli(), string(a.Action), a.Outcome, a.Status, a.Detail)).err
			})
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return stored, attempts
}

// A ledger from before the row numbers keeps everything, and the pages that customers have open.
func testRowNumbers(t *testing.T, database string) {
	stored, attempts := ledgerBefore(t, database)

	// A migration that fails leaves the ledger as it was.
	db, begin, dialect := unmigrated(t, database)
	spoilt := func(statement string) string {
		return dialect(strings.Replace(statement, "CREATE UNIQUE INDEX payments_of_old", "CREATE NONSENSE", 1))
	}
	err := migrator{schema: programMigrations(t), begin: begin, dialect: spoilt}.run(t.Context())
	if err == nil || !strings.Contains(err.Error(), rowNumbers) {
		t.Fatalf("got error %v; want one of %s", err, rowNumbers)
	}
	const half = `SELECT payment_id FROM attempts WHERE payment_id NOT IN (SELECT id FROM payments)`
	if got := names(t, db, half); len(got) != 0 {
		t.Errorf("attempts without payments after the failure: %q", got)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	for range 2 { // the second start has nothing to migrate
		l := open(t, database)
		for _, want := range stored {
			for what, key := range map[string]string{
				"credit": want.ID, "session": want.SessionID, "intent": want.PaymentIntent,
			} {
				wantPayment(t, "Payment by "+what, want, second(l.Payment(t.Context(), key)))
			}
			wantPayment(t, "PaymentOfToken", want, second(l.PaymentOfToken(t.Context(), want.Token)))
			if got, err := l.Attempts(t.Context(), want.ID); err != nil || !sameAttempts(got, attempts) {
				t.Errorf("attempts: got %+v, %v; want %+v", got, err, attempts)
			}
		}
		wantNames(t, l, "payments in the order of their recording", `SELECT n || ' ' || session_id FROM payments`,
			[]string{"1 cs_queued", "2 cs_full"})
		closeLedger(t, l)
	}
	l := open(t, database)
	insert(t, l, testPayment("after"))
	mustUpdate(t, l, func(tx *Tx) error { return tx.AddAttempt(stored[0].ID, posted()) })
	if got, err := l.Attempts(t.Context(), stored[0].ID); err != nil || len(got) != len(attempts)+1 {
		t.Errorf("attempts with a new one: got %+v, %v", got, err)
	}
}

// sameAttempts compares attempts. Those of one millisecond may have any order, because older
// ledgers did not keep it.
func sameAttempts(got, want []Attempt) bool {
	order := func(a, b Attempt) int {
		return strings.Compare(fmt.Sprint(a.At.UnixMilli(), a.Status), fmt.Sprint(b.At.UnixMilli(), b.Status))
	}
	got, want = slices.SortedFunc(slices.Values(got), order), slices.SortedFunc(slices.Values(want), order)
	return slices.Equal(got, want)
}

func testTokens(t *testing.T, database string) {
	l := open(t, database)
	p, other := testPayment("one"), testPayment("other")
	p.Token, other.Token = payment.TokenOf(p.ID, [16]byte{1}), payment.TokenOf(other.ID, [16]byte{2})
	insert(t, l, p, other)
	wantPayment(t, "PaymentOfToken", p, second(l.PaymentOfToken(t.Context(), p.Token)))
	wrong := p.Token[:len(p.Token)-1] + "x"
	mixed := p.Token[:16] + other.Token[16:]
	for _, token := range []string{wrong, mixed, p.ID, p.Token[:16], p.Token[:47], p.Token + "0", ""} {
		if got, err := l.PaymentOfToken(t.Context(), token); !errors.Is(err, ErrNotFound) {
			t.Errorf("PaymentOfToken(%q) = %+v, %v; want %v", token, got, err, ErrNotFound)
		}
	}
	list, err := l.PaymentsOfTokens(t.Context(), []string{p.Token, "token_unknown", other.Token})
	if err != nil || len(list) != 2 {
		t.Errorf("PaymentsOfTokens = %+v, %v; want both payments", list, err)
	}
}

func testRevision(t *testing.T, database string) {
	l := open(t, database)
	p := testPayment("one")
	insert(t, l, p)
	sent, late := p, p
	sent.Delivery, sent.SentAt, sent.MaybeAccepted = payment.Sent, noon(), true
	late.Delivery, late.Reason = payment.Failed, "expired"
	var results []bool
	mustUpdate(t, l, func(tx *Tx) error {
		results = nil
		for _, after := range []payment.Payment{sent, late} {
			changed, err := tx.ChangeUnread(p, after)
			if err != nil {
				return err
			}
			results = append(results, changed)
		}
		return nil
	})
	if !slices.Equal(results, []bool{true, false}) {
		t.Errorf("two changes of one revision: %v; want the first alone to be made", results)
	}
	got, err := l.Payment(t.Context(), p.ID)
	if err != nil || got.Delivery != payment.Sent || got.Rev != p.Rev+1 {
		t.Errorf("got %+v, %v; want it sent, with the next revision", got, err)
	}
	for what, change := range map[string]func(tx *Tx) error{
		"SetCharge":    func(tx *Tx) error { return tx.SetCharge(p.ID, "4242", "") },
		"SavePayment":  func(tx *Tx) error { q := got; q.Plan = tx.Now.String(); return tx.SavePayment(q) },
		"ChangeUnread": func(tx *Tx) error { return second(tx.ChangeUnread(got, got)).err },
	} {
		before := second(l.Payment(t.Context(), p.ID)).got
		got = before
		mustUpdate(t, l, change)
		if after := second(l.Payment(t.Context(), p.ID)).got; after.Rev != before.Rev+1 {
			t.Errorf("%s: revision %d after %d; want the next", what, after.Rev, before.Rev)
		}
	}
}

// A statement that changes payments without raising the revision would let a worker overwrite the
// change.
func TestEachChangeOfPaymentsRaisesTheRevision(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	changes := regexp.MustCompile(`UPDATE payments SET [^,` + "`" + `"]*`)
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, statement := range changes.FindAllString(string(content), -1) {
			found++
			if !strings.HasPrefix(statement, "UPDATE payments SET rev = rev + 1") {
				t.Errorf("%s: %s does not raise the revision", file, statement)
			}
		}
	}
	if found < 4 {
		t.Errorf("found %d statements; want all", found)
	}
}
