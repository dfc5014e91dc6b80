//go:build linux

package bench

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"notepay/internal/apptest"
)

// instanceCounts are the numbers of instances that are compared.
var instanceCounts = []int{1, 2, 3}

const (
	instanceRounds = 5
	sightings      = 50               // changes that another instance has to see
	quietTime      = 20 * time.Second // in which calls without payments are counted
)

// benchInstances measures one, two and three instances on a PostgreSQL server, and one process on
// SQLite, in turns.
func benchInstances(t *testing.T, r *report) {
	path := binary(t)
	sqlite, got := busy(t, path, manyDevices), series{}
	var shared []*subject
	var databases []*database
	for _, n := range instanceCounts {
		d := newDatabase(t)
		databases, shared = append(databases, d), append(shared, busyOn(t, path, manyDevices, d.url, n))
	}
	for n := range instanceRounds + 1 {
		one := sample{}
		for i := range 1 + len(shared) { // every round begins with another one
			at := (i + n) % (1 + len(shared))
			if at == 0 {
				sqlite.instanceRound("sqlite_", nil, one)
				continue
			}
			shared[at-1].instanceRound(prefixOf(instanceCounts[at-1]), databases[at-1], one)
		}
		for _, count := range instanceCounts {
			for _, figure := range []string{"acks64", "settled64", "ack64_p99_us", "ack1_us"} {
				one[prefixOf(count)+figure+"_of_sqlite"] = one[prefixOf(count)+figure] / one["sqlite_"+figure]
			}
			one[prefixOf(count)+"settled64_of_one"] = one[prefixOf(count)+"settled64"] / one[prefixOf(1)+"settled64"]
		}
		if n > 0 { // the first round warms up
			got.add(one)
		}
	}
	before := make([]int, len(shared))
	for i, s := range shared {
		before[i] = s.vendorCalls()
	}
	time.Sleep(quietTime)
	for i, s := range shared {
		got.add(sample{prefixOf(instanceCounts[i]) + "quiet_calls": float64(s.vendorCalls() - before[i])})
	}
	seen := shared[len(shared)-1].sightings()
	addInstances(t, r, got, seen)
}

func prefixOf(instances int) string { return fmt.Sprintf("pg%d_", instances) }

// instanceRound measures acknowledgements on one connection and on many.
func (s *subject) instanceRound(prefix string, d *database, got sample) {
	s.Helper()
	webhooks, _ := paidEvent(s.World, alone+together, manyDevices)
	each, _ := s.send(1, webhooks[:alone])
	s.drained()
	got[prefix+"ack1_us"] = micros(median(each))
	calls, rolledBack := s.vendorCalls(), 0.0
	if d != nil {
		time.Sleep(1100 * time.Millisecond) // the server's figures are late
		rolledBack = d.rollbacks()
	}
	s.burst(prefix, webhooks[alone:], got)
	got[prefix+"calls"] = float64(s.vendorCalls()-calls) / together
	if d != nil {
		time.Sleep(1100 * time.Millisecond)
		got[prefix+"rollbacks"] = (d.rollbacks() - rolledBack) / together
	}
}

// vendorCalls returns how many calls both vendors have received.
func (s *subject) vendorCalls() int {
	return s.Stripe.Count("{any} /v1/{rest...}") + s.Notehub.Count("{any} /{rest...}")
}

