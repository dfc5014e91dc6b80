package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// door is a listener without a socket, so that it works in fake time.
type door struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (d *door) Accept() (net.Conn, error) {
	select {
	case c := <-d.conns:
		return c, nil
	case <-d.closed:
		return nil, net.ErrClosed
	}
}

func (d *door) Close() error   { close(d.closed); return nil }
func (d *door) Addr() net.Addr { return place("127.0.0.1:3011") }

// place is an address.
type place string

func (p place) Network() string { return "tcp" }
func (p place) String() string  { return string(p) }

// from is a connection from an address.
type from struct {
	net.Conn
	place
}

func (f from) RemoteAddr() net.Addr { return f.place }

// ownBoard is a maker's board.
type ownBoard struct {
	t *testing.T
	net.Conn
	lines *bufio.Reader
}

// plug connects a board from an address.
func plug(t *testing.T, to *door, address string) *ownBoard {
	here, there := net.Pipe()
	to.conns <- from{there, place(address)}
	synctest.Wait()
	return &ownBoard{t, here, bufio.NewReader(here)}
}

// says sends a request and compares the reply's beginning.
func (b *ownBoard) says(line, want string) {
	b.t.Helper()
	if _, err := io.WriteString(b, line+"\n"); err != nil {
		b.t.Errorf("write %s: %v", line, err)
		return
	}
	reply, err := b.lines.ReadString('\n')
	if err != nil || !strings.HasPrefix(reply, want) {
		b.t.Errorf("%s: got %q, %v; want %s", line, reply, err, want)
	}
	synctest.Wait()
}

// isCut checks that the connection has ended, and returns what came before.
func (b *ownBoard) isCut(why string) string {
	b.t.Helper()
	rest, err := io.ReadAll(b.lines)
	if err != nil && !errors.Is(err, io.ErrClosedPipe) {
		b.t.Errorf("%s: %v; want the end", why, err)
	}
	return string(rest)
}

// withBoards runs a test with a demo that runs, in fake time.
func withBoards(t *testing.T, test func(w *world, washer *door)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		washer := &door{make(chan net.Conn), make(chan struct{})}
		w.demo.OfferBoards([]net.Listener{washer})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.demo.Run(ctx) }()
		test(w, washer)
		stop()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

const (
	boardSets  = `{"req":"hub.set","product":"product:a","mode":"continuous","sync":true,"inbound":60,"outbound":15}`
	boardPeeks = `{"req":"note.get","file":"payment.qi"}`
	boardPops  = `{"req":"note.get","file":"payment.qi","delete":true}`
)

func boardTells(credit, state string) string {
	return fmt.Sprintf(`{"req":"note.add","file":"payment_ack.qo","sync":true,`+
		`"body":{"credit_id":%q,"state":%q,"code":""}}`, credit, state)
}

func TestBoardRunsTheMachine(t *testing.T) {
	withBoards(t, func(w *world, washer *door) {
		m := w.demo.machines[0]
		if got := w.view(m).Board; got != (boardView{"127.0.0.1:3011", ""}) {
			t.Errorf("got %+v before a board; want only its address", got)
		}
		board := plug(t, washer, "127.0.0.1:50000")
		board.says(boardSets, "{}")
		if got := w.view(m); got.Board.State != "connected" || len(got.Switches) != 1 {
			t.Errorf("got %+v, switches %v; want it connected, and one switch", got.Board, got.Switches)
		}
		w.buy(m)
		time.Sleep(2 * time.Second)
		if got := w.view(m); len(m.host.Starts()) != 0 || got.State != "idle" {
			t.Errorf("got %v, state %q; want the simulated machine to stand back", m.host.Starts(), got.State)
		}
		board.says(boardPeeks, `{"body":{"credit_id":"cr_`)
		credit := fmt.Sprint(w.demo.notehub.Notes(m.uid)[0].Body["credit_id"])
		board.says(boardTells(credit, "started"), `{"total":1}`)
		board.says(boardTells(credit, "started"), `{"total":1}`)
		board.says(boardPops, `{"body":`)
		time.Sleep(2 * time.Second)
		if got := w.view(m); got.State != "running" || got.Starts != 1 || got.Notes[0].State != "started" {
			t.Errorf("got state %q, %d starts, notes %+v; want it running", got.State, got.Starts, got.Notes)
		}
		if got := w.strip(); got.Started != 1 || got.Machine != m.name {
			t.Errorf("got %+v; want the purchase started", got)
		}
		other := plug(t, washer, "127.0.0.1:50001")
		if got := other.isCut("a second board"); got != `{"err":"another board is connected"}`+"\r\n" {
			t.Errorf("a second board reads %q; want why", got)
		}
		board.says(`{"req":"card.version"}`, "{")
		board.Close()
		synctest.Wait()
		w.buy(m)
		time.Sleep(boardGrace - time.Second)
		if got := w.view(m); got.Board.State != "left" || len(m.host.Starts()) != 0 {
			t.Errorf("got %+v, %v; want the simulated machine to wait for the board", got.Board, m.host.Starts())
		}
		board = plug(t, washer, "[::1]:50002") // its note has waited in the Notecard
		board.says(boardPops, `{"body":`)
		board.Close()
		time.Sleep(boardGrace + 2*time.Second)
		w.buy(m)
		time.Sleep(2 * time.Second)
		if got := w.view(m); got.Board.State != "" || len(m.host.Starts()) != 1 || got.Starts != 2 {
			t.Errorf("got %+v, %v; want the simulated machine back", got.Board, m.host.Starts())
		}
	})
}

