package ledger

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// leadTime is how long the lead lasts after a report.
	leadTime = 9 * time.Second
	// trustTime is how long an instance trusts its own lead after the beginning of a report. It is shorter
	// than leadTime, so that its work has ended when another one leads.
	trustTime = 6 * time.Second
)

// leadership says whether this instance leads. The leader does the work that only one has to do,
// because vendors limit their calls. Nothing is wrong if two lead for a while: safety lies in the
// rows of the payments.
type leadership struct {
	mu       sync.Mutex
	term     int64         // of the current lead; 0 while another leads
	trusted  time.Time     // until then, unless a report succeeds
	expiry   *time.Timer   // ends the lead then, whatever the reports wait for
	resigned bool          // it does not want to lead any more
	working  int           // calls of Lead that run
	changed  chan struct{} // closed and replaced when term changes

	weak   atomic.Bool // see Ledger.Weak
	opened atomic.Bool // the ledger is open, so this instance can do the work of a leader
}

// mayLead lets the instance campaign, because the ledger is open.
func (i *instance) mayLead() {
	i.leadership.opened.Store(true)
	i.beatNow()
}

// unfit reports whether another instance should lead. One that still waits to migrate could not do
// the work.
func (i *instance) unfit() bool { return i.weak.Load() || !i.leadership.opened.Load() }

// campaign takes the lead if it is free, or keeps it. Holder and term have to agree, so a lead that
// was lost for a moment is another one. A weak instance leaves the lead to one that is not.
// One that still waits to migrate does not campaign.
func (i *instance) campaign(ctx context.Context, began time.Time) error {
	l := &i.leadership
	l.mu.Lock()
	term, resigned := l.term, l.resigned
	l.mu.Unlock()
	switch {
	case resigned || !l.opened.Load():
		return nil
	case i.weak.Load() && slices.ContainsFunc(*i.peers.Load(), func(p Peer) bool { return !p.Weak }):
		if term != 0 {
			i.giveUpLead()
		}
		return nil
	}
	rows, err := i.conn.Query(ctx, `UPDATE leader SET holder = $1, until = `+databaseTime+` + $3,
		term = CASE WHEN holder = $1 AND term = $2 THEN term ELSE term + 1 END
		WHERE holder = $1 AND term = $2 OR until < `+databaseTime+` OR until > `+databaseTime+` + 2 * $3
		RETURNING term`,
		i.id, term, leadTime.Milliseconds()) // a later end is of a clock that has stepped back since
	if err != nil {
		return err
	}
	won := int64(0)
	for rows.Next() {
		if err := rows.Scan(&won); err != nil {
			rows.Close()
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	l.hold(won, began.Add(trustTime))
	return nil
}

// hold stores the result of a campaign: the term, or 0 if another instance leads.
func (l *leadership) hold(term int64, trusted time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trusted = trusted
	l.set(term)
	switch {
	case term == 0:
	case l.expiry == nil:
		l.expiry = time.AfterFunc(time.Until(trusted), l.expire)
	default:
		l.expiry.Reset(time.Until(trusted))
	}
}

// set changes the term. The caller holds the lock.
func (l *leadership) set(term int64) {
	if term == l.term {
		return
	}
	l.term = term
	close(l.changed)
	l.changed = make(chan struct{})
}

// expire ends the lead if it was not renewed in time.
func (l *leadership) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current()
}

// current returns the term, and ends the lead if it was not renewed in time: a process that was
// stopped must not work as the leader when it goes on. The caller holds the lock.
func (l *leadership) current() int64 {
	if !time.Now().Before(l.trusted) {
		l.set(0)
	}
	return l.term
}

// end ends the lead.
func (l *leadership) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set(0)
}

// giveUpLead lets another instance lead at once.
func (i *instance) giveUpLead() {
	i.leadership.end()
	if i.conn == nil {
		return // the lead ends by itself
	}
	ctx, cancel := context.WithTimeout(context.Background(), beatTimeout)
	defer cancel()
	_, _ = i.conn.Exec(ctx, `WITH `+resign, i.id, hintChannel, i.id+" "+leadHint)
}

// resign gives up the lead of an instance, and hints at it. It is a part of a statement.
const resign = `resigned AS (UPDATE leader SET until = 0 WHERE holder = $1 RETURNING 1)
	SELECT pg_notify($2, $3) FROM resigned`

func (l *leadership) leads() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current() != 0
}

// watch returns the current term, 0 while another instance leads, and a channel that is closed when
// that changes.
func (l *leadership) watch() (term int64, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current(), l.changed
}

// Lead calls work while this instance leads, with a context that ends when it does not lead any
// more. It returns when ctx has ended and work has returned. An instance whose last call of Lead
// returns does not want to lead again.
//
// On SQLite there is one instance, which always leads.
func (l *Ledger) Lead(ctx context.Context, work func(context.Context)) {
	if l.instance == nil {
		work(ctx)
		return
	}
	lead := &l.instance.leadership
	lead.mu.Lock()
	lead.working++
	lead.mu.Unlock()
	defer func() {
		lead.mu.Lock()
		lead.working--
		last := lead.working == 0
		lead.resigned = lead.resigned || last
		lead.mu.Unlock()
		if last {
			select {
			case l.instance.resigns <- struct{}{}:
			default:
			}
		}
	}()
	for ctx.Err() == nil {
		term, changed := lead.watch()
		if term == 0 {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		led, over := context.WithCancel(ctx)
		go func() {
			select {
			case <-changed:
				over()
			case <-led.Done():
			}
		}()
		work(led)
		select { // work has nothing more to do in this term
		case <-changed:
		case <-ctx.Done():
		}
		over()
	}
}

// Weak tells the other instances whether this one fails to reach a vendor. Then it does not lead while
// another one is alive that is not weak.
func (l *Ledger) Weak(weak bool) {
	if l.instance != nil {
		l.instance.weak.Store(weak)
	}
}

// Leads reports whether this instance leads.
func (l *Ledger) Leads() bool { return l.instance == nil || l.instance.leadership.leads() }

// Shared reports whether several instances may work on the ledger.
func (l *Ledger) Shared() bool { return l.instance != nil }

// Joined reports whether other instances worked on the ledger when this one was opened.
func (l *Ledger) Joined() bool { return l != nil && l.instance != nil && !l.instance.alone }

// Peers returns the other instances that are alive, as of the last report.
func (l *Ledger) Peers() []Peer {
	if l.instance == nil {
		return nil
	}
	return *l.instance.peers.Load()
}

// Share returns which of n equal parts this instance has of what all living instances share. The parts
// are numbered from 0. On SQLite there is one.
func (l *Ledger) Share() (number, n int) {
	n = 1
	for _, p := range l.Peers() {
		if n++; p.ID < l.instance.id {
			number++
		}
	}
	return number, n
}

// Began returns the local instant since when at least one instance has worked on the ledger without
// a break. It is zero on SQLite, where that is the start of the process.
func (l *Ledger) Began() time.Time {
	if l == nil || l.instance == nil {
		return time.Time{}
	}
	return l.instance.began
}
