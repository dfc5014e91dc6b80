package ledger

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"notepay/internal/ledger/pgtest"
	"notepay/internal/payment"
)

// lineTo is a proxy in front of the server. It can lose what existing connections carry, without
// closing them, as a failed host does.
type lineTo struct {
	url string

	mu    sync.Mutex
	dead  *atomic.Bool // of the connections made since the last silence
	conns []net.Conn
	away  bool // new connections are closed at once
	// atCommit replaces the next reply with a COMMIT, and the connection ends then. It is used once.
	atCommit atomic.Pointer[func(reply []byte) []byte]
}

// commitTag is PostgreSQL's message that a COMMIT has completed.
var commitTag = []byte("C\x00\x00\x00\x0bCOMMIT\x00")

// replaceCommit makes the next reply with a COMMIT the last of its connection, as changed by replace.
func (l *lineTo) replaceCommit(replace func(reply []byte) []byte) { l.atCommit.Store(&replace) }

// newLine puts a line in front of a database until the test ends.
func newLine(t *testing.T, database string) *lineTo {
	t.Helper()
	l := &lineTo{dead: new(atomic.Bool)}
	l.url = pgtest.Line(t, database, func(client, backend net.Conn) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.away {
			_, _ = client.Close(), backend.Close()
			return
		}
		l.conns = append(l.conns, client)
		go l.carry(client, backend, l.dead)
	})
	return l
}

func (l *lineTo) carry(client, backend net.Conn, dead *atomic.Bool) {
	pass := func(to, from net.Conn, replies bool) {
		buffer := make([]byte, 1<<16)
		for {
			n, err := from.Read(buffer)
			switch {
			case err != nil:
				_, _ = to.Close(), from.Close()
				return
			case dead.Load():
			case replies && l.atCommit.Load() != nil && bytes.Contains(buffer[:n], commitTag):
				replace := *l.atCommit.Swap(nil)
				_, _ = to.Write(replace(buffer[:n]))
				_, _ = to.Close(), from.Close()
				return
			default:
				if _, err := to.Write(buffer[:n]); err != nil && !errors.Is(err, io.EOF) {
					_, _ = to.Close(), from.Close()
					return
				}
			}
		}
	}
	go pass(backend, client, false)
	pass(client, backend, true)
}

// silence loses everything on the existing connections. New ones work.
func (l *lineTo) silence() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead.Store(true)
	l.dead = new(atomic.Bool)
}

// cut closes all connections, and refuses new ones until repair is called, as a server does that is down.
func (l *lineTo) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away = true
	for _, conn := range l.conns {
		_ = conn.Close()
	}
	l.conns = nil
}

func (l *lineTo) repair() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away = false
}