func TestBoardWithoutHubSet(t *testing.T) {
	withBoards(t, func(w *world, washer *door) {
		m := w.demo.machines[0]
		board := plug(t, washer, "127.0.0.1:50000")
		board.says(`{"req":"card.version"}`, "{")
		w.buy(m)
		time.Sleep(2 * time.Second)
		if got := len(w.demo.notehub.Pending(m.uid, creditFile)); got != 1 || len(m.host.Starts()) != 0 {
			t.Errorf("got %d notes pending, starts %v; want the note to wait", got, m.host.Starts())
		}
	})
}

func TestBoardEndsATimedStart(t *testing.T) {
	withBoards(t, func(w *world, washer *door) {
		m := w.demo.machines[0]
		board := plug(t, washer, "127.0.0.1:50000")
		board.says(boardSets, "{}")
		if _, err := w.leave(m.uid, `{"payment_status":"completed","session_id":"cs_1","credit_id":"cr_1",`+
			`"duration_s":40}`); err != nil {
			t.Fatal(err)
		}
		board.says(boardTells("cr_1", "started"), `{"total":1}`)
		time.Sleep(10 * time.Second)
		if got := w.view(m); got.State != "running" || got.Of != 40 {
			t.Errorf("got %q of %d s; want it running for 40 s", got.State, got.Of)
		}
		board.says(boardTells("cr_1", "done"), `{"total":1}`)
		time.Sleep(2 * time.Second)
		if got := w.view(m); got.State != "idle" {
			t.Errorf("got %q after its end; want idle", got.State)
		}
		w.press("offline-washer", true)
		board.says(`{"req":"hub.status"}`, `{"status":"disconnected`)
		w.press("offline-washer", false)
		board.says(`{"req":"hub.status"}`, `{"connected":true`)
	})
}

func TestBoardConnectionsAreBounded(t *testing.T) {
	withBoards(t, func(w *world, washer *door) {
		m := w.demo.machines[0]
		before := time.Now()
		if got := plug(t, washer, "192.0.2.1:50000").isCut("another computer"); got != "" || time.Since(before) > 0 {
			t.Errorf("another computer reads %q after %v; want the end at once", got, time.Since(before))
		}
		browser := plug(t, washer, "127.0.0.1:50000")
		go func() { _, _ = io.WriteString(browser, "POST / HTTP/1.1\r\n"+boardSets+"\n") }()
		if got := browser.isCut("a browser"); got != "" || w.view(m).Board.State != "" {
			t.Errorf("a browser reads %q, %+v; want nothing", got, w.view(m).Board)
		}
		long := plug(t, washer, "127.0.0.1:50000")
		go func() { _, _ = io.WriteString(long, strings.Repeat("x", 1<<20)) }()
		long.isCut("a line without an end")
		silent := plug(t, washer, "127.0.0.1:50000")
		silent.says(boardSets, "{}")
		began := time.Now()
		silent.isCut("a silent board")
		if waited := time.Since(began); waited != boardIdle {
			t.Errorf("a silent board was cut after %v; want %v", waited, boardIdle)
		}
		deaf := plug(t, washer, "127.0.0.1:50000")
		if _, err := io.WriteString(deaf, boardPeeks+"\n"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(boardWrite + time.Second)
		deaf.isCut("a board that reads nothing")
	})
}
