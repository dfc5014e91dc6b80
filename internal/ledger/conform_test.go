package ledger

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"

	"notepay/internal/ledger/pgtest"
	"notepay/internal/payment"
)

func TestSQLite(t *testing.T) {
	t.Parallel()
	conform(t, freshSQLite)
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	pgtest.Server(t)
	conform(t, func(t *testing.T) string { return pgtest.Database(t) })
}

// conform runs the tests that both databases have to pass. fresh creates an empty database for one
// test and returns its DATABASE_URL.
func conform(t *testing.T, fresh func(t *testing.T) (database string)) {
	for name, test := range map[string]func(t *testing.T, database string){
		"a payment is read as it was stored":                       testPaymentRoundTrip,
		"a session and a payment intent have one payment":          testPaymentOnce,
		"only a stored payment can be saved":                       testSaveUnknownPayment,
		"nonsense payments are refused":                            testNonsensePayments,
		"valid payments are stored":                                testSensiblePayments,
		"nonsense in the other tables is refused":                  testOtherNonsense,
		"reports of customers are kept until they are seen":        testReports,
		"what recipients of alerts were told":                      testAlertStates,
		"what alerts tell of payments":                             testAlarming,
		"people, their codes and invitations":                      testPeople,
		"a passkey has one person and counts once":                 testPasskeys,
		"operators are signed in until a session ends":             testOperatorSessions,
		"a revoked token is not found":                             testAPITokens,
		"attempts to sign in are limited":                          testSignInAttempts,
		"nonsense that the code would not write is refused":        testNonsenseStatements,
		"the queue gives what is due for Notehub":                  testDueForNotehub,
		"the queue gives what is due for Stripe":                   testDueForStripe,
		"the queue gives what time alone decides":                  testDueWaits,
		"machines whose confirmation is overdue":                   testSilentAt,
		"an answer is awaited of machines that confirm":            testAwaited,
		"one timed credit holds a device":                          testOccupant,
		"the writer's memory agrees with the rows":                 testMemoryAgreesWithTheRows,
		"a link that was not stored is not remembered":             testTermsOfUnstoredLink,
		"the last payments of a device":                            testLastOfDevice,
		"an answer is stored once":                                 testConfirmations,
		"a cursor goes on where it was":                            testCursors,
		"old events lose their bodies and then go":                 testPrunedEvents,
		"old rows go in portions":                                  testPrunedInPortions,
		"a repeat of an event is counted":                          testRepeatedEvents,
		"the last state of a dispute is kept":                      testDisputes,
		"pauses":                                                   testPauses,
		"goodwill codes":                                           testGoodwillCodes,
		"maintenance":                                              testMaintenance,
		"the audit is read newest first":                           testAudit,
		"a restored copy is judged once":                           testRestored,
		"the claims of a process that is gone hold up no others":   testOrphanedLeases,
		"attempts are kept with their payment":                     testAttempts,
		"payments are listed newest first, page by page":           testPages,
		"payments are chosen by device, money, machine, attention": testFilters,
		"a cursor that was not given is refused":                   testBadCursors,
		"what no row can hold is not found":                        testImpossibleKeys,
		"the figures of the queue":                                 testStats,
		"a look-up is claimed, postponed and dropped":              testLookups,
		"an event is stored once and its repeats are counted":      testEvents,
		"a text that PostgreSQL cannot hold stops nothing":         testUnstorableText,
		"devices are saved and removed":                            testDevices,
		"a link sells what it was made for":                        testLinks,
		"one link is active for a device, price and mode":          testOneActiveLink,
		"a session is remembered with what it sells":               testSessions,
		"variables are replaced, and leave with their device":      testVariables,
		"facts":                           testMeta,
		"a ledger is born once":           testBirth,
		"a birth waits for Stripe's time": testBirthWaits,
		"times that a clock has stored which was ahead":     testTimesAhead,
		"payments from before keep their pages and calls":   testRowNumbers,
		"a page is named by its whole token":                testTokens,
		"each change raises the revision":                   testRevision,
		"migrations run once":                               testMigrationsRunOnce,
		"a failed migration leaves nothing":                 testFailedMigration,
		"a ledger of a newer version is refused":            testNewerSchema,
		"programs of other levels":                          testProgramsOfOtherLevels,
		"ledgers of earlier schemas":                        testEarlierSchemas,
		"a second process finds the ledger locked":          testLock,
		"a ledger can be inspected while it is in use":      testCheckWritable,
		"an update is all or nothing":                       testUpdate,
		"a panic in an update is its error":                 testPanic,
		"a context that ended begins nothing":               testContext,
		"updates at once lose nothing":                      testUpdatesAtOnce,
		"closing loses nothing that was acknowledged":       testCloseUnderLoad,
		"closing waits for the update that is under way":    testCloseWaits,
		"payments are searched for":                         testFilterConditions,
		"a search that no index helps goes on in shares":    testMaxScan,
		"the takings are summed up by currency":             testRevenue,
		"movements of money are written with their change":  testMovements,
		"movements of earlier versions are restored":        testRestoreMovements,
		"sums are replaced a day at a time":                 testSums,
		"how far Stripe's balance was read":                 testBalance,
		"how the last credits of a device went":             testHistory,
		"a card may be learned later":                       testCardLearnedLater,
		"events are found by their payment, page and time":  testEventsOfAPayment,
		"an event is never stored before one that was read": testEventsAfterAnother,
		"look-ups that are late":                            testLateLookups,
		"a request is done once":                            testRequests,
		"storage failures are recognized":                   testFailures,
		"nothing is written after a statement failed":       testStatementAfterAFailure,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, fresh(t))
		})
	}
}

