package ledger

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"notepay/internal/ledger/pgtest"
	"notepay/internal/payment"
)

// ledgerToMove makes a SQLite ledger with payments in every state, and rows in every table.
func ledgerToMove(t *testing.T, payments int) (path string) {
	t.Helper()
	path = freshSQLite(t)
	l := open(t, path)
	insert(t, l, sensiblePayments()...)
	full := fullPayment(t)
	full.DeviceUID = "dev:full"
	insert(t, l, full)
	mustUpdate(t, l, func(tx *Tx) error {
		for n := range payments {
			p := testPayment(fmt.Sprintf("p%05d", n))
			p.DeviceName = "Wäscherei \x00 \xff"
			if _, err := tx.InsertPayment(p); err != nil {
				return err
			}
			if n%3 == 0 {
				if err := errors.Join(tx.AddAttempt(p.ID, posted()), tx.AddAttempt(p.ID, posted())); err != nil {
					return err
				}
			}
			event := StripeEvent{ID: fmt.Sprintf("evt_%d", n), Outcome: "created", Body: strings.Repeat("ä", n)}
			if _, err := tx.AddEvent(event); err != nil {
				return err
			}
		}
		return nil
	})
	closeLedger(t, l)
	withSQL(t, path, `
		INSERT INTO facts (name, value) VALUES ('events_read', 1763722697000);
		INSERT INTO cursors (name, value) VALUES ('confirmations', 'a:17');
		INSERT INTO devices (uid, name, fleets, disabled, last_activity) VALUES ('dev:1', 'One', '[]', 0, NULL);
		INSERT INTO variables (owner, value, read_at) VALUES ('project', '{"a":"b"}', 5);
		INSERT INTO pauses (device_uid, reason, by, at, automatic) VALUES ('dev:1', 'broken', 'me', 5, 0);
		INSERT INTO audit (id, at, who, what, subject, why, before, after, amount)
			VALUES ('1', 5, 'me', 'pause', 'dev:1', '', '', '', NULL), ('2', 6, 'me', 'refund', 'x', '', '', '', 7);
		INSERT INTO links (id, livemode, device_uid, price_id, url, return_url, active, manual, plan, amount, currency,
			duration_s, delayed_start_s, description, image, access_code)
			VALUES ('plink_1', 0, 'dev:1', 'price_1', 'https://x', '', 1, 0, 'Warm', 350, 'eur', 60, 0, '', '', 0);
		INSERT INTO lookups (id, paid_at, facts, due_at, turn, failures) VALUES ('cs_late', 5, 0, 6, 1, 0);
		INSERT INTO confirmations (id, device_uid, credit_id, state, code, at, received, outcome)
			VALUES ('c1', 'dev:1', 'cr_1', 'started', '', 5, 6, 'applied');
		INSERT INTO sessions (id, livemode, device_uid, manual, ends_at, price_id, plan, amount, currency, duration_s,
			delayed_start_s, description, image, access_code)
			VALUES ('cs_open', 0, 'dev:1', 0, 99, 'price_1', 'Warm', 350, 'eur', 60, 0, '', '', 0);
		INSERT INTO disputes (id, payment_intent, status, amount, currency, refundable, told_at)
			VALUES ('dp_1', 'pi_full', 'lost', 50, 'eur', 0, 5);
		INSERT INTO requests (id, request, answer, at) VALUES ('k1', 'digest', 'done', 5);
		INSERT INTO customer_reports (payment_id, at, reason, words)
			SELECT id, 5, 'no_start', 'Nothing happened' FROM payments WHERE session_id = 'cs_full';
		INSERT INTO certificates (name, value, at) VALUES ('pay.example.com', 'PEM', 5);
		INSERT INTO goodwill_codes (digest, device_uid, site, price_id, payment_id, created_by, reason, created_at,
			expires_at, credit_id, used_at) VALUES ('d1', 'dev:1', '', 'price_1', 'cr_1', 'me', 'wet', 5, 9, 'cr_2', 6);
		INSERT INTO maintenance (device_uid, from_at, to_at, reason, planned_by, planned_at)
			VALUES ('dev:1', 5, 6, 'belt', 'me', 4);
		INSERT INTO machine_states (device_uid, is_out, code, at, received) VALUES ('dev:1', 1, 'E-DOOR', 5, 6);
		INSERT INTO encrypted_notes (digest, payment_id, turn, payment_status, at)
			SELECT 'd1', id, 1, 'completed', 5 FROM payments WHERE session_id = 'cs_full';
		INSERT INTO changes (at, origin, kind, subject) VALUES (5, 'x', 'use', 'dev:1');
		INSERT INTO alert_states (target, kind, is_open, sent_at, number, keys) VALUES ('t', 'review', 1, 5, 2, 'a');
		INSERT INTO movements (payment_id, at, kind, reason, amount, currency, net, ref)
			SELECT id, 5, 'fee', 'charge', -30, 'eur', 320, 'txn_1' FROM payments WHERE session_id = 'cs_full';
		INSERT INTO revenue (scale, dim, start, livemode, device_uid, plan, currency, payments, credits, failed, used_s,
			captured, refunded, lost, fees, net, hours, reasons)
			VALUES ('day', 'all', '2026-11-30', 0, '', '', 'eur', 1, 1, 0, 60, 350, 0, 0, 30, 320, '9:1:350', '');
		INSERT INTO revenue_stale (hour, marks) VALUES (5, 1);
		INSERT INTO payouts (id, livemode, at, arrival_at, amount, currency, status)
			VALUES ('po_1', 0, 5, 6, 350, 'eur', 'paid');
		INSERT INTO sign_ins (id, until) VALUES ('digest', 99);
		INSERT INTO people (id, name, name_key, role, created_at, password, totp, totp_step, invite, invite_until)
			VALUES ('p_1', 'Ada', 'ada', 'owner', 5, '$argon2id$', 'JBSW', 3, 'digest', 9),
			('p_2', 'Bob', 'bob', 'view', 5, '', '', 0, NULL, NULL);
		INSERT INTO recovery_codes (person_id, digest) VALUES ('p_1', 'd1');
		INSERT INTO passkeys (id, person_id, name, public_key, counter, backup, created_at, used_at)
			VALUES ('k1', 'p_1', 'Phone', 'MFkw', 7, 1, 5, 6);
		INSERT INTO operator_sessions (id, person_id, since, until, seen_at, address, browser, way)
			VALUES ('s1', 'p_1', 5, 99, 6, '192.0.2.1', 'Firefox', 'passkey'), ('s2', NULL, 5, 99, 6, '', '', 'token');
		INSERT INTO api_tokens (id, name, name_key, digest, role, created_at, created_by, used_at, revoked_at)
			VALUES ('t_1', 'Books', 'books', 'd', 'view', 5, 'Ada', NULL, 6);
		INSERT INTO sign_in_attempts (id, until) VALUES ('a', 99);
		CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER) STRICT;
		INSERT INTO _litestream_seq (id, seq) VALUES (1, 1)`)
	return path
}