// wantHealed checks that writes and reads work again within 10 s, and how long a failed write took.
func wantHealed(t *testing.T, l *Ledger) {
	t.Helper()
	began := time.Now()
	for {
		try := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		err := l.Update(ctx, func(tx *Tx) error { return tx.SetMeta("healed", tx.Now) })
		if err == nil {
			_, err = l.Meta(ctx, "healed")
		}
		cancel()
		if took := time.Since(try); took > 5500*time.Millisecond {
			t.Errorf("a write took %v; want at most the 5 s of its caller", took)
		}
		if err == nil {
			t.Logf("healed after %v", time.Since(began))
			break
		}
		if time.Since(began) > 10*time.Second {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
	}
	select {
	case <-l.Lost():
		t.Error("the lease was lost")
	default:
	}
}

func TestPostgresHealsAfterSilence(t *testing.T) {
	t.Parallel()
	line := newLine(t, pgtest.Database(t))
	l := open(t, line.url)
	var all sync.WaitGroup
	for range 8 { // readers that leave idle connections
		all.Go(func() { _, _ = l.Meta(t.Context(), "none") })
	}
	all.Wait()
	line.silence()
	wantHealed(t, l)
}

// After a failover the old connections may lead to a server that is read-only now.
func TestPostgresHealsAfterReadOnly(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	l := open(t, database)
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	// The setting of the running session is what a demoted server would say.
	err = l.Update(t.Context(), func(tx *Tx) error {
		rows, err := tx.db.query(`SELECT set_config('default_transaction_read_only', 'on', false)`)
		return errOnly(one(rows, err, func(s scanner) (v string, err error) { return v, s.Scan(&v) }))
	})
	if err != nil {
		t.Fatal(err)
	}
	wantHealed(t, l)
}

func TestPostgresLosesTheReplyToCommit(t *testing.T) {
	t.Parallel()
	line := newLine(t, pgtest.Database(t))
	l := open(t, line.url)
	p := testPayment("one")
	record := func() (inserted bool, err error) {
		err = l.Update(t.Context(), func(tx *Tx) (err error) {
			inserted, err = tx.InsertPayment(p)
			return err
		})
		return inserted, err
	}
	line.replaceCommit(func([]byte) []byte { return nil })
	if _, err := record(); !errors.Is(err, errUnknownOutcome) {
		t.Errorf("got %v; want %v", err, errUnknownOutcome)
	}
	if inserted, err := record(); inserted || err != nil {
		t.Errorf("the repeat: inserted %v, %v; want that it was stored already", inserted, err)
	}
	wantStored(t, l, []string{p.SessionID})
}

// An operator may have turned off the wait for the disk in the database or for its user.
func TestPostgresWaitsForTheDisk(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	name := database[strings.LastIndexByte(database, '/')+1:]
	pgtest.Exec(t, database, `ALTER DATABASE `+name+` SET synchronous_commit = off`)
	l := open(t, database)
	mustUpdate(t, l, func(tx *Tx) error {
		rows, err := tx.db.query(`SELECT current_setting('synchronous_commit')`)
		setting, err := one(rows, err, func(s scanner) (v string, err error) { return v, s.Scan(&v) })
		if setting != "on" {
			t.Errorf("synchronous_commit is %q; want on", setting)
		}
		return err
	})
}

// A process that another has replaced writes nothing, even if it has not noticed.
func TestPostgresFencesTheWriter(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	l := open(t, database)
	insert(t, l, testPayment("before"))
	pgtest.Exec(t, database, `DELETE FROM instances`)
	err := l.Update(t.Context(), func(tx *Tx) error { return errOnly(tx.InsertPayment(testPayment("after"))) })
	if !errors.Is(err, errLeaseLost) || !errors.Is(err, ErrClosed) {
		t.Errorf("got %v; want %v", err, errLeaseLost)
	}
	<-l.Lost()
	wantNames(t, l, "payments", `SELECT session_id FROM payments`, []string{"cs_before"})
}

// A migration may index all payments, which takes longer than any other statement may.
func TestPostgresMigrationTakesLong(t *testing.T) {
	t.Parallel()
	server, err := parsePostgres(pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	lease, err := join(t.Context(), server, Identity{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer lease.release()
	w := newPostgresWriter(server, lease, nil)
	defer w.disconnect()
	err = w.migrate(t.Context(), func(tx *Tx) error {
		rows, err := tx.db.query(`SELECT current_setting('statement_timeout')`)
		limit, err := one(rows, err, func(s scanner) (v string, err error) { return v, s.Scan(&v) })
		if limit != "0" {
			t.Errorf("statement_timeout is %q; want none", limit)
		}
		return errors.Join(err, tx.run(`SELECT pg_sleep($1)`, batchTimeout.Seconds()+0.5))
	})
	if err != nil {
		t.Error(err)
	}
}

// One update of a batch must not fail the others, whatever it does.
func TestPostgresBatchWithCulprits(t *testing.T) {
	t.Parallel()
	l := open(t, pgtest.Database(t))
	own := errors.New("changed my mind")
	insert(t, l, testPayment("known"))
	for name, fn := range map[string]func(*Tx) error{
		"its own error":              func(tx *Tx) error { return errors.Join(tx.SetMeta("lost", tx.Now), own) },
		"a row that is refused late": func(tx *Tx) error { return tx.SaveDevice(Device{UID: "imei:1"}) },
		"a row that exists":          func(tx *Tx) error { return errOnly(tx.InsertPayment(testPayment("known"))) },
		"a row that is not as expected": func(tx *Tx) error {
			return errOnly(tx.expect(`DELETE FROM facts WHERE name = $1`, "no"))
		},
		"a panic":                     func(*Tx) error { panic("out of range") },
		"a statement that takes long": func(tx *Tx) error { return tx.run(`SELECT pg_sleep($1)`, 2.2) },
	} {
		t.Run(name, func(t *testing.T) {
			hold := make(chan struct{})
			go func() { // so that the others wait together
				_ = l.Update(context.Background(), func(*Tx) error { <-hold; return nil })
			}()
			var all sync.WaitGroup
			var good []string
			var bad error
			for n := range 8 {
				p := testPayment(strings.ReplaceAll(name, " ", "_") + string(rune('a'+n)))
				good = append(good, p.SessionID)
				all.Go(func() {
					if n == 3 {
						if bad = l.Update(context.Background(), fn); name == "its own error" && !errors.Is(bad, own) {
							t.Errorf("got %v; want %v", bad, own)
						}
					}
					err := l.Update(context.Background(), func(tx *Tx) error { return errOnly(tx.InsertPayment(p)) })
					if err != nil {
						t.Error(err)
					}
				})
			}
			time.Sleep(20 * time.Millisecond)
			close(hold)
			all.Wait()
			wantStored(t, l, good)
			wantNoFact(t, l, "lost")
		})
	}
	if got, err := l.Payment(t.Context(), payment.CreditID("cs_known")); err != nil || got.SessionID != "cs_known" {
		t.Errorf("got %v, %v", got.SessionID, err)
	}
}
