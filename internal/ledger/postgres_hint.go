package ledger

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// A hint tells the other instances at once that something was committed, so that they read the
// changes. It is sent after the commit on the connection of the reports, because a notification in a
// transaction makes all commits of the server wait for each other. A hint that is lost costs a
// followInterval.
//
// Its text is the id of the sender, which need not read what it did itself. A leader that resigns adds
// leadHint, so that the others campaign at once.

const (
	// hintChannel is the channel of the hints.
	hintChannel = "notepay_changes"
	// leadHint says that no instance leads.
	leadHint = "lead"
	// hintDelay collects the hints of commits that follow each other.
	hintDelay = 3 * time.Millisecond
	// listenRetry is the wait before a listener connects again.
	listenRetry = 2 * time.Second
	// probeTimeout is how long a hint of this instance may take to come back.
	probeTimeout = 2 * time.Second
	// maxMissedHints is how many may stay away until notifications count as impossible.
	maxMissedHints = 3
)

var errDeaf = errors.New("a notification did not arrive")

// listen signals hints of other instances, until ctx ends. It needs a connection of its own, and a
// session, which a transaction pooler does not give. Then each instance polls.
func (i *instance) listen(ctx context.Context) {
	for ctx.Err() == nil {
		err := i.tryListen(ctx)
		if errors.Is(err, errDeaf) {
			i.deaf.Store(true) // polling is enough
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(listenRetry):
		}
	}
}

func (i *instance) tryListen(ctx context.Context) error {
	connecting, cancel := context.WithTimeout(ctx, connectTimeout)
	conn, err := pgx.ConnectConfig(connecting, i.server.config)
	cancel()
	if err != nil {
		return err
	}
	defer hangUp(conn)
	if _, err := conn.Exec(ctx, `LISTEN `+hintChannel); err != nil {
		return err
	}
	// A notification that this connection sends to itself proves nothing behind a pooler.
	i.hintOthers()
	heard, missed := false, 0
	for {
		waiting, cancel := context.WithTimeout(ctx, probeTimeout)
		hint, err := conn.WaitForNotification(waiting)
		cancel()
		switch {
		case err == nil:
			heard = true
			i.heed(hint.Payload)
		case ctx.Err() != nil:
			return ctx.Err()
		case conn.IsClosed():
			return err
		case !heard && missed >= maxMissedHints && i.steadyFor() > maxMissedHints*probeTimeout:
			return errDeaf
		case !heard:
			missed++
			i.hintOthers()
		default: // nothing happened; a ping finds a connection that is gone
			pinging, cancel := context.WithTimeout(ctx, beatTimeout)
			err := conn.Ping(pinging)
			cancel()
			if err != nil {
				return err
			}
		}
	}
}

// heed does what a hint asks for.
func (i *instance) heed(hint string) {
	switch sender, about, _ := strings.Cut(hint, " "); {
	case sender == i.id:
	case about == leadHint:
		i.beatNow()
	default:
		i.hint()
		if len(*i.peers.Load()) == 0 {
			i.beatNow() // or an instance that has just started gets no hints for a while
		}
	}
}

// steadyFor returns for how long each report has succeeded.
func (i *instance) steadyFor() time.Duration {
	since := i.steadySince.Load()
	if since == 0 {
		return 0
	}
	return time.Since(time.Unix(0, since))
}

// hint makes Follow read the changes now.
func (i *instance) hint() {
	select {
	case i.hinted <- struct{}{}:
	default:
	}
}

// beatNow asks the goroutine of the reports for one.
func (i *instance) beatNow() {
	select {
	case i.opens <- struct{}{}:
	default:
	}
}

// hintOthers asks the goroutine of the reports to send a hint.
func (i *instance) hintOthers() {
	select {
	case i.hints <- struct{}{}:
	default:
	}
}

// sendHint sends a hint.
func (i *instance) sendHint() {
	time.Sleep(hintDelay)
	select {
	case <-i.hints: // of commits since then
	default:
	}
	if i.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), beatTimeout)
	defer cancel()
	if _, err := i.conn.Exec(ctx, `SELECT pg_notify($1, $2)`, hintChannel, i.id); err != nil {
		i.server.drop(i.conn)
		i.conn = nil
	}
}

// Polls reports whether this instance reads what the others do only every second, because
// notifications do not reach it.
func (l *Ledger) Polls() bool { return l.instance != nil && l.instance.deaf.Load() }
