package process

import (
	"database/sql"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// A ledger moves from SQLite to PostgreSQL. The command is killed ten times on the way. Afterwards
// the old file refuses to serve, and the call that was under way when the service died is looked at
// before its note is sent again.
func TestPostgresMoveKilled(t *testing.T) {
	t.Parallel()
	filled := 11500
	if text := os.Getenv("NOTEPAY_MOVE_PAYMENTS"); text != "" {
		var err error
		if filled, err = strconv.Atoi(text); err != nil || filled < 11500 {
			t.Fatalf("NOTEPAY_MOVE_PAYMENTS=%q; want at least 11500", text)
		}
	}
	d := startPostgres(t)
	w := apptest.NewWorld(t)
	w.Inspected = true
	file := w.Env["DATABASE_URL"]
	p := w.Spawn()
	s := &apptest.Service{W: w, Url: p.Url}
	w.Stripe.SetEndpoint(s.Url+"/webhook/stripe", fixture.TestSecret)
	link := s.Selling(fixture.Washer)
	first := w.Pay(link, sandbox.PayOptions{})
	s.Payment(first.ID, "sent", apptest.Has(`"machine":"sent"`))

	w.Notehub.Next(fixture.PostNote, sandbox.Outcome{Applied: true, Status: http.StatusOK, Delay: time.Minute})
	second := w.Pay(link, sandbox.PayOptions{})
	w.Sent(fixture.Washer, 2)
	if code, _, complaint := w.Command("migrate-store", file, d.url); code != 1 ||
		!strings.Contains(complaint, ledger.ErrLocked.Error()+"; stop it first") {
		t.Errorf("while the service runs: %d, %q; want it refused", code, complaint)
	}
	p.Kill(t) // while the call is under way
	fill(t, file, filled)

	settings := maps.Clone(w.Env)
	settings["DATABASE_URL"] = d.url // so that no URL is in the command line
	began := time.Now()
	for kills := 1; kills <= 10; kills++ {
		cmd := apptest.Invoked(t, w.Dir, settings, "migrate-store", file)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(time.Minute); d.rows("payments") < filled/11*kills; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the move copies nothing more after %d kills", kills-1)
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Fatalf("the move ended before it was killed %d times", kills)
		}
		// The next one need not wait until it is certain that this one is dead.
		d.query(`WITH gone AS (DELETE FROM instances RETURNING 1) SELECT count(*) FROM gone`)
	}
	source := content(t, "sqlite", file)
	last := time.Now()
	code, out, complaint := w.CommandWith(map[string]string{"DATABASE_URL": d.url}, "migrate-store", file)
	t.Logf("%d payments: the ten calls that were killed and the last one took %v, the last one %v", filled+2,
		time.Since(began).Round(100*time.Millisecond), time.Since(last).Round(100*time.Millisecond))
	if code != 0 {
		t.Fatalf("the last call: %d, %q, %q", code, out, complaint)
	}
	timed := began
	if os.Getenv("NOTEPAY_MOVE_PAYMENTS") == "" { // beside other tests
		timed = last
	}
	if took := time.Since(timed); filled <= 100000 && took > time.Minute {
		t.Errorf("the move of %d payments took %v; want a minute at most", filled, took)
	}
	target := content(t, "pgx", d.url)
	for table, rows := range source {
		if !slices.Equal(rows, target[table]) {
			t.Errorf("%s: %d rows, and %d at the target; or they differ", table, len(rows), len(target[table]))
		}
	}
	if n := len(target["payments"]); n != filled+2 || len(source) < 20 {
		t.Errorf("%d payments and %d tables; want %d payments, and all tables", n, len(source), filled+2)
	}
	code, _, complaint = w.Command("serve") // on the old file
	if code != 1 || !strings.Contains(complaint, ledger.ErrMoved.Error()) {
		t.Errorf("serve on the old file: %d, %q; want it refused", code, complaint)
	}

	d.query(`WITH gone AS (DELETE FROM payments WHERE device_uid = 'dev:gone' RETURNING 1) SELECT count(*) FROM gone`)
	w.Set("DATABASE_URL", d.url)
	next := w.Start()
	next.Payment(first.ID, "sent", apptest.Has(`"machine":"sent"`))
	text := next.Payment(second.ID, "sent", apptest.Has(`"machine":"sent"`))
	if !strings.Contains(text, `"action":"check_pending"`) {
		t.Errorf("the interrupted call was not looked at:\n%s", text)
	}
	w.Stopped(next)
	if n := len(w.Notehub.Notes(fixture.Washer)); n != 2 {
		t.Errorf("%d notes for two payments", n)
	}
}