// content reads all rows of all tables of this program, in both databases in the same order.
func content(t *testing.T, driver, database string) map[string][]string {
	t.Helper()
	// The names are those of a new ledger, which this program created.
	fresh := open(t, freshSQLite(t))
	tables := names(t, fresh.reads.DB, `SELECT name FROM sqlite_schema WHERE type = 'table'`)
	db, err := sql.Open(driver, database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	read := map[string][]string{}
	for _, table := range tables {
		if table == "migrations" {
			continue
		}
		columns := names(t, fresh.reads.DB, `SELECT name FROM pragma_table_info('`+table+`')`)
		parts := make([]string, len(columns))
		for i, c := range columns {
			parts[i] = `coalesce(CAST(` + quoted(c) + ` AS TEXT), 'NULL')`
		}
		where := ""
		if table == "cursors" {
			where = ` WHERE name NOT IN ('` + generationCursor + `', '` + cursorMovedFrom + `')`
		}
		read[table] = names(t, db, `SELECT `+strings.Join(parts, ` || '|' || `)+` FROM `+table+where)
		for i, row := range read[table] {
			read[table][i] = strings.ReplaceAll(strings.ToValidUTF8(row, "\uFFFD"), "\x00", "\uFFFD")
		}
		slices.Sort(read[table])
	}
	return read
}

func moveTo(t *testing.T, path, database string) (Moved, error) {
	t.Helper()
	return Move(t.Context(), path, database, func(line string) { t.Log(line) })
}

func TestPostgresMove(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	path := ledgerToMove(t, 2500)
	closeLedger(t, open(t, path)) // claims of the process that has ended are orphaned by the next one
	before := content(t, "sqlite", path)
	for table, rows := range before {
		if len(rows) == 0 {
			t.Errorf("%s has no rows, so this test does not see whether they are moved; add one to ledgerToMove", table)
		}
	}
	moved, err := moveTo(t, path, database)
	if err != nil || moved.Already || !strings.HasSuffix(database, moved.Place[strings.Index(moved.Place, "/"):]) {
		t.Fatalf("%+v, %v", moved, err)
	}
	if again, err := moveTo(t, path, database); err != nil || !again.Already {
		t.Errorf("again: %+v, %v; want that it is done", again, err)
	}
	rows := 0
	after := content(t, "pgx", database)
	for table, want := range before {
		rows += len(want)
		if !slices.Equal(after[table], want) {
			t.Errorf("%s: %d rows, before %d; or they differ", table, len(after[table]), len(want))
		}
	}
	if moved.Rows != rows {
		t.Errorf("%d rows; want %d", moved.Rows, rows)
	}
	wantSealed(t, path, moved.Place)

	l := open(t, database)
	insert(t, l, testPayment("afterwards")) // has the next number
	if due := claimDue(t, l); len(due) == 0 {
		t.Error("nothing is due after the move")
	}
	mustUpdate(t, l, func(tx *Tx) error {
		return second(tx.exec(`INSERT INTO changes (at, origin, kind, subject) VALUES (6, 'x', 'use', 'dev:1')`)).err
	})
	wantNames(t, l, "the last number", `SELECT CAST(max(n) AS TEXT) FROM payments`,
		[]string{fmt.Sprint(len(before["payments"]) + 1)})
}

// What a provider's extensions put into a database, and views, are not tables of another program.
func TestPostgresMoveBesideAnExtension(t *testing.T) {
	t.Parallel()
	database, path := pgtest.Database(t), ledgerToMove(t, 1)
	for _, statement := range []string{
		`CREATE EXTENSION pg_stat_statements`,
		`CREATE TABLE spatial_ref_sys (srid BIGINT PRIMARY KEY)`,
		`ALTER EXTENSION pg_stat_statements ADD TABLE spatial_ref_sys`,
		`CREATE VIEW accounts AS SELECT 1 AS number`,
	} {
		pgtest.Exec(t, database, statement)
	}
	if _, err := moveTo(t, path, database); err != nil {
		t.Fatal(err)
	}
	if again, err := moveTo(t, path, database); err != nil || !again.Already {
		t.Errorf("again: %+v, %v; want that it is done", again, err)
	}
}

// wantSealed checks that everything that writes refuses a ledger that was moved.
func wantSealed(t *testing.T, path, place string) {
	t.Helper()
	l, opened := Open(t.Context(), path)
	if opened == nil {
		_ = l.Close()
	}
	copied := path + ".copy"
	_, restored := Restore(t.Context(), path, ledgerCopy(t))
	for what, err := range map[string]error{
		"open":           opened,
		"CheckWritable":  CheckWritable(t.Context(), path),
		"Backup":         Backup(t.Context(), path, copied),
		"Restore over":   restored,
		"move elsewhere": errOnly(moveTo(t, path, pgtest.Database(t))),
	} {
		if !errors.Is(err, ErrMoved) || !strings.Contains(err.Error(), place) || !strings.Contains(err.Error(), "UTC") {
			t.Errorf("%s: %v; want it refused, with the place and the time", what, err)
		}
	}
}

// ledgerCopy returns a copy that Restore accepts.
func ledgerCopy(t *testing.T) string {
	t.Helper()
	path := freshSQLite(t)
	closeLedger(t, open(t, path))
	if err := Backup(t.Context(), path, path+".copy"); err != nil {
		t.Fatal(err)
	}
	return path + ".copy"
}

// wantHalf checks that nothing works on a database into which a ledger is being moved.
func wantHalf(t *testing.T, path, database string) {
	t.Helper()
	l, err := Open(t.Context(), database)
	if err == nil {
		_ = l.Close()
	}
	checked := CheckWritable(t.Context(), database)
	if !errors.Is(err, ErrHalfMoved) || !strings.Contains(err.Error(), path) || !errors.Is(checked, ErrHalfMoved) {
		t.Errorf("a database that is half moved: %v; %v; want it refused, and the source named", err, checked)
	}
}

var errStopped = errors.New("stopped")

// A move that stops after any of its stages is ended by the next call. At no time do both sides
// serve.
func TestPostgresMoveStops(t *testing.T) {
	t.Parallel()
	path := ledgerToMove(t, 1200)
	database := pgtest.Database(t)
	// An earlier move to another database stays unfinished.
	earlier, elsewhere := &move{report: func(string) {}}, pgtest.Database(t)
	earlier.reached = func(string) error { return errStopped }
	if _, err := earlier.run(t.Context(), path, elsewhere); !errors.Is(err, errStopped) {
		t.Fatal(err)
	}
	before := content(t, "sqlite", path)
	stops := map[string]int{
		"begun": 1, "copying payments": 2, "copied payments": 1, "copying attempts": 1,
		"compared": 1, "sealed": 2, "opened": 1,
	}
	reached := map[string]int{}
	for calls := 0; ; calls++ {
		m := &move{report: func(string) {}}
		stopped := ""
		m.reached = func(stage string) error {
			if reached[stage]++; reached[stage] <= stops[stage] {
				stopped = stage
				return errStopped
			}
			return nil
		}
		_, err := m.run(t.Context(), path, database)
		if err == nil {
			break
		}
		if !errors.Is(err, errStopped) || calls > 20 {
			t.Fatalf("after %q: %v", stopped, err)
		}
		switch stopped {
		case "copied payments", "compared":
			wantHalf(t, path, database)
			closeLedger(t, open(t, path)) // goes on as if nothing had been begun
		case "sealed":
			wantHalf(t, path, database)
			wantSealed(t, path, m.place)
		case "opened":
			wantSealed(t, path, m.place)
			closeLedger(t, open(t, database))
		}
	}
	for stage, n := range stops {
		if reached[stage] < n {
			t.Errorf("no call stopped at %q", stage)
		}
	}
	if _, err := moveTo(t, path, elsewhere); !errors.Is(err, ErrMoved) {
		t.Errorf("the earlier move is ended with %v; want %v", err, ErrMoved)
	}
	after := content(t, "pgx", database)
	for table, want := range before {
		if table != "payments" && table != "facts" && !slices.Equal(after[table], want) { // the start has changed these
			t.Errorf("%s: %d rows, before %d; or they differ", table, len(after[table]), len(want))
		}
	}
	if got, want := len(after["payments"]), len(before["payments"]); got != want {
		t.Errorf("%d payments; want %d", got, want)
	}
}

// The source may be used again after a move that stopped. What changed meanwhile is moved, too.
func TestPostgresMoveOfALedgerInUse(t *testing.T) {
	t.Parallel()
	path, database := ledgerToMove(t, 10), pgtest.Database(t)
	m := &move{report: func(string) {}, reached: func(stage string) error {
		if stage == "compared" {
			return errStopped
		}
		return nil
	}}
	if _, err := m.run(t.Context(), path, database); !errors.Is(err, errStopped) {
		t.Fatal(err)
	}
	l := open(t, path)
	if _, err := moveTo(t, path, database); !errors.Is(err, ErrLocked) {
		t.Errorf("while it is in use: %v; want %v", err, ErrLocked)
	}
	insert(t, l, testPayment("later"))
	mustUpdate(t, l, func(tx *Tx) error {
		p, err := tx.Payment(payment.CreditID("cs_p00001"))
		if err != nil {
			return err
		}
		changed := p
		changed.DueAt = changed.DueAt.Add(time.Hour)
		return errors.Join(tx.ChangePayment(p, changed), tx.RemoveDevice("dev:1"))
	})
	closeLedger(t, l)
	before := content(t, "sqlite", path)
	if _, err := moveTo(t, path, database); err != nil {
		t.Fatal(err)
	}
	after := content(t, "pgx", database)
	for table, want := range before {
		if !slices.Equal(after[table], want) {
			t.Errorf("%s: %d rows, before %d; or they differ", table, len(after[table]), len(want))
		}
	}
}

// Someone changes the database between the copy and the comparison. The file is not sealed, and the
// next call copies everything again.
func TestPostgresMoveOfADifference(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ change, report string }{
		"another value": {
			`UPDATE payments SET amount = amount + 1 WHERE session_id = 'cs_p00003'`,
			"differs in amount",
		},
		"a row too few": {
			`DELETE FROM attempts WHERE n = (SELECT max(n) FROM attempts)`,
			"one side has more",
		},
		"a row too many": {
			`INSERT INTO facts (name, value) VALUES ('zzz', 1)`,
			"one side has more",
		},
		"a value in place of NULL": {
			`UPDATE devices SET last_activity = 0 WHERE uid = 'dev:1'`,
			"differs in last_activity",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, database := ledgerToMove(t, 5), pgtest.Database(t)
			var reports []string
			m := &move{report: func(line string) { reports = append(reports, line) }}
			m.reached = func(stage string) error {
				if stage == "copied variables" { // the last table
					pgtest.Exec(t, database, c.change)
				}
				return nil
			}
			if _, err := m.run(t.Context(), path, database); err == nil || !strings.Contains(err.Error(), "differ") {
				t.Errorf("the move ended with %v; want that both sides differ", err)
			}
			if !strings.Contains(strings.Join(reports, "\n"), c.report) {
				t.Errorf("it reports %q; want %q", reports, c.report)
			}
			wantHalf(t, path, database)
			closeLedger(t, open(t, path)) // still works
			before := content(t, "sqlite", path)
			if _, err := moveTo(t, path, database); err != nil {
				t.Fatalf("the next call: %v", err)
			}
			after := content(t, "pgx", database)
			for table, want := range before {
				if !slices.Equal(after[table], want) {
					t.Errorf("%s: %d rows, before %d; or they differ", table, len(after[table]), len(want))
				}
			}
		})
	}
}

