package demo

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"notepay/internal/sandbox"
)

const (
	boardIdle  = 3 * time.Minute  // a board that is silent for so long is disconnected; it asks each minute
	boardWrite = 5 * time.Second  // how long a reply may take to be accepted
	boardGrace = 30 * time.Second // how long the simulated machine waits for a board to return
)

// boards holds the board that a maker connected to a machine's Notecard, and its starts. Demo.mu guards it.
type boards struct {
	address   string // where a board reaches the Notecard; "": nowhere
	occupied  bool   // there is a connection
	connected bool   // it has spoken as a board does
	left      time.Time
	starts    []sandbox.Start // that the boards have answered
	ended     map[string]bool // credits of those starts that were answered as ended
}

// OfferBoards lets boards connect to the Notecards of the machines: one listener each, in the order
// of Devices. Call it before Run, which accepts the connections and closes the listeners.
func (d *Demo) OfferBoards(listeners []net.Listener) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.listeners = listeners
	for i, listener := range listeners {
		d.machines[i].board.address = listener.Addr().String()
	}
}

// serveBoards accepts boards until the context ends.
func (d *Demo) serveBoards(ctx context.Context) {
	var serving sync.WaitGroup
	for i, listener := range d.listeners {
		m := d.machines[i]
		closed := context.AfterFunc(ctx, func() { _ = listener.Close() })
		serving.Go(func() {
			defer closed()
			for {
				conn, err := listener.Accept()
				switch {
				case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
					return
				case err != nil:
					d.log.Warn("board not accepted", "device", m.uid, "err", err)
					time.Sleep(time.Second)
					continue
				}
				serving.Go(func() { d.serveBoard(ctx, m, conn) })
			}
		})
	}
	serving.Wait()
}

// serveBoard connects one board to the Notecard of a machine. A second board is refused.
func (d *Demo) serveBoard(ctx context.Context, m *machine, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	from, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil || !from.Addr().Unmap().IsLoopback() {
		d.log.Warn("board refused", "device", m.uid, "from", conn.RemoteAddr().String())
		return
	}
	line := &boardLine{conn: conn, heard: func() { d.boardSpoke(m) }}
	d.mu.Lock()
	taken := m.board.occupied
	m.board.occupied = true
	d.mu.Unlock()
	if taken {
		_, _ = io.WriteString(line, `{"err":"another board is connected"}`+"\r\n")
		return
	}
	err = m.card.Serve(line)
	if err != nil && ctx.Err() == nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		d.log.Warn("board disconnected", "device", m.uid, "err", err)
	}
	d.mu.Lock()
	m.board.occupied = false
	if m.board.connected {
		m.board.connected, m.board.left = false, time.Now()
	}
	d.mu.Unlock()
	d.redraw()
}

// boardSpoke notes that a board is connected, after its first request.
func (d *Demo) boardSpoke(m *machine) {
	d.mu.Lock()
	first := !m.board.connected
	m.board.connected = true
	d.mu.Unlock()
	if first {
		d.log.Info("board connected", "device", m.uid)
		d.redraw()
	}
}

// boardLine is the connection to a board, with time limits. It calls heard with each reply to a
// request.
type boardLine struct {
	conn  net.Conn
	heard func()
}

// Read implements io.Reader.
func (l *boardLine) Read(p []byte) (int, error) {
	if err := l.conn.SetReadDeadline(time.Now().Add(boardIdle)); err != nil {
		return 0, err
	}
	return l.conn.Read(p)
}

// Write implements io.Writer.
func (l *boardLine) Write(p []byte) (int, error) {
	if err := l.conn.SetWriteDeadline(time.Now().Add(boardWrite)); err != nil {
		return 0, err
	}
	if len(p) > len("\r\n") {
		l.heard()
	}
	return l.conn.Write(p)
}

// holds reports whether a board has the machine, so that the simulated one stands back.
func (b *boards) holds(now time.Time) bool {
	return b.connected || !b.left.IsZero() && now.Sub(b.left) < boardGrace
}

// stepBoard exchanges the notes of a board with Notehub while it has the machine.
func (d *Demo) stepBoard(m *machine) {
	d.mu.Lock()
	holds := m.board.holds(time.Now())
	d.mu.Unlock()
	m.host.StandBack(holds)
	if holds || m.card.Unsent() > 0 {
		m.card.Sync()
	}
}

// followBoard keeps the starts that a board has answered, because they cannot be seen otherwise.
func (d *Demo) followBoard(m *machine, a sandbox.Note, notes []sandbox.Note) {
	d.mu.Lock()
	defer d.mu.Unlock()
	credit, _ := a.Body["credit_id"].(string)
	is := func(s sandbox.Start) bool { return s.CreditID == credit }
	if !m.board.holds(time.Now()) || slices.ContainsFunc(m.host.Starts(), is) {
		return
	}
	switch a.Body["state"] {
	case "done", "failed":
		m.board.ended[credit] = true
	case "started":
		if slices.ContainsFunc(m.board.starts, is) {
			return
		}
		start := sandbox.Start{CreditID: credit, At: a.Posted}
		for _, n := range notes {
			if n.Body["credit_id"] == credit && n.Body["payment_status"] == "completed" {
				seconds := func(key string) time.Duration {
					s, _ := n.Body[key].(float64)
					return time.Duration(s) * time.Second
				}
				start.SessionID, _ = n.Body["session_id"].(string)
				start.Duration, start.Delay = seconds("duration_s"), seconds("delayed_start_s")
			}
		}
		m.board.starts = append(m.board.starts, start)
	}
}

// starts returns the starts of the simulated machine and of boards, oldest first. The caller holds
// the lock.
func (m *machine) starts() []sandbox.Start {
	all := append(m.host.Starts(), m.board.starts...)
	slices.SortStableFunc(all, func(a, b sandbox.Start) int { return a.At.Compare(b.At) })
	return all
}

// isRunning reports whether a timed start has not ended. The caller holds the lock.
func (m *machine) isRunning(s sandbox.Start) bool {
	if slices.ContainsFunc(m.board.starts, func(b sandbox.Start) bool { return b.CreditID == s.CreditID }) {
		return !m.board.ended[s.CreditID]
	}
	_, runs := m.host.Running()
	return runs
}

// boardView holds the part of a card that shows boards.
type boardView struct{ Address, State string }

// view returns what the page shows. State is "connected", "left" or "".
func (b *boards) view(now time.Time) boardView {
	v := boardView{Address: b.address}
	switch {
	case b.connected:
		v.State = "connected"
	case b.holds(now):
		v.State = "left"
	}
	return v
}
