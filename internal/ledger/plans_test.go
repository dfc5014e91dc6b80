package ledger

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"notepay/internal/payment"
)

// watched opens connections that report the statements that they prepare.
type watched struct {
	sqlite driver.Driver
	path   string
	saw    func(statement string)
}

func (w watched) Connect(context.Context) (driver.Conn, error) {
	conn, err := w.sqlite.Open(w.path)
	return watchedConn{conn, w.saw}, err
}

// watchedConn hides everything but Prepare from database/sql.
type watchedConn struct {
	driver.Conn
	saw func(statement string)
}

func (c watchedConn) Prepare(statement string) (driver.Stmt, error) {
	c.saw(statement)
	return c.Conn.Prepare(statement)
}

func (w watched) Driver() driver.Driver { return w.sqlite }

// asked is a query and the indexes that it has to use, separated by &. via is "" if any index will
// do.
type asked struct {
	name string
	ask  func() error
	via  string
}

// A frequent query must cost the same however many payments there are. It reads each table through
// an index, and sorts only the rows that it returns.
func TestQueriesUseIndexes(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{
		"of a new ledger":         freshSQLite(t),
		"of an earlier version's": oldLedger(t),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			queriesUseIndexes(t, path, name == "of a new ledger")
		})
	}
}

// watchedLedger returns a ledger and a transaction that report their statements, and the same
// database for everything else.
func watchedLedger(t *testing.T, path string, saw func(statement string)) (*Ledger, *Tx, *sql.DB) {
	t.Helper()
	open(t, path)
	plain, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plain.Close() })
	db := sql.OpenDB(watched{plain.Driver(), path, saw})
	t.Cleanup(func() { _ = db.Close() })
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &Ledger{reads: readPool{DB: db}}, &Tx{db: newPreparedConn(conn, nil), Now: noon()}, plain
}

func queriesUseIndexes(t *testing.T, path string, isNew bool) {
	var seen []string
	l, tx, plain := watchedLedger(t, path, func(statement string) { seen = append(seen, statement) })
	// Not even a table with another name in the query.
	whole := regexp.MustCompile(`^SCAN (\w+)( USING (COVERING )?INDEX sqlite_autoindex_\w+)?$`)
	small := append(smallTables(), "those") // a query that returns one row at most
	sorted := regexp.MustCompile(`^USE TEMP B-TREE FOR ORDER BY$`)
	// The statements that run for each payment build no temporary table, not even the small one of
	// an IN list. Tables from an earlier version have such lists in their conditions, which only
	// cost time.
	forEach := []string{
		"the fresh ones that are due",
		"the failed ones that are due",
		"a new payment",
		"changing a payment",
		"an attempt",
		"a call under way",
	}
	for _, c := range frequentQueries(t.Context(), l, tx) {
		t.Run(c.name, func(t *testing.T) {
			seen = nil
			if err := c.ask(); err != nil && !errors.Is(err, ErrNotFound) {
				t.Fatal(err)
			}
			if len(seen) == 0 {
				t.Fatal("no statement was seen")
			}
			for _, statement := range seen {
				steps := plan(t, plain, statement)
				if isNew && slices.Contains(forEach, c.name) &&
					slices.Contains(opcodes(t, plain, statement), "OpenEphemeral") {
					t.Errorf("%s: a table is built for it", statement)
				}
				for via := range strings.SplitSeq(c.via, " & ") {
					if !strings.Contains(strings.Join(steps, "\n"), via) {
						t.Errorf("%s: %q; want it through %s", statement, steps, via)
					}
				}
				for _, step := range steps {
					m := whole.FindStringSubmatch(step)
					if m != nil && !slices.Contains(small, m[1]) ||
						sorted.MatchString(step) && !strings.Contains(statement, "GROUP BY") {
						t.Errorf("%s: %s", statement, step)
					}
				}
			}
		})
	}
}

