package machine

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"notepay/internal/apptest"
)

// output keeps what a program writes. It is safe for concurrent use.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// String returns the output so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// find waits up to 40 s until the output matches, and returns the submatches of the last match.
func (o *output) find(t *testing.T, pattern string) []string {
	t.Helper()
	for end := time.Now().Add(40 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if found := regexp.MustCompile(pattern).FindAllStringSubmatch(o.String(), -1); found != nil {
			return found[len(found)-1]
		}
		if time.Now().After(end) {
			t.Fatalf("no %q in 40 s:\n%s", pattern, o)
		}
	}
}

// plug starts the firmware as a board at a port of the demo. The function that it returns takes its
// power away.
func plug(t *testing.T, program, records, address string) (said *output, unplug func()) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	line, err := conn.(*net.TCPConn).File() // the program's own end
	if err := errors.Join(err, conn.Close()); err != nil {
		t.Fatal(err)
	}
	said = &output{}
	board := exec.Command(program, records)
	board.Stdin, board.Stdout, board.Stderr = line, line, said
	err = board.Start()
	if err := errors.Join(err, line.Close()); err != nil {
		t.Fatal(err)
	}
	unplug = sync.OnceFunc(func() {
		_ = board.Process.Kill()
		_ = board.Wait() // it was killed
	})
	t.Cleanup(unplug)
	return said, unplug
}

// TestDemoStartsABoard pays in the demo as a customer does, and a board at the washer's port starts.
// Then the board loses its power, and goes on for the rest of the time.
func TestDemoStartsABoard(t *testing.T) {
	t.Parallel()
	program := compiled(t)
	demo := apptest.Invoked(t, t.TempDir(), map[string]string{"PORT": "0", "DEMO_PORT": "0"}, "demo")
	said := &output{}
	demo.Stdout, demo.Stderr = said, said
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := demo.Process.Signal(os.Interrupt)
		if err := errors.Join(err, demo.Wait()); err != nil {
			t.Errorf("the demo ended with %v:\n%s", err, said)
		}
	})
	found := said.find(t, `Open +(\S+)\s+Pay +(\S+)\s+Operate .*\s+Boards +(\S+)`)
	page, pay, address := found[1], found[2], found[3]
	records := filepath.Join(t.TempDir(), "records")
	board, unplug := plug(t, program, records, address)
	buy(t, page, pay)
	board.find(t, `start (cr_\S+) for 40 s`)
	if text := get(t, page); !strings.Contains(text, "<b>Your board</b> is connected and runs this machine.") {
		t.Error("the page does not show the board")
	}
	time.Sleep(time.Second)
	unplug()
	if text := get(t, page); !strings.Contains(text, "Washing, ") || !strings.Contains(text, "Has started once") {
		t.Error("the page does not show the board's start")
	}
	board, _ = plug(t, program, records, address)
	left, err := strconv.Atoi(board.find(t, `start cr_\S+ for (\d+) s`)[1])
	if err != nil || left >= 40 || left < 10 {
		t.Errorf("after a power cut it runs for %d s more, %v; want the rest of 40 s", left, err)
	}
}

func get(t *testing.T, address string) string {
	t.Helper()
	answer, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// buy scans a sticker and pays. Right after the start a machine has no link for a moment.
func buy(t *testing.T, page, pay string) {
	t.Helper()
	action := regexp.MustCompile(`action="(/c/[^"]+)"`)
	for end := time.Now().Add(40 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if form := action.FindStringSubmatch(get(t, pay)); form != nil {
			answer, err := http.PostForm(page+form[1], url.Values{"card": {"4242 4242 4242 4242"}})
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatal("the machine is not sold")
		}
	}
}
