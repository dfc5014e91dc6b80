package ledger

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// writerLedger is the variable that tells the child process of TestUpdateSurvivesAKill which ledger
// to write to.
const writerLedger = "NOTEPAY_TEST_WRITER_LEDGER"

// A killed process leaves what it gave to the kernel. So this test shows that updates are written
// before they are acknowledged, and that none is half there. TestConnectionsAreDurable checks the
// sync.
func TestUpdateSurvivesAKill(t *testing.T) {
	if path := os.Getenv(writerLedger); path != "" {
		writeUntilKilled(t, path)
	}
	t.Parallel()
	const rounds, most = 10, 100
	path := freshSQLite(t)
	seeded := rand.New(rand.NewPCG(1, 2))
	var acknowledged []string
	for round := range rounds {
		of, err := killedWriter(t, path, round, seeded.IntN(most))
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		acknowledged = append(acknowledged, of...)

		l := open(t, path)
		wantStored(t, l, acknowledged)
		const half = `SELECT session_id FROM payments WHERE n NOT IN (SELECT n FROM attempts)`
		wantNames(t, l, "half payments", half, nil)
		closeLedger(t, l)
	}
	wantNames(t, open(t, path), "SQLite's own check", `PRAGMA integrity_check`, []string{"ok"})
}

// killedWriter starts a writer, kills it after it has acknowledged killAfter sessions, and returns
// all acknowledged sessions.
func killedWriter(t *testing.T, path string, round, killAfter int) (acknowledged []string, err error) {
	t.Helper()
	writer := exec.Command(os.Args[0], "-test.run=^TestUpdateSurvivesAKill$")
	writer.Env = append(os.Environ(), writerLedger+"="+path, fmt.Sprintf("NOTEPAY_TEST_ROUND=%d", round))
	writer.Stderr = t.Output()
	out, err := writer.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := writer.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() { // includes what was in the pipe when the writer was killed
		acknowledged = append(acknowledged, lines.Text())
		if len(acknowledged) == killAfter+1 {
			if err := writer.Process.Kill(); err != nil {
				return nil, err
			}
		}
	}
	_ = writer.Wait() // it was killed
	if len(acknowledged) <= killAfter || !strings.HasPrefix(acknowledged[0], "cs_") {
		return nil, fmt.Errorf("the writer ended by itself, after %q", acknowledged)
	}
	return acknowledged, lines.Err()
}

// writeUntilKilled stores payments, each with an attempt, from several goroutines. It prints each
// session after Update has returned.
func writeUntilKilled(t *testing.T, path string) {
	const writers = 8
	l, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	for w := range writers {
		go func() {
			for n := 0; ; n++ {
				p := testPayment(fmt.Sprintf("%s_%d_%d", os.Getenv("NOTEPAY_TEST_ROUND"), w, n))
				err := l.Update(t.Context(), func(tx *Tx) error {
					if _, err := tx.InsertPayment(p); err != nil {
						return err
					}
					return tx.AddAttempt(p.ID, posted())
				})
				if err == nil {
					_, err = os.Stdout.WriteString(p.SessionID + "\n")
				}
				if err != nil {
					ended <- err
					return
				}
			}
		}()
	}
	t.Fatal(<-ended)
}
