package ledger

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"notepay/internal/vendortime"
)

var (
	// ErrMoved is returned for a SQLite ledger that was moved to PostgreSQL. Only the database works
	// from then on: two living copies would start machines twice.
	ErrMoved = errors.New("the ledger was moved to PostgreSQL")
	// ErrHalfMoved is returned for a database into which a ledger is being moved.
	ErrHalfMoved = errors.New("a ledger is being moved into this database")
	// ErrNotEmpty is returned by Move for a database that holds something else.
	ErrNotEmpty = errors.New("the database is not empty")
)

// cursorMovedFrom names the cursor that tells from where a ledger was moved.
const cursorMovedFrom = "moved_from"

// moveMark is a row of the table migrations that keeps every program out, also an older one that
// does not know about moves, because no program has such a migration.
type moveMark struct {
	id    string // of the move; "": the row is no mark
	place string // in a database the path of the source, in a source the place of the database
	at    string // when the source was sealed; "" in a database
}

// moveOf reads a mark from a name in the table migrations.
func moveOf(name string) (m moveMark) {
	if rest, ok := strings.CutPrefix(name, "moving "); ok {
		m.id, m.place, _ = strings.Cut(rest, " from ")
	} else if rest, ok := strings.CutPrefix(name, "moved "); ok {
		m.id, rest, _ = strings.Cut(rest, " to ")
		if on := strings.LastIndex(rest, " on "); on >= 0 {
			m.place, m.at = rest[:on], rest[on+len(" on "):]
		}
	}
	return m
}

func (m moveMark) String() string {
	if m.at == "" {
		return "moving " + m.id + " from " + m.place
	}
	return "moved " + m.id + " to " + m.place + " on " + m.at
}

// begun reports whether this is the mark of an unfinished move, in a database.
func (m moveMark) begun(id string) bool { return m.id != "" && m.id == id && m.at == "" }

// refusal returns why no program works on a ledger with this mark.
func (m moveMark) refusal() error {
	switch {
	case m.id == "":
		return nil
	case m.at == "":
		return fmt.Errorf("%w, from %s; end the move by running notepay migrate-store %s again",
			ErrHalfMoved, m.place, m.place)
	}
	return fmt.Errorf("%w at %s on %s; set DATABASE_URL to that database", ErrMoved, m.place, m.at)
}

// Moved is what Move did.
type Moved struct {
	Place   string // of the database, without user and password
	Rows    int    // that both sides have
	Already bool   // an earlier call has ended the move
}

// Move moves a SQLite ledger that no process uses into an empty PostgreSQL database, or goes on with
// an earlier move of it. report is called with what it does.
//
// Until the last row was compared, the source is a ledger like any other, and the database refuses
// to serve. Then the source is sealed, and only after that the database is opened. A process that
// stops between the two leaves two sides that refuse, and the next call of Move opens the database.
func Move(ctx context.Context, from, to string, report func(string)) (Moved, error) {
	return (&move{report: report}).run(ctx, from, to)
}

// move is one call of Move.
type move struct {
	report func(string)
	// reached is called with the name of each stage that has ended. A test returns an error as if the
	// process had stopped there. nil: nothing.
	reached func(stage string) error

	known  schema
	path   string
	source *sql.DB
	seal   moveMark // of the source; zero: it is not sealed

	server *postgresServer
	place  string
	writer *postgresWriter
	id     string
	begun  bool // the database was begun by an earlier call
}

func (m *move) run(ctx context.Context, from, to string) (moved Moved, err error) {
	if _, err := os.Stat(from); err != nil {
		return Moved{}, fmt.Errorf("there is no ledger to move: %w", err)
	}
	if m.server, err = parsePostgres(to); err != nil {
		return Moved{}, err
	}
	if m.known, err = programSchema(); err != nil {
		return Moved{}, err
	}
	m.place = placeOf(m.server.config)
	if err := m.upgrade(ctx, from); err != nil {
		return Moved{}, err
	}
	files, err := lockFiles(from)
	if err != nil {
		return Moved{}, err
	}
	defer func() { err = errors.Join(err, files.release()) }()
	m.path = files.path
	if err := m.openSource(ctx, files); err != nil {
		return Moved{}, err
	}
	defer func() { err = errors.Join(err, m.source.Close()) }() // SQLite closes its files before release does
	already, err := m.look(ctx)
	if err != nil || already {
		return Moved{Place: m.place, Already: already}, err
	}
	i, err := join(ctx, m.server, Identity{level: m.known.level()}, nil)
	if errors.Is(err, ErrLocked) {
		return Moved{}, fmt.Errorf("%s: %w", m.place, err)
	}
	if err != nil {
		return Moved{}, err
	}
	defer i.release()
	if !i.alone {
		return Moved{}, fmt.Errorf("%s: %w", m.place, ErrLocked)
	}
	m.writer = newPostgresWriter(m.server, i, nil)
	defer m.writer.disconnect()
	rows, err := m.fill(ctx)
	return Moved{Place: m.place, Rows: rows}, err
}

