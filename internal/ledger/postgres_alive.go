package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// sightings tells which other instances are alive: those whose reports change while this process
// watches them. It compares no clocks. All reports are old after a time without the database, and the
// database's clock may have been set since a report.
type sightings struct {
	looked time.Time // when this process last read the reports
	of     map[string]*sighting
}

// sighting is what this process has seen of one instance.
type sighting struct {
	seen    int64     // the database's time of its last report
	since   time.Time // when this process first read that report, or could read again
	changed bool      // it has reported while this process watched
}

// liveness says what is known of another instance.
type liveness int

const (
	undecided liveness = iota // it may be alive
	alive
	dead
)

// look begins a reading of the reports. After a break all instances get time again, because the
// database may have been away for them as well.
func (s *sightings) look(now time.Time) {
	if now.Sub(s.looked) > maxLookBreak {
		for _, other := range s.of {
			other.since = now
		}
	}
	s.looked = now
}

// judge returns what is known of an instance by its last report, which look has begun to read.
func (s *sightings) judge(id string, seen int64) liveness {
	other := s.of[id]
	switch {
	case other == nil:
		if s.of == nil {
			s.of = map[string]*sighting{}
		}
		other = &sighting{seen: seen, since: s.looked}
		s.of[id] = other
	case other.seen != seen:
		other.seen, other.since, other.changed = seen, s.looked, true
	}
	switch {
	case s.looked.Sub(other.since) >= aliveTime:
		other.changed = false
		return dead
	case other.changed:
		return alive
	}
	return undecided
}

// look reads the other instances. known reports that one is alive for certain, ready that one of
// them has started, and open that one may be alive. The error names what keeps this process from
// working beside them.
func (i *instance) look(ctx context.Context, tx pgx.Tx) (known, open, ready bool, err error) {
	type other struct {
		id, livemode, project string
		seen                  int64
		started               bool
	}
	rows, err := tx.Query(ctx, `SELECT id, seen, ready = 1, livemode, project FROM instances WHERE timeline = $1`,
		i.timeline)
	if err != nil {
		return false, false, false, err
	}
	others, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (o other, err error) {
		return o, row.Scan(&o.id, &o.seen, &o.started, &o.livemode, &o.project)
	})
	if err != nil {
		return false, false, false, err
	}
	i.others.look(time.Now())
	for _, o := range others {
		switch i.others.judge(o.id, o.seen) {
		case dead:
		case undecided:
			open = true
		case alive:
			known, ready = true, ready || o.started
			if err := i.fits(o.livemode, o.project); err != nil {
				return false, false, false, err
			}
		}
	}
	return known, open, ready, nil
}

// peer is the row of another instance.
type peer struct {
	Peer
	seen int64
	near bool // its last report is not long ago by the database's clock
}

func readPeers(ctx context.Context, conn *pgx.Conn, self string) ([]peer, error) {
	rows, err := conn.Query(ctx, `SELECT id, name, settings, weak = 1, seen, abs(`+databaseTime+` - seen) < $2
		FROM instances WHERE id <> $1 ORDER BY name, id`, self, aliveTime.Milliseconds())
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (p peer, err error) {
		return p, row.Scan(&p.ID, &p.Name, &p.Settings, &p.Weak, &p.seen, &p.near)
	})
}

// findPeers finds the other instances that may be alive, and removes the rows of those that are long
// gone.
func (i *instance) findPeers(ctx context.Context) error {
	list, err := readPeers(ctx, i.conn, i.id)
	if err != nil {
		return err
	}
	i.others.look(time.Now())
	peers := []Peer{}
	for _, p := range list {
		if i.others.judge(p.ID, p.seen) != dead {
			peers = append(peers, p.Peer)
		}
	}
	i.peers.Store(&peers)
	// After a failure of the database every row is old, and a row of the future is from before its clock
	// was set.
	if i.leadership.leads() && i.steadyFor() > time.Minute {
		_, err = i.conn.Exec(ctx, `DELETE FROM instances WHERE abs(`+databaseTime+` - seen) > $1`,
			goneTime.Milliseconds())
	}
	return err
}

// Instances reads the instances that work on a PostgreSQL database now, without joining them. It
// compares their reports with the database's clock, because it looks once.
func Instances(ctx context.Context, database string) (list []Peer, err error) {
	server, err := parsePostgres(database)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*connectTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, server.config)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	defer hangUp(conn)
	var joined bool // whether an instance has ever been there
	if err := conn.QueryRow(ctx, `SELECT to_regclass('instances') IS NOT NULL`).Scan(&joined); err != nil || !joined {
		return nil, err
	}
	peers, err := readPeers(ctx, conn, "")
	for _, p := range peers {
		if p.near {
			list = append(list, p.Peer)
		}
	}
	return list, err
}