// frequentQueries returns the queries of all paths, which run in tx or read l.
func frequentQueries(ctx context.Context, l *Ledger, tx *Tx) []asked {
	list := func(f Filter) func() error {
		f.Limit = 10
		return func() error {
			_, _, err := l.Payments(ctx, f)
			return err
		}
	}
	return append([]asked{
		{
			"the fresh ones that are due",
			func() error { return second(tx.DueForNotehub(false, 10)).err },
			"payments_fresh & payments_in_flight (device_uid=? AND due_at>?)",
		},
		{
			"the failed ones that are due",
			func() error { return second(tx.DueForNotehub(true, 10)).err },
			"payments_again",
		},
		{
			"the fresh ones that are due for Stripe",
			func() error { return second(tx.DueForStripe(false, 10)).err },
			"payments_money",
		},
		{
			"the failed ones that are due for Stripe",
			func() error { return second(tx.DueForStripe(true, 10)).err },
			"payments_money",
		},
		{"what time alone decides", func() error { return second(tx.DueWaits(10)).err }, "payments_timed"},
		{"the silent machines", func() error { return second(tx.SilentAt(noon(), 10)).err }, "payments_awaited"},
		{
			"the credits in doubt",
			func() error { return second(tx.InDoubtAt(noon(), 10)).err },
			"payments_in_doubt",
		},
		{"who holds a device", func() error { return second(tx.Occupant("dev:1")).err }, "payments_one_timed"},
		{"all who hold one", func() error { return second(l.Occupants(ctx)).err }, "payments_one_timed"},
		{
			"the last of a device",
			func() error { return second(tx.LastOfDevice("dev:1", 10)).err },
			"payments_of_device",
		},
		{"an answer", func() error { return second(tx.ConfirmationOutcome("x")).err }, ""},
		{
			"a new answer",
			func() error { return tx.SaveConfirmation(Confirmation{ID: "x", Outcome: "x"}) },
			"",
		},
		{
			"the answers to a credit",
			func() error { return second(l.Confirmations(ctx, "x")).err },
			"confirmations_of_credit",
		},
		{"a cursor", func() error { return second(l.Cursor(ctx, "x")).err }, ""},
		{"moving a cursor", func() error { return tx.SetCursor("x", "1") }, ""},
		{"a pause", func() error { return second(tx.PauseOf("dev:1")).err }, ""},
		{
			"when something was last done",
			func() error { return second(tx.LastAudit("dev:1", "x")).err },
			"audit_of_subject",
		},
		{
			"what was done to a subject",
			func() error { _, _, err := l.Audits(ctx, "dev:1", 10, ""); return err },
			"audit_of_subject",
		},
		{"a repeat of an event", func() error { return second(tx.RepeatOfEvent("evt_1")).err }, ""},
		{"the disputes of a payment", func() error { return second(tx.Disputes("pi_1")).err }, "disputes_of_intent"},
		{
			"the disputes of a payment",
			func() error { return tx.SaveDispute(payment.Dispute{ID: "dp_1", PaymentIntent: "pi_1"}) },
			"",
		},
		{"a payment in a transaction", func() error { return second(tx.Payment("x")).err }, ""},
		{"a payment by its intent", func() error { return second(tx.PaymentOfIntent("x")).err }, ""},
		{"changing a payment", func() error { return tx.ChangePayment(payment.Payment{}, testPayment("unknown")) }, ""},
		{"a new payment", func() error { return second(tx.InsertPayment(testPayment("new"))).err }, ""},
		{"an attempt", func() error {
			return tx.AddAttempt(testPayment("new").ID, posted())
		}, ""},
		{"a call under way", func() error { return second(tx.CallUnderWay("dev:1")).err }, "payments_in_flight"},
		{"a repeated event", func() error {
			e := StripeEvent{ID: "evt_1", Outcome: "x"}
			return errors.Join(second(tx.AddEvent(e)).err, second(tx.AddEvent(e)).err)
		}, ""},
		{"a link", func() error { return second(tx.Link("x")).err }, ""},
		{"a session", func() error { return second(tx.Session("x")).err }, ""},
		{"a new session", func() error { return tx.AddSession(session("cs_1", noon())) }, ""},
		{
			"the open session of a buyer",
			func() error { return second(l.BuyerSession(ctx, "browser", "dev:1", "price_1")).err },
			"sessions_of_buyer",
		},
		{"a session that has ended", func() error { return tx.EndSession("cs_1") }, ""},
		{
			"the sessions that are open",
			func() error { return second(l.OpenSessions(ctx, true, noon())).err },
			"sessions_end",
		},
		{"claiming look-ups", func() error { return second(tx.ClaimLookups(noon(), 10)).err }, "lookups_due"},
		{"postponing a look-up", func() error { return tx.PostponeLookup(Lookup{ID: "x"}, noon()) }, ""},
		{"dropping a look-up", func() error { return tx.DropLookup(Lookup{ID: "x"}) }, ""},
		{"a fact", func() error { return second(tx.Meta("x")).err }, ""},
		{"a payment by any key", func() error { return second(l.Payment(ctx, "x")).err }, ""},
		{"a payment by its token", func() error {
			return second(l.PaymentOfToken(ctx, payment.TokenOf(payment.CreditID("x"), [16]byte{}))).err
		}, ""},
		{
			"a payment by a token from before",
			func() error { return second(l.PaymentOfToken(ctx, "x")).err },
			"payments_of_old_token",
		},
		{
			"payments by their tokens",
			func() error { return second(l.PaymentsOfTokens(ctx, []string{"x", "y"})).err },
			"",
		},
		{"the attempts of a payment", func() error { return second(l.Attempts(ctx, "x")).err }, ""},
		{
			"the attempts of some payments",
			func() error { return second(l.AttemptsOf(ctx, "x", "y")).err },
			"attempts USING PRIMARY KEY",
		},
		{"a request", func() error { return second(l.HasRequest(ctx, "x")).err }, ""},
		{"beginning a request", func() error {
			_, _, err := tx.BeginRequest("key:1", "x")
			return errors.Join(err, tx.AnswerRequest("key:1", "y"))
		}, ""},
		{"a session that was made", func() error { return second(l.HasSession(ctx, "x")).err }, ""},
		{"the figures", func() error { return second(l.Stats(ctx)).err }, ""},
		{"the newest events", func() error { return second(l.Events(ctx, 10)).err }, "stripe_events_newest"},
		{"the newest payments", list(Filter{}), "payments_newest"},
		{"the next page", list(Filter{Cursor: "1-cr_x"}), "payments_newest"},
		{"a device's payments", list(Filter{Devices: []string{"dev:1"}}), "payments_of_device"},
		{"the next page of a device", list(Filter{Devices: []string{"dev:1"}, Cursor: "1-cr_x"}), "payments_of_device"},
		{"those that need attention", list(Filter{Attention: new(true)}), "payments_attention"},
		{
			"those of a device that need attention",
			list(Filter{Devices: []string{"dev:1"}, Attention: new(true)}),
			"payments_of_device",
		},
		{"those in one state", list(Filter{Funds: funds(payment.Paid), Delivery: delivery(payment.Queued)}), ""},
	}, append(searches(ctx, l), otherQueries(ctx, l, tx)...)...)
}