// upgrade brings the source to the schema of this program, as each start does. It leaves a sealed
// source as it is.
func (m *move) upgrade(ctx context.Context, from string) error {
	l, err := OpenBy(ctx, from, vendortime.New(nil)) // whose time is not known, so it changes no birth
	if errors.Is(err, ErrMoved) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, notice := range l.Notices() {
		m.report(notice)
	}
	return l.Close()
}

// openSource opens the source. The caller has locked its files.
func (m *move) openSource(ctx context.Context, files *ledgerFiles) error {
	database, err := os.OpenFile(files.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	files.database = database // release closes it
	if err := lockInode(database); err != nil {
		return err
	}
	if _, err := files.admit(ctx); err != nil {
		return err
	}
	const settings = "mode=rw&_pragma=busy_timeout(5000)&_pragma=synchronous(full)"
	if m.source, err = sql.Open("sqlite", fileURI(files.path, settings)); err != nil {
		return err
	}
	m.source.SetMaxOpenConns(1)
	seen, err := seenMigrations(func(q string) (resultRows, error) { return m.source.QueryContext(ctx, q) })
	for _, s := range seen {
		if mark := moveOf(s.name); mark.at != "" {
			m.seal = mark
		}
	}
	if err != nil {
		return errors.Join(err, m.source.Close())
	}
	return nil
}

// look decides whether the database is the right one, without changing it. It reports whether an
// earlier call has ended the move.
func (m *move) look(ctx context.Context) (already bool, err error) {
	conn, _, err := m.server.connect(ctx)
	if err != nil {
		return false, err
	}
	defer hangUp(conn)
	query := func(q string) (resultRows, error) {
		rows, err := conn.Query(ctx, q)
		return closingRows{rows}, err
	}
	rows, err := query(`SELECT name FROM (` + ownTables + `) AS own (name)
		WHERE name NOT IN ('instances', 'leader') ORDER BY name`)
	tables, err := all(rows, err, func(s scanner) (name string, err error) { return name, s.Scan(&name) })
	if err != nil {
		return false, err
	}
	var mark moveMark
	if slices.Contains(tables, "migrations") {
		if mark, already, err = m.lookAtLedger(query); err != nil || already {
			return already, err
		}
	} else if len(tables) > 0 {
		return false, fmt.Errorf("%w: %s has the table %s; make a new database for notepay",
			ErrNotEmpty, m.place, tables[0])
	}
	switch {
	case m.seal.id != "" && m.seal.id != mark.id:
		return false, m.seal.refusal()
	case mark.id != "":
		m.id, m.begun = mark.id, true
	default:
		m.id = rand.Text()
	}
	return false, nil
}

// lookAtLedger decides about a database that has tables of notepay. mark is that of an unfinished
// move of this source.
func (m *move) lookAtLedger(query func(string) (resultRows, error)) (mark moveMark, already bool, err error) {
	seen, err := seenMigrations(query)
	if err != nil {
		return moveMark{}, false, err
	}
	for _, s := range seen {
		if found := moveOf(s.name); found.id != "" {
			mark = found
		}
	}
	if mark.id != "" {
		if mark.place != m.path {
			return moveMark{}, false, fmt.Errorf("%w: a move from %s into %s has begun; end that one, "+
				"or make a new database", ErrNotEmpty, mark.place, m.place)
		}
		return mark, false, nil
	}
	if err := m.known.admits(seen); err != nil {
		return moveMark{}, false, err
	}
	rows, err := query(`SELECT value FROM cursors WHERE name = '` + cursorMovedFrom + `'`)
	origin, err := all(rows, err, func(s scanner) (v string, err error) { return v, s.Scan(&v) })
	if err != nil {
		return moveMark{}, false, err
	}
	if len(origin) == 1 && m.seal.id != "" {
		if id, _, _ := strings.Cut(origin[0], " "); id == m.seal.id {
			return moveMark{}, true, nil
		}
	}
	if m.seal.id != "" {
		return moveMark{}, false, m.seal.refusal()
	}
	return moveMark{}, false, fmt.Errorf("%w: a notepay has already worked on %s; make a new database",
		ErrNotEmpty, m.place)
}

// closingRows are rows of pgx whose Close returns an error, as resultRows have to.
type closingRows struct{ pgx.Rows }

func (r closingRows) Close() error { r.Rows.Close(); return nil }

// placeOf returns the place of a database, without user and password.
func placeOf(c *pgx.ConnConfig) string { return fmt.Sprintf("%s:%d/%s", c.Host, c.Port, c.Database) }

// transact runs fn in a transaction on the database. It fails if another process has replaced this
// one there.
func (m *move) transact(ctx context.Context, fn func(tx *Tx) error) error {
	return m.writer.migrate(ctx, fn)
}

func (m *move) stage(name string) error {
	if m.reached == nil {
		return nil
	}
	return m.reached(name)
}

// fill fills the database, seals the source, and opens the database. It returns how many rows both
// have.
func (m *move) fill(ctx context.Context) (rows int, err error) {
	if err := m.begin(ctx); err != nil {
		return 0, err
	}
	tables, err := m.tables(ctx)
	if err != nil {
		return 0, err
	}
	if err := m.stage("begun"); err != nil {
		return 0, err
	}
	rows, different, err := m.copyAndCompare(ctx, tables)
	if different && m.begun && (err == nil || isRejectedRow(err)) {
		m.report("the ledger has changed since the move began, so all rows are copied again")
		if err := m.empty(ctx, tables); err != nil {
			return 0, err
		}
		rows, different, err = m.copyAndCompare(ctx, tables)
	}
	if err == nil && different {
		err = errors.New("the two sides differ; nothing was moved")
	}
	if err != nil {
		return 0, err
	}
	if err := m.stage("compared"); err != nil {
		return 0, err
	}
	// From here on the source refuses, and the database does not serve yet.
	at := time.Now().UTC().Format("2006-01-02 15:04 UTC")
	if m.seal.id == "" {
		seal := moveMark{id: m.id, place: m.place, at: at}
		if _, err := m.source.ExecContext(ctx, `INSERT INTO migrations (name) VALUES ($1)`, seal.String()); err != nil {
			return 0, fmt.Errorf("seal %s: %w", m.path, err)
		}
	}
	// If notepay stops here, both refuse, and the next call ends the move.
	if err := m.stage("sealed"); err != nil {
		return 0, err
	}
	return rows, m.open(ctx, tables, at)
}

// begin marks the database as the unfinished target of this move, and creates the tables.
func (m *move) begin(ctx context.Context) error {
	err := m.transact(ctx, func(tx *Tx) error {
		const table = `CREATE TABLE IF NOT EXISTS migrations (name TEXT NOT NULL PRIMARY KEY)`
		if _, err := tx.exec(table); err != nil {
			return err
		}
		seen, err := seenMigrations(func(q string) (resultRows, error) { return tx.db.query(q) })
		if err != nil || m.begun {
			return err
		}
		if len(seen) > 0 {
			return fmt.Errorf("%w: another notepay has begun to use %s", ErrNotEmpty, m.place)
		}
		mark := moveMark{id: m.id, place: m.path}
		return errOnly(tx.exec(`INSERT INTO migrations (name) VALUES ($1)`, mark.String()))
	})
	if err != nil {
		return err
	}
	return migrator{
		schema:  m.known,
		begin:   func(fn func(*Tx) error) error { return m.transact(ctx, fn) },
		dialect: toPostgres,
		waiting: m.report,
		move:    m.id,
	}.run(ctx)
}

// open makes the database a ledger that serves.
func (m *move) open(ctx context.Context, tables []table, at string) error {
	err := m.transact(ctx, func(tx *Tx) error {
		for _, t := range tables {
			if t.identity == "" {
				continue
			}
			// The next number follows the highest one.
			const follow = `SELECT setval(pg_get_serial_sequence($1, $2), coalesce(max(%s), 0) + 1, false) FROM %s`
			_, err := tx.exec(fmt.Sprintf(follow, quoted(t.identity), quoted(t.name)), t.name, t.identity)
			if err != nil {
				return err
			}
		}
		if err := tx.SetCursor(cursorMovedFrom, m.id+" "+m.path+" on "+at); err != nil {
			return err
		}
		mark := moveMark{id: m.id, place: m.path}
		n, err := tx.exec(`DELETE FROM migrations WHERE name = $1`, mark.String())
		if err == nil && n != 1 {
			err = fmt.Errorf("%s lost the mark of this move", m.place)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("open %s for service: %w; run the command again", m.place, err)
	}
	return m.stage("opened")
}