// sightings pauses and resumes a machine at one instance, and returns how long another one took to see
// each.
func (s *subject) sightings() (took []time.Duration) {
	s.Helper()
	operator := []string{"Authorization", "Bearer " + apptest.OperatorToken, "Content-Type", "application/json"}
	for n := range sightings {
		action, sells := "pause", false
		if n%2 == 1 {
			action, sells = "resume", true
		}
		path := "/api/devices/dev:7/" + action
		status, _, text := s.service.Do(http.MethodPost, path, `{"reason":"measured"}`, operator...)
		if status != http.StatusOK {
			s.Fatalf("%s: %d %s", action, status, text)
		}
		for began := time.Now(); ; time.Sleep(time.Millisecond) {
			status, _, _ := s.others[0].Get("/pay?device=dev:7")
			if (status == http.StatusTemporaryRedirect) == sells {
				took = append(took, time.Since(began))
				break
			}
			if time.Since(began) > time.Minute {
				s.Fatalf("the other instance does not see the %s", action)
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return took
}

// addInstances adds the figures to the report.
func addInstances(t *testing.T, r *report, got series, seen []time.Duration) {
	ratio := func(name string) string { return fmt.Sprintf("%.2f", got.of(name)) }
	for _, n := range instanceCounts {
		p, name := prefixOf(n), fmt.Sprintf("%d instances", n)
		if n == 1 {
			name = "1 instance"
		}
		for _, f := range []figure{
			{
				name:     name + ": acknowledgements, 64 connections",
				got:      inSeconds(got.of(p + "acks64")),
				baseline: "SQLite: " + inSeconds(got.of("sqlite_acks64")),
				ratio:    ratio(p + "acks64_of_sqlite"),
				target:   "≥ 0.60",
				missed:   got.of(p+"acks64_of_sqlite") < 0.6,
			},
			{
				name:     name + ": the same, 99 of 100",
				got:      got.time(p + "ack64_p99_us"),
				baseline: "SQLite: " + got.time("sqlite_ack64_p99_us"),
				ratio:    ratio(p + "ack64_p99_us_of_sqlite"),
				target:   "≤ 4.0",
				missed:   got.of(p+"ack64_p99_us_of_sqlite") > 4,
			},
			{
				name:     name + ": from webhook to recorded note, 64 connections",
				got:      inSeconds(got.of(p + "settled64")),
				baseline: "SQLite: " + inSeconds(got.of("sqlite_settled64")),
				ratio:    ratio(p + "settled64_of_sqlite"),
				target:   "≥ 0.60",
				missed:   got.of(p+"settled64_of_sqlite") < 0.6,
			},
			{
				name:     name + ": acknowledgement, 1 connection",
				got:      got.time(p + "ack1_us"),
				baseline: "SQLite: " + got.time("sqlite_ack1_us"),
				ratio:    ratio(p + "ack1_us_of_sqlite"),
			},
			{
				name:     name + ": rolled back for each payment",
				got:      fmt.Sprintf("%.3f", got.of(p+"rollbacks")),
				baseline: "-",
				ratio:    "-",
				target:   "≤ 0.02",
				missed:   got.of(p+"rollbacks") > 0.02,
			},
			{
				name:     name + ": calls to both vendors for each payment",
				got:      fmt.Sprintf("%.2f", got.of(p+"calls")),
				baseline: fmt.Sprintf("SQLite: %.2f", got.of("sqlite_calls")),
				ratio:    fmt.Sprintf("%.2f", got.of(p+"calls")/got.of("sqlite_calls")),
				target:   "≤ 1.05",
				missed:   got.of(p+"calls") > 1.05*got.of("sqlite_calls"),
			},
		} {
			r.add(t, f)
		}
		if n == 1 {
			continue
		}
		r.add(t, figure{
			name:     name + ": from webhook to recorded note, of one",
			got:      inSeconds(got.of(p + "settled64")),
			baseline: "1 instance: " + inSeconds(got.of(prefixOf(1)+"settled64")),
			ratio:    ratio(p + "settled64_of_one"),
			target:   "≥ 0.80",
			missed:   got.of(p+"settled64_of_one") < 0.8,
		})
		quiet, one := got.of(p+"quiet_calls"), got.of(prefixOf(1)+"quiet_calls")
		r.add(t, figure{
			name:     name + fmt.Sprintf(": calls to both vendors in %v without payments", quietTime),
			got:      fmt.Sprintf("%.0f", quiet),
			baseline: fmt.Sprintf("1 instance: %.0f", one),
			ratio:    "-",
			target:   "no more",
			missed:   quiet > one+2, // a minute may begin in between
		})
	}
	r.add(t, figure{
		name:     "another instance sees a change, median",
		got:      short(quantile(seen, 0.5)),
		baseline: "-",
		ratio:    "-",
	})
	r.add(t, figure{
		name:     "another instance sees a change, 99 of 100",
		got:      short(quantile(seen, 0.99)),
		baseline: "-",
		ratio:    "-",
		target:   "≤ 250 ms",
		missed:   quantile(seen, 0.99) > 250*time.Millisecond,
	})
}