// opcodes returns SQLite's instructions for a statement.
func opcodes(t *testing.T, db *sql.DB, statement string) []string {
	t.Helper()
	rows, err := db.Query("EXPLAIN "+statement, make([]any, 60)...)
	list, err := all(rows, err, func(s scanner) (opcode string, err error) {
		var rest [7]any
		return opcode, s.Scan(&rest[0], &opcode, &rest[1], &rest[2], &rest[3], &rest[4], &rest[5], &rest[6])
	})
	if err != nil {
		t.Fatalf("explain %s: %v", statement, err)
	}
	return list
}

// plan returns SQLite's query plan for a statement. SQLite plans without the parameters, so they
// may be anything.
func plan(t *testing.T, db *sql.DB, statement string) []string {
	t.Helper()
	rows, err := db.Query("EXPLAIN QUERY PLAN "+statement, make([]any, 60)...)
	steps, err := all(rows, err, func(s scanner) (step string, err error) {
		var id, parent, unused int
		return step, s.Scan(&id, &parent, &unused, &step)
	})
	if err != nil {
		t.Fatalf("explain %s: %v", statement, err)
	}
	return steps
}

// searches returns the console's queries, for their plans.
func searches(ctx context.Context, l *Ledger) []asked {
	search := func(s Filter) func() error {
		s.Limit, s.MaxScan = 10, 200
		return func() error {
			_, _, err := l.Payments(ctx, s)
			return err
		}
	}
	amount := int64(1)
	sums := func(devices ...string) SumQuery {
		return SumQuery{Devices: devices, Spans: []SumSpan{{From: "2026-11-01", To: "2026-11-30"}}}
	}
	const keyOfSums = "revenue USING PRIMARY KEY (scale=? AND dim=? AND start>? AND start<?)"
	return []asked{
		{"looking for nothing in particular", search(Filter{}), "payments_newest"},
		{"going on from there", search(Filter{Cursor: "1-cr_x"}), "payments_newest"},
		{"looking for a day", search(Filter{From: noon(), To: noon()}), "payments_newest"},
		{"going on with a day", search(Filter{From: noon(), To: noon(), Cursor: "1-cr_x"}), "payments_newest"},
		{"looking for a device", search(Filter{Devices: []string{"dev:1"}}), "payments_of_device"},
		{
			"looking for a device's day",
			search(Filter{Devices: []string{"dev:1"}, From: noon(), To: noon()}),
			"payments_of_device",
		},
		{"looking for several devices", search(Filter{Devices: []string{"dev:1", "dev:2"}}), "payments_newest"},
		{"looking for a card", search(Filter{Card: "4242"}), "payments_of_card"},
		{"looking for what needs attention", search(Filter{Attention: new(true)}), "payments_attention"},
		{
			"looking for money that moved",
			search(Filter{Funds: funds(payment.Refunded)}),
			"payments_money_moved",
		},
		{
			"looking for what failed",
			search(Filter{Delivery: delivery(payment.Failed)}),
			"payments_failed",
		},
		{
			"looking for what is queued",
			search(Filter{Delivery: delivery(payment.Queued)}),
			"payments_newest",
		},
		{"looking for an amount", search(Filter{Amount: &amount}), "payments_newest"},
		{"looking for a name", search(Filter{Name: "x"}), "payments_newest"},
		{"the sums by day", func() error { return second(l.Sums(ctx, sums(), ByStart)).err }, keyOfSums},
		{"the sums by plan", func() error { return second(l.Sums(ctx, sums(), ByPlan)).err }, keyOfSums},
		{"the sums by machine", func() error { return second(l.Sums(ctx, sums(), ByMachine)).err }, keyOfSums},
		{
			"the sums of a machine",
			func() error { return second(l.Sums(ctx, sums("dev:1"), ByStart)).err },
			"revenue_of_device (device_uid=? AND scale=? AND start>? AND start<?)",
		},
		{"the hours of the sums", func() error { return second(l.SumTexts(ctx, sums())).err }, keyOfSums},
		{
			"the days of a month",
			func() error { return second(l.DaySums(ctx, "2026-11")).err },
			"revenue USING PRIMARY KEY",
		},
		{
			"payments to sum up",
			func() error { return l.CreditsToSum(ctx, noon(), noon(), 9, func(payment.Payment) {}) },
			"payments_newest & movements_of_payment (payment_id=? AND kind=?)",
		},
		{
			"movements to sum up",
			func() error { return l.MovementsToSum(ctx, noon(), noon(), 9, func(Movement) {}) },
			"movements_at (at>? AND at<?)",
		},
		{
			"movements to export",
			func() error {
				_, _, _, err := l.Movements(ctx, MovementPage{From: noon(), Until: noon()}, 9)
				return err
			},
			"",
		},
		{"the takings", func() error { return second(l.Revenue(ctx, noon(), noon())).err }, "payments_newest"},
		{
			"the history of a device",
			func() error { return second(l.History(ctx, "dev:1", 50)).err },
			"payments_of_device",
		},
		{
			"the starts of a device",
			func() error { return second(l.Starts(ctx, "dev:1", noon(), 50)).err },
			"payments_of_device",
		},
		{
			"the payments of sessions",
			func() error { return second(l.PaymentsOfSessions(ctx, []string{"cs_1", "cs_2"}, Filter{})).err },
			"",
		},
		{"the open codes", func() error { return second(l.OpenGoodwillCodes(ctx, noon())).err }, ""},
		{"the codes of a payment", func() error { return second(l.GoodwillCodesOf(ctx, "cr_1")).err }, ""},
		{"an event", func() error { return second(l.Event(ctx, "evt_1")).err }, ""},
		{"the events of a payment", func() error { return second(l.EventsOf(ctx, testPayment("a"))).err }, ""},
		{"the first events of a type", func() error {
			_, _, err := l.EventPage(ctx, "x", 10, "")
			return err
		}, "stripe_events_newest"},
		{"the first events", func() error {
			_, _, err := l.EventPage(ctx, "", 10, "")
			return err
		}, "stripe_events_newest"},
		{"a page of events", func() error {
			_, _, err := l.EventPage(ctx, "x", 10, "1-evt_x")
			return err
		}, "stripe_events_newest"},
		{"the events after one", func() error { return second(l.EventsAfter(ctx, StripeEvent{}, 10)).err }, ""},
		{"the late look-ups", func() error { return second(l.LateLookups(ctx, noon(), 10)).err }, "lookups_late"},
		{"the audit", func() error {
			_, _, err := l.Audits(ctx, "", 10, "")
			return err
		}, ""},
	}
}