func freshSQLite(t *testing.T) string { return filepath.Join(t.TempDir(), "notepay.db") }

// open opens a ledger and closes it at the end of the test.
func open(t *testing.T, database string) *Ledger {
	t.Helper()
	l, err := Open(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func closeLedger(t *testing.T, l *Ledger) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

// mustUpdate runs fn in a transaction that has to succeed.
func mustUpdate(t *testing.T, l *Ledger, fn func(*Tx) error) {
	t.Helper()
	if err := l.Update(t.Context(), fn); err != nil {
		t.Fatalf("update: %v", err)
	}
}

// insert inserts new payments.
func insert(t *testing.T, l *Ledger, payments ...payment.Payment) {
	t.Helper()
	mustUpdate(t, l, func(tx *Tx) error {
		for _, p := range payments {
			if inserted, err := tx.InsertPayment(p); err != nil || !inserted {
				return errors.Join(errors.New("payment "+p.SessionID+" was not inserted"), err)
			}
		}
		return nil
	})
}

// noon returns the default time of all tests.
func noon() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

// testPayment returns a queued payment whose note is due.
func testPayment(name string) payment.Payment {
	session := "cs_" + name
	return payment.Payment{
		ID:            payment.CreditID(session),
		SessionID:     session,
		PaymentIntent: "pi_" + name,
		Token:         "token_" + name,
		DeviceUID:     "dev:1",
		DeviceName:    "Washer 3",
		PriceID:       "price_warm",
		Plan:          "Warm wash",
		Duration:      time.Hour,
		Amount:        350,
		Currency:      "eur",
		Funds:         payment.Paid,
		Delivery:      payment.Queued,
		PaidAt:        noon(),
		CreatedAt:     noon(),
		ExpiresAt:     noon().Add(10 * time.Minute),
		Step:          payment.StepPostNote,
		DueAt:         noon(),
	}
}

// posted returns an attempt that posted a note.
func posted() Attempt { return Attempt{At: noon(), Action: payment.StepPostNote, Outcome: "ok"} }

func idle(p payment.Payment) payment.Payment {
	p.Step, p.DueAt = payment.NoStep, time.Time{}
	return p
}

// constraint returns which kind of constraint a row violated: "check", "not null", "unique" or
// "foreign key". It returns "" for any other error.
func constraint(err error) string {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return map[int]string{275: "check", 1299: "not null", 2067: "unique", 787: "foreign key"}[e.Code()]
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		kinds := map[string]string{"23514": "check", "23502": "not null", "23505": "unique", "23503": "foreign key"}
		return kinds[e.Code]
	}
	return ""
}

// wantRefused checks that the intended constraint has rejected a row.
func wantRefused(t *testing.T, err error, rule, words string) {
	t.Helper()
	if got := constraint(err); got != rule {
		t.Errorf("got %v; want it refused by a %s constraint", err, rule)
		return
	}
	// PostgreSQL names the constraint, SQLite quotes it.
	if _, quoted := errors.AsType[*sqlite.Error](err); quoted && !strings.Contains(err.Error(), words) {
		t.Errorf("refused as %q; want the constraint on %q", err, words)
	}
}

// reading is the result of a read.
type reading[T any] struct {
	got T
	err error
}

func second[T any](got T, err error) reading[T] { return reading[T]{got, err} }

func inTx[T any](l *Ledger, read func(*Tx) (T, error)) (r reading[T]) {
	err := l.Update(context.Background(), func(tx *Tx) error {
		r.got, r.err = read(tx)
		return nil
	})
	r.err = errors.Join(r.err, err)
	return r
}

// wantStored checks that each of these sessions has a payment.
func wantStored(t *testing.T, l *Ledger, sessions []string) {
	t.Helper()
	stored := names(t, l.reads.DB, `SELECT session_id FROM payments`)
	for _, session := range sessions {
		if _, ok := slices.BinarySearch(stored, session); !ok {
			t.Errorf("%s was acknowledged and is not stored", session)
		}
	}
}

// wantNames compares the values of one column, sorted.
func wantNames(t *testing.T, l *Ledger, what, query string, want []string) {
	t.Helper()
	if got := names(t, l.reads.DB, query); !slices.Equal(got, want) {
		t.Errorf("%s: got %q; want %q", what, got, want)
	}
}

// names reads one column, sorted.
func names(t *testing.T, db *sql.DB, query string) []string {
	t.Helper()
	rows, err := db.Query(query)
	list, err := all(rows, err, func(s scanner) (name string, err error) {
		err = s.Scan(&name)
		return name, err
	})
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	slices.Sort(list)
	return list
}