func TestPostgresMoveRefuses(t *testing.T) {
	t.Parallel()
	path := ledgerToMove(t, 1)
	half, foreign, used := pgtest.Database(t), pgtest.Database(t), pgtest.Database(t)
	newer, served := pgtest.Database(t), pgtest.Database(t)
	pgtest.Exec(t, foreign, `CREATE TABLE customers (id TEXT PRIMARY KEY)`)
	closeLedger(t, open(t, used))
	closeLedger(t, open(t, newer))
	pgtest.Exec(t, newer, `INSERT INTO migrations (name) VALUES ('999_from_tomorrow.sql')`)
	running := open(t, served)
	defer closeLedger(t, running)
	other := ledgerToMove(t, 1)
	m := &move{report: func(string) {}, reached: func(string) error { return errStopped }}
	if _, err := m.run(t.Context(), other, half); !errors.Is(err, errStopped) {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		from, to string
		want     error
		words    string
	}{
		"another program's database":    {path, foreign, ErrNotEmpty, "customers"},
		"a ledger that was used":        {path, used, ErrNotEmpty, "already worked"},
		"a ledger that is in use":       {path, served, ErrNotEmpty, "already worked"},
		"a newer ledger":                {path, newer, ErrNewer, "999_from_tomorrow"},
		"the target of another move":    {path, half, ErrNotEmpty, other},
		"no ledger":                     {path + ".none", pgtest.Database(t), nil, "no ledger to move"},
		"a server that does not answer": {path, "postgres://notepay:hunter2@127.0.0.1:1/x", nil, "connect"},
	} {
		_, err := moveTo(t, c.from, c.to)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.words) ||
			strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v; want %v with %q", name, err, c.want, c.words)
		}
	}
	pgtest.Exec(t, foreign, `DROP TABLE customers`)
	if got := names(t, postgresDB(t, foreign), `SELECT table_name FROM information_schema.tables
		WHERE table_schema = 'public'`); len(got) != 0 {
		t.Errorf("the other program's database has %q now; want nothing of ours", got)
	}
	closeLedger(t, open(t, path)) // still works
	if _, err := moveTo(t, other, half); err != nil {
		t.Errorf("the move that was begun: %v", err)
	}
}

func postgresDB(t *testing.T, database string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// A mark keeps older programs out, too, because it sorts after all migrations that they know.
func TestMoveMarks(t *testing.T) {
	t.Parallel()
	known := programMigrations(t)
	for _, m := range []moveMark{
		{id: "ABC", place: "/var/lib/with from and on 1/notepay.db"},
		{id: "ABC", place: "db.example.com:5432/on off", at: "2026-11-30 12:00 UTC"},
	} {
		if got := moveOf(m.String()); got != m {
			t.Errorf("%q is read as %+v; want %+v", m, got, m)
		}
		if err := known.admits([]migration{{name: m.String()}}); err == nil || !strings.Contains(err.Error(), m.place) {
			t.Errorf("%q: %v; want it refused", m, err)
		}
		if m.String() <= known[len(known)-1].name {
			t.Errorf("%q sorts before a migration", m)
		}
	}
	if got := moveOf("013_row_numbers.sql"); got != (moveMark{}) || got.refusal() != nil || got.begun("") {
		t.Errorf("a migration is read as the mark %+v", got)
	}
}