// content reads all rows of the tables that move, in both databases in the same order. It knows nothing
// of the move's own comparison.
func content(t *testing.T, driver, database string) map[string][]string {
	t.Helper()
	db, err := sql.Open(driver, database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	list := func(query string) (texts []string) {
		t.Helper()
		rows, err := db.QueryContext(t.Context(), query)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		defer rows.Close()
		for rows.Next() {
			var text string
			if err := rows.Scan(&text); err != nil {
				t.Fatalf("%s: %v", query, err)
			}
			texts = append(texts, text)
		}
		if err := rows.Err(); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		return texts
	}
	tables := `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`
	columns := `SELECT name FROM pragma_table_info('%s') ORDER BY name`
	if driver == "pgx" {
		tables = `SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()`
		columns = `SELECT column_name FROM information_schema.columns
			WHERE table_schema = current_schema() AND table_name = '%s' ORDER BY column_name COLLATE "C"`
	}
	read := map[string][]string{}
	for _, table := range list(tables) {
		where := ""
		switch table {
		case "migrations", "instances", "leader":
			continue
		case "cursors": // these tell one state of one file, and from where the ledger was moved
			where = ` WHERE name NOT IN ('ledger_generation', 'moved_from')`
		}
		var parts []string
		for _, c := range list(fmt.Sprintf(columns, table)) {
			parts = append(parts, `'`+c+`=' || coalesce(CAST("`+c+`" AS TEXT), 'NULL')`)
		}
		read[table] = list(`SELECT ` + strings.Join(parts, ` || '|' || `) + ` FROM ` + table + where)
		slices.Sort(read[table])
	}
	return read
}

// A move is refused with exit code 1 and the reason, where it would mix or lose data.
func TestPostgresMoveRefuses(t *testing.T) {
	t.Parallel()
	const filled = 20000 // takes long enough for a kill
	d := startPostgres(t)
	w := apptest.NewWorld(t)
	file := w.Env["DATABASE_URL"]
	w.Stopped(w.Start()) // makes the ledger
	at := func(name, statements string) (url string) {
		t.Helper()
		d.exec(`CREATE DATABASE ` + name)
		url = strings.TrimSuffix(d.url, "postgres") + name
		if statements != "" {
			(&database{T: t, url: url}).exec(statements)
		}
		return url
	}
	ours := func(name string) (url string) {
		t.Helper()
		url = at(name, "")
		l, err := ledger.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return url
	}
	newer, half, other := ours("newer"), at("half", ""), filepath.Join(w.Dir, "other.db")
	(&database{T: t, url: newer}).exec(`INSERT INTO migrations (name) VALUES ('999_from_tomorrow.sql')`)
	fill(t, other, filled)
	moving := apptest.Invoked(t, w.Dir, w.Env, "migrate-store", other, half)
	if err := moving.Start(); err != nil {
		t.Fatal(err)
	}
	halfway := &database{T: t, url: half}
	for end := time.Now().Add(time.Minute); halfway.rows("payments") == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the move copies nothing")
		}
	}
	if err := moving.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := moving.Wait(); err == nil {
		t.Fatal("the move ended before it was killed")
	}
	halfway.query(`WITH gone AS (DELETE FROM instances RETURNING 1) SELECT count(*) FROM gone`)
	for name, c := range map[string]struct{ to, words string }{
		"another program's database": {at("theirs", `CREATE TABLE customers (id TEXT PRIMARY KEY)`), "customers"},
		"a ledger that was used":     {ours("used"), "already worked"},
		"a newer ledger":             {newer, "999_from_tomorrow"},
		"the target of another move": {half, other},
	} {
		code, _, complaint := w.Command("migrate-store", file, c.to)
		if code != 1 || !strings.Contains(complaint, c.words) {
			t.Errorf("%s: %d, %q; want exit code 1 and %q", name, code, complaint, c.words)
		}
	}
	onHalf := map[string]string{"DATABASE_URL": half}
	if code, _, complaint := w.CommandWith(onHalf, "serve"); code != 1 || !strings.Contains(complaint, other) {
		t.Errorf("serve on a half moved ledger: %d, %q; want exit code 1 and the source", code, complaint)
	}
	if code, out, _ := w.CommandWith(onHalf, "check"); code != 1 || !strings.Contains(out, other) {
		t.Errorf("check of a half moved ledger: %d, %q; want exit code 1 and the source", code, out)
	}
	w.Stopped(w.Start()) // the source of the refused moves still works
	code, _, complaint := w.Command("migrate-store", other, half)
	if code != 0 || halfway.rows("payments") != filled {
		t.Errorf("the move that was begun: %d, %q, %d payments", code, complaint, halfway.rows("payments"))
	}
}

// rows returns how many rows a table has, 0 if there is no such table.
func (d *database) rows(table string) (n int) {
	d.Helper()
	db, err := sql.Open("pgx", d.url)
	if err != nil {
		d.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow(`SELECT count(*) FROM ` + table).Scan(&n); err != nil {
		return 0
	}
	return n
}

// fill adds payments that have ended long ago to a ledger that no process uses.
func fill(t *testing.T, file string, n int) {
	t.Helper()
	l, err := ledger.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	err = l.Update(t.Context(), func(tx *ledger.Tx) error {
		for i := range n {
			session := fmt.Sprintf("cs_filled%d", i)
			_, err := tx.InsertPayment(payment.Payment{
				ID:            payment.CreditID(session),
				SessionID:     session,
				Token:         payment.TokenOf(payment.CreditID(session), [16]byte{}),
				DeviceUID:     "dev:gone",
				Currency:      "eur",
				Funds:         payment.Paid,
				Delivery:      payment.Done,
				MaybeAccepted: true,
				PaidAt:        tx.Now,
				CreatedAt:     tx.Now,
				SentAt:        tx.Now,
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestMigrateStoreCommandLine(t *testing.T) {
	t.Parallel()
	w := apptest.NewWorld(t)
	const url = "postgres://notepay:hunter2@127.0.0.1:1/notepay"
	for _, args := range [][]string{
		{}, {""}, {"a", url, "c"}, {url, url}, {"a", "b.db"}, {"a", "postgres://x:hunter2/@y"}, {"a"},
	} {
		code, _, complaint := w.Command(append([]string{"migrate-store"}, args...)...)
		if code != 2 || !strings.Contains(complaint, "migrate-store") || strings.Contains(complaint, "hunter2") {
			t.Errorf("%q: %d, %q; want wrong usage", args, code, complaint)
		}
	}
	missing := filepath.Join(t.TempDir(), "none.db")
	if code, _, complaint := w.Command("migrate-store", missing, url); code != 1 ||
		!strings.Contains(complaint, "there is no ledger") {
		t.Errorf("a file that is not there: %d, %q", code, complaint)
	}
}
